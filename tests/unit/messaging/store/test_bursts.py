from __future__ import annotations

import asyncio

from leakwarden.messaging.store.bursts import Bursts
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
