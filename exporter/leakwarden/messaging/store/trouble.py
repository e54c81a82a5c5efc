"""Which errors of SQLite are the disk's or the file's, and what a person can do about each.

Trouble is what fails a whole transaction and may pass: nothing of the batch was
kept, and the same call may succeed later. Everything else (a broken constraint,
a mistake in the SQL) is the fault of one piece of work and fails that alone.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from leakwarden.core.errors import Unavailable

# Primary result codes (https://www.sqlite.org/rescode.html), each with the words by which its
# message is known where the interpreter gives no code (Python 3.10).
_TROUBLES = {
    3: ("permission_denied", "access permission denied"),
    5: ("busy", "database is locked"),
    6: ("locked", "table is locked"),
    8: ("readonly", "readonly database"),
    10: ("io_error", "disk i/o error"),
    11: ("corrupt", "malformed"),
    13: ("disk_full", "disk is full"),
    14: ("cannot_open", "unable to open"),
    15: ("locking_protocol", "locking protocol"),
    26: ("not_a_database", "not a database"),
}

_HINTS = {
    "disk_full": "free space on the file system of {path}; the store goes on by itself",
    "busy": "another program holds a write lock on {path}; end it",
    "readonly": "make {path} and its folder writable for this user",
    "permission_denied": "make {path} and its folder writable for this user",
}
_OTHER_HINT = "look at the disk under {path} (dmesg, df); the store goes on by itself"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a transaction could not be made durable: `reason` is one word, `detail` SQLite's own."""

    reason: str
    detail: str
    path: Path

    def __str__(self) -> str:
        return f"the store cannot commit: {self.detail} ({self.path})"

    def error(self) -> Unavailable:
        """A fresh Unavailable: one for each caller, since a raised one grows a traceback."""
        hint = _HINTS.get(self.reason, _OTHER_HINT).format(path=self.path)
        return Unavailable(str(self), hint)

    @property
    def needs_new_connection(self) -> bool:
        """True where the open connection may itself be damaged."""
        return self.reason not in ("disk_full", "busy", "locked")


def trouble_of(error: BaseException, path: Path) -> Trouble | None:
    """The trouble that `error` stands for; None where it is the fault of one piece of work."""
    if not isinstance(error, sqlite3.DatabaseError):
        return None
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        known = _TROUBLES.get(code & 0xFF)
        return None if known is None else Trouble(known[0], str(error), path)
    text = str(error).lower()
    for reason, words in _TROUBLES.values():
        if words in text:
            return Trouble(reason, str(error), path)
    return None
