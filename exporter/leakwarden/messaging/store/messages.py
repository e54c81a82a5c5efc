"""The table of messages: the five calls that delivery needs, and what people read.

Another engine can stand behind the same calls. Every move is a row of
message.MOVES, and its SQL names the state it starts from, so a message is never
moved from where it is not: such a call raises and changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leakwarden.core.errors import Refused
from leakwarden.messaging.message import Attempt, Message, NewMessage, Priority
from leakwarden.messaging.states import MessageState, move
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.items import Row
from leakwarden.messaging.store.leases import ripen
from leakwarden.messaging.store.rows import COLUMNS, message_of, values_of

INSERT = (
    "INSERT INTO messages (id, sender, recipient, body, type, priority, accepted_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)

_CLAIM = f"""
    UPDATE messages SET state = 'delivering', due_at = ?, attempts = attempts + 1
    WHERE state = 'queued' AND row IN (
        SELECT row FROM messages WHERE state = 'queued' AND due_at IS NULL
        ORDER BY priority DESC, row LIMIT ?)
    RETURNING {COLUMNS}"""  # noqa: S608 - the columns are a constant

_DELIVER = (
    "UPDATE messages SET state = 'delivered', due_at = NULL, finished_at = ?, transport = ?"
    " WHERE id = ? AND state = 'delivering'"
)
_RETRY = (
    "UPDATE messages SET state = 'queued', due_at = ?, last_error = ?"
    " WHERE id = ? AND state = 'delivering'"
)
_FAIL = (
    "UPDATE messages SET state = 'failed', due_at = NULL, finished_at = ?, last_error = ?"
    " WHERE id = ? AND state = 'delivering'"
)
_REMEMBER = (
    "INSERT OR REPLACE INTO attempts (message, number, at, outcome, reason)"
    " SELECT row, attempts, ?, ?, ? FROM messages WHERE id = ?"
)

# Each half names its partial index, so that neither ever walks over what is finished.
_DEPTHS = """
    SELECT priority, count(*), min(row) FROM messages INDEXED BY messages_ready
    WHERE state = 'queued' AND due_at IS NULL GROUP BY priority
    UNION ALL
    SELECT priority, count(*), min(row) FROM messages INDEXED BY messages_timed
    WHERE due_at IS NOT NULL GROUP BY priority"""
_BY_RECIPIENT = """
    SELECT recipient, count(*) FROM (
        SELECT recipient FROM messages INDEXED BY messages_ready
        WHERE state = 'queued' AND due_at IS NULL
        UNION ALL
        SELECT recipient FROM messages INDEXED BY messages_timed WHERE due_at IS NOT NULL)
    GROUP BY recipient"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A delivery that did not succeed: tried again at `due_at`, or never where that is None."""

    id: str
    reason: str
    due_at: float | None


@dataclass(frozen=True, slots=True)
class Depths:
    """What is accepted and not finished: how many by priority (each is there), since when."""

    by_priority: Mapping[Priority, int]
    oldest_queued_at: float | None


class Messages:
    """Messages in the store. Times are Unix time in seconds. Each call may wait for the disk.

    Writing raises Unavailable where the disk cannot commit, and then nothing is changed.
    `on_queued` is called after each enqueue, on the caller's thread.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.on_queued: Callable[[], None] = _nobody

    def enqueue(self, messages: Sequence[NewMessage]) -> None:
        """All of them durable on return, or none; sqlite3.IntegrityError for an id seen before."""
        self._engine.append(INSERT, [values_of(message) for message in messages])
        self.on_queued()

    async def enqueue_async(self, messages: Sequence[NewMessage]) -> None:
        """As enqueue, without blocking the event loop."""
        await self._engine.append_async(INSERT, [values_of(message) for message in messages])
        self.on_queued()

    def claim(self, most: int, now: float, lease_seconds: float) -> list[Message]:
        """At most `most` messages that are due, highest priority first, then oldest.

        They are this caller's until `now + lease_seconds` (at most an hour); from then on they can
        be claimed again. What was leased or paused until exactly `now` is due.
        """

        def work(connection: sqlite3.Connection) -> list[Row]:
            ripen(connection, now)
            return connection.execute(_CLAIM, (now + lease_seconds, most)).fetchall()

        claimed = [message_of(row) for row in self._engine.submit(work)]
        # RETURNING gives rows in no stated order.
        claimed.sort(key=lambda message: (-message.priority, message.row))
        return claimed

    def ack(self, ids: Sequence[str], now: float, transport: str) -> None:
        """They are delivered. Refused `illegal_move`, and none moves, where one is not leased."""

        def work(connection: sqlite3.Connection) -> None:
            for message_id in ids:
                _move(connection, "deliver", message_id, _DELIVER, (now, transport, message_id))
            connection.executemany(
                _REMEMBER, [(now, "deliver", None, message_id) for message_id in ids]
            )

        self._engine.submit(work)

    def retry(self, failures: Sequence[Failure], now: float) -> None:
        """They wait until their `due_at`, or are failed for good. Refused as by ack."""

        def work(connection: sqlite3.Connection) -> None:
            for failure in failures:
                name = "fail" if failure.due_at is None else "retry"
                sql, time = (_FAIL, now) if failure.due_at is None else (_RETRY, failure.due_at)
                _move(connection, name, failure.id, sql, (time, failure.reason, failure.id))
                connection.execute(_REMEMBER, (now, name, failure.reason, failure.id))

        self._engine.submit(work)

    def depths(self) -> Depths:
        """How much is accepted and not finished. O(that): 1 ms at 10,000."""

        def query(connection: sqlite3.Connection) -> Depths:
            counts = dict.fromkeys(Priority, 0)
            oldest_row: int | None = None
            for priority, count, first_row in connection.execute(_DEPTHS).fetchall():
                counts[Priority(priority)] += count
                oldest_row = first_row if oldest_row is None else min(oldest_row, first_row)
            found = connection.execute(
                "SELECT accepted_at FROM messages WHERE row = ?", (oldest_row,)
            ).fetchone()
            return Depths(counts, None if found is None else found[0])

        return self._engine.read(query)

    def queued_by_recipient(self) -> dict[str, int]:
        """How much is accepted and not finished, for each agent for whom there is something."""
        return dict(
            self._engine.read(lambda connection: connection.execute(_BY_RECIPIENT).fetchall())
        )

    def get(self, message_id: str) -> Message | None:
        """The message; None where it was never accepted, or its retention is over."""
        sql = f"SELECT {COLUMNS} FROM messages WHERE id = ?"  # noqa: S608 - a constant
        found = self._engine.read(
            lambda connection: connection.execute(sql, (message_id,)).fetchone()
        )
        return None if found is None else message_of(found)

    def attempts(self, message_id: str) -> list[Attempt]:
        """What became of each claim of it, oldest first; empty before the first has ended."""
        sql = (
            "SELECT at, outcome, attempts.reason FROM attempts"
            " JOIN messages ON messages.row = attempts.message WHERE messages.id = ?"
            " ORDER BY attempts.number"
        )
        rows = self._engine.read(
            lambda connection: connection.execute(sql, (message_id,)).fetchall()
        )
        return [Attempt(*row) for row in rows]

    def page(
        self,
        to: str | None = None,
        state: MessageState | None = None,
        after: int = 0,
        most: int = 100,
    ) -> list[Message]:
        """At most `most` messages with a row above `after`, ascending; of one agent, in one state.

        Rows are numbered in the order of their commits, so whoever goes on after the last row of
        a page misses nothing.
        """
        conditions = ["row > ?"]
        given: list[int | str] = [after, most]
        if to is not None:
            conditions.append("recipient = ?")
            given.insert(1, to)
        if state is not None:
            # Spelled out, for a partial index is only used where its condition can be seen.
            conditions.append(f"state = '{state.value}'")
        sql = (
            f"SELECT {COLUMNS} FROM messages WHERE {' AND '.join(conditions)}"  # noqa: S608
            " ORDER BY row LIMIT ?"
        )
        rows = self._engine.read(lambda connection: connection.execute(sql, given).fetchall())
        return [message_of(row) for row in rows]


def _move(
    connection: sqlite3.Connection, name: str, message_id: str, sql: str, values: Row
) -> None:
    """Run `sql`, which makes the move `name`; Refused where the message was not in its state."""
    if connection.execute(sql, values).rowcount == 1:
        return
    found = connection.execute("SELECT state FROM messages WHERE id = ?", (message_id,)).fetchone()
    if found is None:
        raise Refused("unknown_message", f"there is no message {message_id[:64]!r}")
    move(MessageState(found[0]), name)


def _nobody() -> None:
    """Nobody waits for new messages."""
