"""Inboxes as folders: a message is a file that is there whole, or not at all, and never twice.

DATA_DIR/agents/AGENT_ID/inbox/MESSAGE_ID.md is written under a temporary name beside
it, synced, renamed, and its folder synced. An agent finishes a message by moving
it into `done/` beside `inbox/`; files move only that way, so whoever looks in the
inbox first and in done second cannot miss one that moves meanwhile.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from leakwarden.core.errors import LeakwardenError
from leakwarden.managers.files import Files
from leakwarden.messaging.agents import check_agent_id
from leakwarden.messaging.message import Message

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
_MESSAGE_ID = re.compile(r"[0-9a-f]{32}")


class UnsafePath(LeakwardenError):
    """A folder of an inbox leads out of the inboxes' root by a symbolic link."""

    code = "unsafe_path"


class Inbox:
    """The inboxes under `root`, which is DATA_DIR/agents; its parent exists."""

    def __init__(self, root: Path, files: Files) -> None:
        self._root = root
        self._files = files

    def deliver(self, message: Message, data: bytes) -> bool:
        """True once the file is durable in the inbox; False where it stood there or in done/.

        OSError as the disk gives it, LimitExceeded where too many files are open, UnsafePath
        where a folder leads elsewhere; then no part of the file is left. For one thread at a time.
        """
        if not _MESSAGE_ID.fullmatch(message.id):
            raise UnsafePath(f"{message.id[:64]!r} cannot be the name of a file")
        name = f"{message.id}.md"
        inbox = self._folder(message.recipient)
        if os.path.lexists(inbox / name) or os.path.lexists(inbox.parent / "done" / name):
            return False
        temporary = inbox / f".{message.id}.tmp"
        try:
            self._write(temporary, data)
            temporary.rename(inbox / name)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()  # on a full disk its bytes are needed
            raise
        _sync(inbox)
        return True

    def clean(self) -> int:
        """How many temporary files of an earlier process were removed; for before delivery starts.

        What cannot be removed stays: a delivery of that message replaces it.
        """
        removed = 0
        for inbox in self._root.glob("*/inbox"):
            if not self._is_inside(inbox):
                continue
            for path in inbox.iterdir():
                if _TEMPORARY.fullmatch(path.name):
                    with suppress(OSError):
                        path.unlink()
                        removed += 1
        return removed

    def _folder(self, recipient: str) -> Path:
        """The inbox of `recipient`, made durable where it is missing."""
        inbox = self._root / check_agent_id(recipient) / "inbox"
        if not inbox.is_dir():
            for folder in (self._root, inbox.parent, inbox, inbox.parent / "done"):
                if not os.path.lexists(folder):
                    folder.mkdir(exist_ok=True)
                    _sync(folder.parent)
        for folder in (inbox, inbox.parent / "done"):
            if not self._is_inside(folder):
                raise UnsafePath(
                    f"{folder} leads out of {self._root}", "replace the symbolic link by a folder"
                )
        return inbox

    def _is_inside(self, folder: Path) -> bool:
        root = os.path.realpath(self._root)
        return os.path.realpath(folder).startswith(root + os.sep)

    def _write(self, temporary: Path, data: bytes) -> None:
        # A left-over may be anything, a link too: only a file that we make is written to.
        with suppress(FileNotFoundError):
            temporary.unlink()
        with self._files.open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
