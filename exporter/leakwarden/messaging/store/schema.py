"""The tables, and how an older database becomes today's: one migration a version.

`PRAGMA user_version` is the number of migrations that were applied; each runs in
one transaction together with its number, so a crash in the middle leaves the
version before. A migration that has been released is never changed.

`due_at` of a message is NULL when it may be claimed at once, else the time until
which nobody may: the end of its lease while `delivering`, the end of its pause
while `queued`. So two partial indexes are all that claiming needs: the ready, by
priority, and the timed, by time; finished messages are in neither. No CHECK
guards `state`: it took a third of an insert, and each statement that moves a
message names the state it starts from.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from leakwarden.core.errors import ConfigError

_VERSION_1 = (
    """CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID""",
    # AUTOINCREMENT: a row number is a list's cursor, so it is never given out twice.
    """CREATE TABLE messages (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        sender TEXT NOT NULL,
        recipient TEXT NOT NULL,
        body TEXT NOT NULL,
        type TEXT NOT NULL,
        priority INTEGER NOT NULL,
        accepted_at REAL NOT NULL,
        state TEXT NOT NULL DEFAULT 'queued',
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at REAL,
        transport TEXT,
        finished_at REAL,
        last_error TEXT
    )""",
    """CREATE INDEX messages_ready ON messages (priority DESC)
        WHERE state = 'queued' AND due_at IS NULL""",
    "CREATE INDEX messages_timed ON messages (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX messages_failed ON messages (state) WHERE state = 'failed'",
    "CREATE INDEX messages_finished ON messages (finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX messages_recipient ON messages (recipient)",
    """CREATE TABLE attempts (
        message INTEGER NOT NULL,
        number INTEGER NOT NULL,
        at REAL NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT,
        PRIMARY KEY (message, number)
    ) WITHOUT ROWID""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1,)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the database to `VERSION`; ConfigError where it is newer, or not leakwarden's."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise ConfigError(
            f"{path} was written by a newer leakwarden (version {version}, this one knows "
            f"{VERSION})",
            "start the newer leakwarden, or give another folder with --data-dir",
        )
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise ConfigError(
            f"{path} is a database of another program", "give another folder with --data-dir"
        )
    for number in range(version, VERSION):
        connection.execute("BEGIN IMMEDIATE")
        for statement in MIGRATIONS[number]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
