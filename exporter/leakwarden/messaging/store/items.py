"""One piece of work on its way through the writer, and how its caller learns the outcome.

A thread waits on a bare lock (an Event costs a Condition and three locks more);
coroutines wait on a future of their loop, and all those of a batch are resolved
by one call into it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Row = tuple[Any, ...]


class Item:
    """Either `work`, or `sql` with `rows`: items of the same `sql` may share one statement.

    After the commit exactly one of two holds: `error` is None and `result` is what the work
    returned, or nothing of the item is in the database and `error` says why.
    """

    __slots__ = ("error", "future", "gate", "result", "rows", "sql", "work")

    def __init__(
        self,
        work: Work[Any] | None = None,
        sql: str | None = None,
        rows: Sequence[Row] = (),
    ) -> None:
        self.work = work
        self.sql = sql
        self.rows = rows
        self.gate: Lock | None = None
        self.future: asyncio.Future[Any] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def apply(self, connection: sqlite3.Connection) -> None:
        """Run it inside the open transaction; whatever it raises rises."""
        if self.work is not None:
            self.result = self.work(connection)
        elif self.sql is not None:
            if len(self.rows) == 1:
                connection.execute(self.sql, self.rows[0])
            else:
                connection.executemany(self.sql, self.rows)


def settle(items: Iterable[Item]) -> None:
    """Wake every waiting caller: a lock for each thread, one call for each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Item]] = {}
    for item in items:
        if item.gate is not None:
            item.gate.release()
        elif item.future is not None:
            loops.setdefault(item.future.get_loop(), []).append(item)
    for loop, resolved in loops.items():
        # A loop that was closed meanwhile has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, resolved)


def _resolve(items: list[Item]) -> None:
    for item in items:
        future = item.future
        if future is None or future.done():  # done: its caller was cancelled
            continue
        if item.error is None:
            future.set_result(item.result)
        else:
            future.set_exception(item.error)
