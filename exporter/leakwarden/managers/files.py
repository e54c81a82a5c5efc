"""Files that are accounted for: `open()` with a limit, a time to live and a site.

What is in use (tracked_file.py says when) is pinned at whatever age and never closed
here: a log file that is open by design is no leak. Anything else is closed by a
cleanup once it was idle for its time to live, and raises `StaleHandle` when used again.

The lease comes before the descriptor: at the limit nothing is opened, truncated or
created. An open that fails has held a lease for a moment, and is in the totals.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Union

from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import Cause, LeaseInfo, ResourceSettings, Usage
from leakwarden.managers.closing import Closer, refuse_eviction
from leakwarden.managers.files_async import AsyncOpening
from leakwarden.managers.stale import StaleHandle
from leakwarden.managers.tracked_file import TrackedFile

__all__ = ["Files", "StaleHandle"]

# What the builtin open() takes.
FilePath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]", int]


class Files:
    """The open files of one process. Two opens of one path are two leases."""

    def __init__(self, settings: ResourceSettings, clock: Callable[[], float]) -> None:
        refuse_eviction("file_handle", settings)
        self.ledger = Ledger("file_handle", settings, on_release=TrackedFile.close_idle)
        self._clock = clock
        self.closer = Closer(self.ledger, TrackedFile.close_idle)

    def open(self, path: FilePath, mode: str = "r", **open_kwargs: Any) -> TrackedFile:
        """The file, opened as the builtin `open()` does with the same arguments.

        LimitExceeded at the limit, and then nothing was opened; OSError and ValueError as of
        `open()`, and then no lease remains.
        """
        file = TrackedFile(self.ledger, self._clock)
        file.lease = self.ledger.acquire(file, self._clock(), frame_depth=2)
        file.open_with(partial(open, path, mode, **open_kwargs))
        return file

    def aopen(self, path: FilePath, mode: str = "r", **open_kwargs: Any) -> AsyncOpening:
        """What `async with` enters, or `await` opens: an AsyncFile, all of its I/O in a thread.

        The lease is taken by the call itself, so that its site is the caller's line. Errors of
        the limit rise here, those of opening from the await.
        """
        file = TrackedFile(self.ledger, self._clock)
        file.lease = self.ledger.acquire(file, self._clock(), frame_depth=2)
        return AsyncOpening(file, partial(open, path, mode, **open_kwargs))

    def usage(self) -> Usage:
        """The numbers of now; O(1)."""
        return self.ledger.usage(self._clock())

    def leases(self, most: int = 100) -> list[LeaseInfo]:
        """At most `most` open files, least recently touched first."""
        return self.ledger.leases(self._clock(), most)

    def close_stale(self, cause: Cause = "cleanup") -> int:
        """How many idle files were flushed and closed; what could not be flushed stays open."""
        return self.closer.close_stale(self._clock(), cause)
