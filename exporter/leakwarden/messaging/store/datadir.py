"""The data directory: one process owns it, and it stands on a local file system.

The file `lock` in it is held with flock for as long as the store is open. It holds
the owner's process id, and `clean` once the owner has closed the store in order:
whoever finds a process id there on opening knows that the last owner was killed.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from leakwarden.core.errors import ConfigError

LOCK = "lock"
_CLEAN = b"clean\n"
_MOUNTS = Path("/proc/self/mountinfo")

# File systems on which SQLite's WAL is unsafe, for its index is memory shared between processes
# of one machine (https://www.sqlite.org/wal.html), and on which flock may not exclude.
_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "lustre",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.rclone",
    }
)


class DataDir:
    """The lock on one data directory. `was_clean` is True where nothing needs checking."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_clean = False
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Make the directory (mode 0700) where it is missing, and own it.

        ConfigError where another process owns it (named), it is on a network file system, or it
        cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_network(self.path)
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"the data directory {self.path} cannot be used: {error.strerror}",
                "give a writable folder with --data-dir",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigError(
                f"the data directory {self.path} is in use by process {owner or '(unknown)'}",
                "stop that process, or give another folder with --data-dir",
            ) from error
        self.was_clean = os.pread(descriptor, 32, 0) == _CLEAN
        self._descriptor = descriptor
        self._write(f"{os.getpid()}\n".encode("ascii"))

    def release(self, *, clean: bool) -> None:
        """Give the directory free. `clean`: the store was closed in order, to the last page."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if clean:
            # Not written (the disk is full): the next start checks the file once more than needed.
            with suppress(OSError):
                self._write(_CLEAN, descriptor)
        os.close(descriptor)

    def _write(self, content: bytes, descriptor: int | None = None) -> None:
        target = self._descriptor if descriptor is None else descriptor
        if target is None:
            return
        os.ftruncate(target, 0)
        os.pwrite(target, content, 0)
        os.fsync(target)


def _refuse_network(path: Path) -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return  # no /proc: nothing is known, and most folders are local
    found = network_file_system(os.path.realpath(path), mounts)
    if found is not None:
        raise ConfigError(
            f"the data directory {path} is on a network file system ({found}), where two machines "
            "could write the store at once",
            "give a folder on a local disk with --data-dir",
        )


def network_file_system(path: str, mountinfo: str) -> str | None:
    """The network file system that `path` (absolute, no symlinks) is on; None where it is local.

    `mountinfo` is the text of /proc/self/mountinfo (proc(5)); of two mounts on one place the
    later line counts, for it hides the earlier.
    """
    best_length, best_type = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:  # noqa: PLR2004 - the mount point is the fifth field
            continue
        mount = _unescape(fields[4])
        inside = mount in ("/", path) or path.startswith(mount + "/")
        if inside and len(mount) >= best_length:
            best_length, best_type = len(mount), right.split(" ")[0]
    return best_type if best_type in _NETWORK else None


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def write_whole(path: Path, text: str) -> None:
    """`path` with `text` in it, or as it was: nobody ever reads half of it, not after a crash.

    OSError as the disk gives it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
