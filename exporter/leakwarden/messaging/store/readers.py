"""Connections for reading: opened when wanted, a few kept, none held longer than one query."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from leakwarden.messaging.store.connect import connect_reader
from leakwarden.messaging.store.trouble import trouble_of

T = TypeVar("T")

# One for the scraper and one for a person's list; more come and go.
_KEPT = 2


class Readers:
    """Runs queries on connections of their own, so that reading never waits for the writer.

    A query gets the connection and returns plain values, never a cursor: an open one would pin
    the write-ahead log, which then grows without bound.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: deque[sqlite3.Connection] = deque()
        self._open = True

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns, from the last commit; Unavailable where the disk is in trouble."""
        connection: sqlite3.Connection | None = None
        try:
            connection = self._take()
            answer = query(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            trouble = trouble_of(error, self._path)
            if trouble is None:
                raise
            raise trouble.error() from error
        self._give_back(connection)
        return answer

    def close(self) -> None:
        """Close those that are kept; one that is in use closes when its query ends."""
        self._open = False
        self._close_idle()

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect_reader(self._path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed() or len(self._idle) >= _KEPT:
            connection.close()
            return
        self._idle.append(connection)
        if self._closed():  # meanwhile, and before the append: nobody else would close it
            self._close_idle()

    def _closed(self) -> bool:
        return not self._open

    def _close_idle(self) -> None:
        with suppress(IndexError):  # the last is known only by its absence: others may pop too
            while True:
                self._idle.pop().close()
