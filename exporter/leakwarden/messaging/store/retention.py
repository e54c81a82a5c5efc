"""Rows that are finished and past their time: deleted, a bounded number in a transaction."""

from __future__ import annotations

import sqlite3

from leakwarden.messaging.store.engine import Engine

# Some milliseconds of the writer's time; whoever waits to send does not notice.
MOST_ROWS = 500


class Retention:
    """Deletes what finished long ago, so that a service that cannot leak does not leak rows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def retain(self, before: float, most: int = MOST_ROWS) -> int:
        """How many messages that finished before `before` (Unix time) were deleted: at most `most`.

        With them goes their history. One that finished exactly at `before` stays. Fewer than
        `most` means that none is left. Unavailable where the disk cannot commit.
        """

        def work(connection: sqlite3.Connection) -> int:
            rows = connection.execute(
                "SELECT row FROM messages WHERE finished_at < ? ORDER BY finished_at LIMIT ?",
                (before, most),
            ).fetchall()
            connection.executemany("DELETE FROM attempts WHERE message = ?", rows)
            connection.executemany("DELETE FROM messages WHERE row = ?", rows)
            return len(rows)

        return self._engine.submit(work)

    def retain_all(self, before: float) -> int:
        """How many were deleted in all, a transaction for each `MOST_ROWS`."""
        deleted = 0
        while True:
            count = self.retain(before, MOST_ROWS)
            deleted += count
            if count < MOST_ROWS:
                return deleted
