"""The plain ledger to compare with: one RLock around every step, the same lease, the same answers.

Only what a benchmark times is here; whether the answers are right is the property tests' matter.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections import OrderedDict
from typing import Any

from leakwarden.core.errors import LimitExceeded
from leakwarden.core.lease import Lease, Notes


class LockedLedger:
    """Acquire and release of one kind, with a limit."""

    def __init__(self, kind: str, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.live: OrderedDict[Lease, Lease] = OrderedDict()
        self.opened = 0
        self.released = 0
        self._ids = itertools.count(1)
        self._dropped: list[Lease] = []
        self._lock = threading.RLock()

    def acquire(self, obj: Any, now: float, size_bytes: int = 0, frame_depth: int = 1) -> Lease:
        """A new lease; LimitExceeded at the limit."""
        with self._lock:
            if len(self.live) >= self.limit:
                raise LimitExceeded(self.kind, len(self.live), self.limit)
            frame = sys._getframe(frame_depth)
            lease = Lease(obj, self._dropped.append)
            lease.code = frame.f_code
            lease.lasti = frame.f_lasti
            lease.acquired_at = lease.touched_at = now
            lease.open = True
            lease.notes = Notes(size_bytes) if size_bytes else None
            lease.id = next(self._ids)
            self.opened += 1
            self.live[lease] = lease
            return lease

    def release(self, lease: Lease) -> bool:
        """True for the one call that closed it."""
        with self._lock:
            if self.live.pop(lease, None) is None:
                return False
            lease.open = False
            self.released += 1
            return True
