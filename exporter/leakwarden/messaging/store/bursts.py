"""Coroutines that ask for a commit in the same turns of their event loop arrive as one batch.

Handed over one by one, the first would be committed alone and the others wait for
its fdatasync, while the writer and the loop take the GIL from each other; handed
over once a turn of the loop brings no more of them, they share theirs, and the
loop mostly has nothing to do while the writer works (a third more sends a second
over HTTP).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from leakwarden.messaging.store.items import Item

# Of 32 connections, the answers to one batch bring the next requests over two or three turns. A
# turn that brings nothing ends the wait, so who asks alone waits for one, some 10 us.
_MOST_TURNS = 4


class Bursts:
    """Gathers items by event loop. A loop is remembered only until its burst is handed over."""

    def __init__(self, put: Callable[[list[Item]], None]) -> None:
        self._put = put
        self._gathering: dict[asyncio.AbstractEventLoop, list[Item]] = {}

    def add(self, item: Item) -> asyncio.Future[Any]:
        """Is done once the item's batch is committed: with its result, or with its error."""
        loop = asyncio.get_running_loop()
        item.future = future = loop.create_future()
        burst = self._gathering.get(loop)
        if burst is None:
            self._gathering[loop] = [item]
            loop.call_soon(self._hand_over, loop, 0, _MOST_TURNS)
        else:
            burst.append(item)
        return future

    def _hand_over(self, loop: asyncio.AbstractEventLoop, seen: int, turns: int) -> None:
        """Hand over what has gathered, unless this turn brought more and `turns` are left."""
        gathered = len(self._gathering[loop])
        if gathered > seen and turns > 0:
            loop.call_soon(self._hand_over, loop, gathered, turns - 1)
        else:
            self._put(self._gathering.pop(loop))
