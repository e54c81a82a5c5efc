"""Coroutines that ask for a commit in the same turn of their event loop arrive as one batch.

Handed over one by one, the first would be committed alone and the others wait for
its fdatasync; handed over at the end of the turn, they share theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from leakwarden.messaging.store.items import Item


class Bursts:
    """Gathers items by event loop. A loop is remembered only until its turn ends."""

    def __init__(self, put: Callable[[list[Item]], None]) -> None:
        self._put = put
        self._gathering: dict[asyncio.AbstractEventLoop, list[Item]] = {}

    async def add(self, item: Item) -> None:
        """Return once the item's batch is committed; raises the item's error."""
        loop = asyncio.get_running_loop()
        item.future = loop.create_future()
        burst = self._gathering.get(loop)
        if burst is None:
            self._gathering[loop] = [item]
            loop.call_soon(self._hand_over, loop)
        else:
            burst.append(item)
        await item.future

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._put(self._gathering.pop(loop))
