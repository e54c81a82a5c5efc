"""Inboxes as folders: a message is a file that is there whole, or not at all, and never twice.

DATA_DIR/agents/AGENT_ID/inbox/MESSAGE_ID.md is written under a temporary name beside
it, synced, renamed, and its folder synced. An agent finishes a message by moving
it into `done/` beside `inbox/`; files move only that way, so whoever looks in the
inbox first and in done second cannot miss one that moves meanwhile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from leakwarden.core.errors import LeakwardenError
from leakwarden.managers.files import Files
from leakwarden.messaging.agents import check_agent_id
from leakwarden.messaging.message import Message

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
_MESSAGE_ID = re.compile(r"[0-9a-f]{32}")


class UnsafePath(LeakwardenError):
    """A folder of an inbox is somewhere else, by a symbolic link."""

    code = "unsafe_path"


class Inbox:
    """The inboxes under `root`, which is DATA_DIR/agents; its parent exists."""

    def __init__(self, root: Path, files: Files) -> None:
        self._root = root
        self._files = files

    def deliver(self, message: Message, data: bytes) -> bool:
        """True once the file is durable in the inbox; False where it stood there or in done/.

        Raises what Batch.stage does, and OSError as the disk gives it; then no part of the file
        is left. For one thread at a time.
        """
        batch = self.batch()
        fresh = batch.stage(message, data)
        error = batch.publish().get(message.id)
        if error is not None:
            raise error
        return fresh

    def batch(self) -> Batch:
        """Files that become durable together. For one thread at a time."""
        return Batch(self._folder, self._files)

    def clean(self) -> int:
        """How many temporary files of an earlier process were removed; for before delivery starts.

        What cannot be removed stays: a delivery of that message replaces it.
        """
        removed = 0
        for inbox in self._root.glob("*/inbox"):
            if not self._is_in_place(inbox):
                continue
            # An inbox that cannot be read is that agent's trouble, and told at its first delivery.
            with suppress(OSError):
                left = [path for path in inbox.iterdir() if _TEMPORARY.fullmatch(path.name)]
                for path in left:
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
                    _sync(folder.parent, os.O_RDONLY)
        for folder in (inbox, inbox.parent / "done"):
            if not self._is_in_place(folder):
                raise UnsafePath(
                    f"{folder} is, or lies behind, a symbolic link",
                    "replace the symbolic link by a folder",
                )
        return inbox

    def _is_in_place(self, folder: Path) -> bool:
        """False where a link leads from ROOT/AGENT/inbox elsewhere, into another inbox even."""
        root = os.path.realpath(self._root)
        return os.path.realpath(folder) == os.path.join(root, *folder.parts[-2:])  # noqa: PTH118


class Batch:
    """Files for inboxes: staged one by one under temporary names, then published together.

    The first sync of a batch commits what the file system has gathered, so that the others cost
    little: twice as many messages a second as one by one (ext4).
    """

    def __init__(self, folder_of: Callable[[str], Path], files: Files) -> None:
        self._folder_of = folder_of
        self._files = files
        self._folders: dict[str, Path] = {}
        self._staged: dict[str, tuple[Path, Path]] = {}
        self._standing: dict[str, Path] = {}

    def stage(self, message: Message, data: bytes) -> bool:
        """True where the file is written and waits for publish(); False where it stands already.

        OSError as the disk gives it, LimitExceeded where too many files are open, UnsafePath where
        a folder leads elsewhere, Refused where the agent's id is no name of one; then no part of
        the file is left.
        """
        if not _MESSAGE_ID.fullmatch(message.id):
            raise UnsafePath(f"{message.id[:64]!r} cannot be the name of a file")
        inbox = self._folders.get(message.recipient)
        if inbox is None:
            inbox = self._folders[message.recipient] = self._folder_of(message.recipient)
        place = inbox / f"{message.id}.md"
        if os.path.lexists(place) or os.path.lexists(inbox.parent / "done" / place.name):
            self._standing[message.id] = inbox
            return False
        temporary = inbox / f".{message.id}.tmp"
        try:
            self._write(temporary, data)
        except BaseException:
            _remove(temporary)
            raise
        self._staged[message.id] = (temporary, place)
        return True

    def publish(self) -> dict[str, OSError]:
        """Make all that is staged durable in its place; why not, by message id, for what failed.

        Of what failed before it was in its place, no part is left. What stood there already is
        made durable too, for whoever put it there may not have come so far.
        """
        failed: dict[str, OSError] = {}
        named = dict(self._standing)
        for step in (_sync_file, _rename):
            for message_id, (temporary, place) in self._staged.items():
                if message_id in failed:
                    continue
                try:
                    step(temporary, place)
                except OSError as error:
                    failed[message_id] = error
                    _remove(temporary)
        named.update({one: place.parent for one, (_, place) in self._staged.items()})
        for folder in set(named.values()):
            unsynced = _folder_error(folder)
            if unsynced is not None:
                for message_id in [one for one, its in named.items() if its == folder]:
                    failed.setdefault(message_id, unsynced)
        return failed

    def _write(self, temporary: Path, data: bytes) -> None:
        # A left-over may be anything, a link too: only a file that we make is written to.
        with suppress(FileNotFoundError):
            temporary.unlink()
        with self._files.open(temporary, "xb") as file:
            file.write(data)


def _sync_file(temporary: Path, _place: Path) -> None:
    # An error in writing back what was closed before is told to the next sync (Linux 4.16 on).
    _sync(temporary, os.O_RDWR | os.O_NOFOLLOW)


def _folder_error(folder: Path) -> OSError | None:
    """Why the names in `folder` are not durable; None where they are."""
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as error:
        return error
    return None


def _rename(temporary: Path, place: Path) -> None:
    temporary.rename(place)


def _sync(path: Path, flags: int) -> None:
    """Make a file's content, or a folder's names, durable."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink()  # on a full disk its bytes are needed
