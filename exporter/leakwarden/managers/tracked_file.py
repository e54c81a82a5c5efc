"""One open file with its lease: everything a file offers, and who may close it when.

In use is: inside a `with`, inside an I/O call, or after the descriptor or the buffer
was given out. The ledger alone counts that, by pins: what is pinned no cleanup takes,
and what a cleanup has taken cannot be pinned. So nothing is locked here, a file behaves
under threads as Python's own does, and a cleanup never waits for an I/O call.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import IO, Any, final

from leakwarden.core.lease import Lease
from leakwarden.core.ledger import Ledger
from leakwarden.managers.stale import stale_handle

# What moves data or the position: each call is activity. `next()` is the other one.
IO_CALLS = frozenset(
    {
        "flush",
        "peek",
        "read",
        "read1",
        "readall",
        "readinto",
        "readinto1",
        "readline",
        "readlines",
        "reconfigure",
        "seek",
        "tell",
        "truncate",
        "write",
        "writelines",
    }
)
# What lets others do I/O behind our back: from then on the file is in use until it is closed.
_GIVEN_OUT = frozenset({"buffer", "raw"})
# What is pinned need not be touched for each line that is read (1.6 us a line, without 0.4): its
# idle time is only shown, and to the second is enough.
_TOUCH_SECONDS = 1.0


@final
class TrackedFile:
    """A file object with a lease. Not an `io.IOBase`, but everything that takes one takes this.

    `close()` gives back the lease, and so does `detach()`: what that returns is the caller's.
    """

    __slots__ = (
        "__weakref__",
        "_cleaned_at",
        "_clock",
        "_closed",
        "_file",
        "_held",
        "_ledger",
        "_pid",
        "_turns",
        "lease",
    )

    lease: Lease

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._pid = os.getpid()
        self._file: Any = None
        # Who draws 0 (one C call, so exactly one does) decides whether the file is ever opened.
        self._turns = count()
        self._held = False
        self._closed = False
        self._cleaned_at: float | None = None

    def open_with(self, opener: Callable[[], IO[Any]]) -> None:
        """Open by `opener()`; where that fails, no lease remains.

        `close()` may come from another thread before or meanwhile (a cancelled await): then
        nothing is opened, or what was opened is closed here. StaleHandle where a cleanup came
        first.
        """
        self._call(self._open, opener)

    def close(self) -> None:
        """Close and give back the lease; harmless where either is done already.

        Where the last flush fails, that error rises and the file is closed all the same, as
        Python's own is.
        """
        self._closed = True
        if next(self._turns) == 0:
            self._ledger.release(self.lease)
        # Where there is no file yet, the one who opens it sees `_closed` afterwards.
        file = self._file
        if file is not None:
            try:
                file.close()
            finally:
                if file.closed:
                    self._ledger.release(self.lease)

    def close_idle(self) -> None:
        """Flush and close for a cleanup that has taken the lease, so that nobody uses the file.

        OSError where the flush fails: the file stays open, for its data is not written yet.
        """
        file = self._file
        if next(self._turns) == 0:
            self._cleaned_at = self._clock()
        elif file is not None and not file.closed:
            file.flush()
            self._cleaned_at = self._clock()
            file.close()

    def fileno(self) -> int:
        """The descriptor; from now on the file is in use until it is closed."""
        self._hold()
        return int(self._file.fileno())

    def detach(self) -> Any:
        """The underlying buffer, which the caller answers for from now on: the lease ends."""
        buffer = self._call(self._file.detach)
        self._ledger.release(self.lease)
        return buffer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = getattr(self._file, name)
        if name in IO_CALLS:
            return partial(self._call, value)
        if name in _GIVEN_OUT:
            self._hold()
        return value

    def __enter__(self) -> TrackedFile:
        self._hold()
        self._file.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __iter__(self) -> TrackedFile:
        return self

    def __next__(self) -> Any:
        return self._call(next, self._file)

    def __repr__(self) -> str:
        return f"<tracked {self._file!r}>"

    def _call(self, method: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        if self._held:
            # Pinned until it is closed: nothing to guard, only the idle time to keep true.
            now = self._clock()
            if now - self.lease.touched_at >= _TOUCH_SECONDS:
                self._ledger.touch(self.lease, now)
            return method(*args, **kwargs)
        pinned = self._pin()
        try:
            return method(*args, **kwargs)
        finally:
            if pinned:
                notes = self.lease.notes
                pins = notes and notes.pins
                try:
                    self._ledger.pin(self.lease, self._clock(), -1)
                except BaseException:
                    # A signal handler raised: before the pin was taken back, or after it?
                    if notes and notes.pins == pins:
                        self._ledger.pin(self.lease, self._clock(), -1)
                    raise

    def _open(self, opener: Callable[[], IO[Any]]) -> None:
        if next(self._turns) > 0:
            return
        try:
            self._file = opener()
        except BaseException:
            self._ledger.release(self.lease)
            raise
        if self._closed:
            self.close()

    def _hold(self) -> None:
        if not self._held:
            # Never unpinned: the lease ends with the file.
            self._held = self._pin()

    def _pin(self) -> bool:
        """True where the file is now counted as in use; StaleHandle where it is a cleanup's.

        False where its owner has closed it, which Python's file tells better, and in a forked
        child, where it can be used, is not accounted for and is closed by no cleanup.
        """
        now = self._clock()
        pins = self.lease.pins
        try:
            if self._ledger.pin(self.lease, now, +1):
                return True
        except BaseException:
            # A signal handler raised: before the file was pinned, or after it?
            if self.lease.pins > pins:
                self._ledger.pin(self.lease, now, -1)
            raise
        taken = self.lease.open and self._pid == os.getpid()
        if taken or self._cleaned_at is not None:
            closed_at = now if self._cleaned_at is None else self._cleaned_at
            raise stale_handle(self.lease, self._ledger.kind, closed_at)
        return False
