"""Opening the database file: its settings, its checks, and what a damaged one is answered with."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from leakwarden.core.errors import ConfigError
from leakwarden.messaging.store.schema import migrate
from leakwarden.messaging.store.trouble import trouble_of
from leakwarden.settings import Synchronous

DATABASE = "leakwarden.db"

# UPDATE ... RETURNING came with it; Debian 11 has 3.34 and needs a newer Python build.
_OLDEST_SQLITE = (3, 35, 0)
# How long another program's write lock is waited for before the callers get Unavailable.
_BUSY_SECONDS = 5.0
# The log is cut back to this after a checkpoint; it grows past it only while a reader holds it.
_LOG_LIMIT_BYTES = 16 * 2**20


def connect_writer(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """The one connection that writes; used by one thread at a time, not always the same."""
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        # Before the first table is made, for later it would need a VACUUM.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous.upper()}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that can only read; not tied to a thread, and used by one at a time."""
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def open_database(
    path: Path,
    synchronous: Synchronous,
    *,
    check: bool,
    prepare: Callable[[sqlite3.Connection], None],
) -> sqlite3.Connection:
    """The writer's connection to a database of today's version, checked where `check`.

    `prepare` then runs in one transaction of its own. ConfigError where SQLite is too old, or the
    file is damaged, newer than this program, or not leakwarden's.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise ConfigError(
            f"SQLite {sqlite3.sqlite_version} is too old",
            "use a Python with SQLite 3.35 or newer",
        )
    connection: sqlite3.Connection | None = None
    try:
        connection = connect_writer(path, synchronous)
        if check:
            _quick_check(connection, path)
        migrate(connection, path)
        connection.execute("BEGIN IMMEDIATE")
        prepare(connection)
        connection.execute("COMMIT")
    except BaseException as error:
        if connection is not None:
            connection.close()
        trouble = trouble_of(error, path)
        if trouble is None:
            raise
        if trouble.reason in ("corrupt", "not_a_database"):
            raise _damaged(path, trouble.detail) from error
        unavailable = trouble.error()
        raise ConfigError(unavailable.message, unavailable.hint) from error
    return connection


def _quick_check(connection: sqlite3.Connection, path: Path) -> None:
    """ConfigError where SQLite's own check (of everything but the indexes' content) complains."""
    (first,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if first != "ok":
        raise _damaged(path, first)


def _damaged(path: Path, detail: str) -> ConfigError:
    return ConfigError(
        f"the database {path} is damaged: {detail}",
        f"put a backup in its place (one made with: sqlite3 {path} \"VACUUM INTO 'backup.db'\"), "
        f"or save what can be read (sqlite3 {path} .recover | sqlite3 saved.db) and move "
        f"{path.name}, {path.name}-wal and {path.name}-shm away to start anew",
    )
