"""One open file with its lease: everything a file offers, and who may close it when.

In use is: inside a `with`, inside an I/O call, or after the descriptor or the buffer
was given out. The wrapper's lock guards only these flags, never the I/O itself, so that
a file behaves under threads as Python's own does, and a cleanup never waits for an I/O call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import IO, Any, final

from leakwarden.core.errors import LeakwardenError
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
        "_busy",
        "_cleaned_at",
        "_clock",
        "_closed",
        "_file",
        "_held",
        "_ledger",
        "_lock",
        "lease",
    )

    lease: Lease

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        # Re-entrant, because a signal handler may use the file that it interrupted.
        self._lock = threading.RLock()
        self._file: Any = None
        self._busy = 0
        self._held = False
        self._closed = False
        self._cleaned_at: float | None = None

    def open_with(self, opener: Callable[[], IO[Any]]) -> None:
        """Open by `opener()`; where that fails, no lease remains.

        `close()` may come from another thread before or meanwhile (a cancelled await): then
        nothing is opened, or what was opened is closed here.
        """
        with self._lock:
            wanted = not self._closed
            if wanted:
                self._begin()
        if not wanted:
            return
        try:
            file = opener()
        except BaseException:
            self._ledger.release(self.lease)
            raise
        with self._lock:
            self._file = file
            abandoned = self._closed
        self._finish()
        if abandoned:
            self.close()

    def close(self) -> None:
        """Close and give back the lease; harmless where either is done already.

        Where the last flush fails, that error rises and the file is closed all the same, as
        Python's own is.
        """
        with self._lock:
            self._closed = True
            file, opening = self._file, self._busy
        if file is None:
            if not opening:
                self._ledger.release(self.lease)
            return
        try:
            file.close()
        finally:
            if file.closed:
                self._ledger.release(self.lease)

    def close_idle(self) -> None:
        """Flush and close for a cleanup; LeakwardenError where it came into use meanwhile.

        OSError where the flush fails: the file stays open, for its data is not written yet. The
        lock waited for is never held during anybody's I/O but this one's.
        """
        with self._lock:
            users = self._busy + self._held
            if users:
                self._take_back(users)
                raise LeakwardenError(
                    "the file came into use while a cleanup was about to close it"
                )
            if not self._file.closed:
                self._file.flush()
                self._cleaned_at = self._clock()
                self._file.close()

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
        self._begin()
        try:
            return method(*args, **kwargs)
        finally:
            self._finish()

    def _begin(self) -> None:
        with self._lock:
            self._check_not_stale()
            self._busy += 1
            self._ledger.pin(self.lease, self._clock(), +1)

    def _finish(self) -> None:
        with self._lock:
            self._busy -= 1
            self._ledger.pin(self.lease, self._clock(), -1)

    def _hold(self) -> None:
        with self._lock:
            self._check_not_stale()
            self._held = True
            # Never unpinned, so that once more is only a touch.
            self._ledger.pin(self.lease, self._clock(), +1)

    def _take_back(self, users: int) -> None:
        """From a cleanup: what is being closed cannot be pinned, so its users were not counted."""
        self._ledger.keep(self.lease)
        for _ in range(users):
            self._ledger.pin(self.lease, self._clock(), +1)

    def _check_not_stale(self) -> None:
        if self._cleaned_at is not None:
            raise stale_handle(self.lease, self._ledger.kind, self._cleaned_at)
