from __future__ import annotations

import asyncio

from leakwarden.messaging.store.bursts import _MOST_TURNS, Bursts
from leakwarden.messaging.store.items import Item, settle


def test_what_is_asked_in_one_turn_of_a_loop_is_handed_over_at_once():
    handed: list[int] = []

    def put(items: list[Item]) -> None:
        handed.append(len(items))
        settle(items)

    bursts = Bursts(put)

    async def ask() -> None:
        await asyncio.gather(*(bursts.add(Item()) for _ in range(3)))
        await bursts.add(Item())

    asyncio.run(ask())
    assert handed == [3, 1]
    assert bursts._gathering == {}


def sizes_handed_over(gaps: list[int]) -> list[int]:
    """How many items each hand-over had, where one is added after each of `gaps` idle turns."""
    handed: list[int] = []

    def put(items: list[Item]) -> None:
        handed.append(len(items))
        settle(items)

    async def ask() -> None:
        bursts, asking = Bursts(put), []
        for gap in gaps:
            for _ in range(gap):
                await asyncio.sleep(0)
            asking.append(asyncio.ensure_future(bursts.add(Item())))
        await asyncio.gather(*asking)

    asyncio.run(ask())
    return handed


def test_turns_that_follow_each_other_share_a_batch():
    assert sizes_handed_over([0, 1, 1]) == [3]


def test_a_turn_that_brings_nothing_ends_the_wait():
    assert sizes_handed_over([0, 1, 4]) == [2, 1]


def test_a_loop_that_always_brings_more_is_not_waited_for_longer_than_a_few_turns():
    first, *_ = sizes_handed_over([0, *[1] * (3 * _MOST_TURNS)])
    assert 2 <= first <= _MOST_TURNS + 1
