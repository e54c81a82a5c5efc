"""Messages whose time has come: leases that ended, pauses that are over.

A lease is `delivering` with the time of its end in `due_at`; it ends by itself
where its worker died. Each ended one leaves a line in the message's history.
"""

from __future__ import annotations

import sqlite3

# No lease and no pause is as long as this. One that seems to be was made before the clock was
# set back, and waiting for it could take years.
LONGEST_SECONDS = 3600.0

_TIMED = "due_at IS NOT NULL"
_DUE = "(due_at <= :now OR due_at > :now + :longest)"


def ripen(connection: sqlite3.Connection, now: float) -> None:
    """Make claimable what was leased until `now` or before, or paused until then."""
    _make_ready(connection, _DUE, {"now": now, "longest": LONGEST_SECONDS}, "lease_expired")


def put_back(connection: sqlite3.Connection, now: float) -> None:
    """Make claimable whatever an earlier process had leased or paused, whenever it was due.

    Its workers are gone, and a restart is often what a person did about the cause of a pause.
    """
    _make_ready(connection, _TIMED, {"now": now}, "process_ended")


def _make_ready(
    connection: sqlite3.Connection, which: str, given: dict[str, float], reason: str
) -> None:
    # `which` is one of the two constants above; nothing from outside enters the SQL.
    connection.execute(
        "INSERT OR REPLACE INTO attempts (message, number, at, outcome, reason)"  # noqa: S608
        " SELECT row, attempts, :now, 'expire_lease', :reason FROM messages"
        f" WHERE {which} AND state = 'delivering'",
        {**given, "reason": reason},
    )
    connection.execute(
        "UPDATE messages SET state = 'queued', due_at = NULL"  # noqa: S608
        f" WHERE {which} AND state IN ('queued', 'delivering')",
        given,
    )
