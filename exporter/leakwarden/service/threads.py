"""Calls that may wait for a disk or a lock, kept off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from leakwarden.service.context import Context

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(
    context: Context, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """What `function` returns or raises, called on one of the context's reader threads."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(context.readers, lambda: function(*args, **kwargs))
