"""What the store does when nobody asks: empty the log, give pages back, try whether it can write.

And the backup, which people ask for.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from leakwarden.core.errors import ConfigError
from leakwarden.messaging.store.readers import Readers

# 1,024 pages are 4 MiB: what a spinning disk moves in the time that nobody notices.
_VACUUM_PAGES = 1024


def tidy(connection: sqlite3.Connection) -> bool:
    """True once the write-ahead log is empty and the free pages are given back to the disk.

    False where a reader still needs the log, pages remain, or the disk refuses: try again later.
    Waits for nobody.
    """
    try:
        (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            # execute() would step it once, and each step gives back one page.
            connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
            (free_pages,) = connection.execute("PRAGMA freelist_count").fetchone()
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {patience}")
    except sqlite3.Error:
        return False
    return not busy and free_pages == 0


def probe(connection: sqlite3.Connection) -> None:
    """Write one row: on a disk that is full or broken, committing it fails."""
    connection.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', ?)", (str(time.time()),)
    )


def back_up(readers: Readers, target: Path) -> None:
    """Write a compact, durable copy of the last commit into `target`, which must not exist yet.

    ConfigError where it does or cannot be written; then nothing of it is left.
    """
    if target.exists():
        raise ConfigError(f"{target} is already there", "name a file that is not there yet")

    def copy(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = OFF")
        try:
            connection.execute("VACUUM INTO ?", (str(target),)).close()
        except sqlite3.Error as error:
            target.unlink(missing_ok=True)
            raise ConfigError(
                f"{target} cannot be written: {error}", "name a file in a folder with room"
            ) from error
        finally:
            connection.execute("PRAGMA query_only = ON")
        with target.open("rb") as written:
            os.fsync(written.fileno())

    readers.read(copy)
