"""The accounts of one kind: bounded, expiring, exact. First form: one lock around everything."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any

from leakwarden.core.errors import ConfigError, LimitExceeded
from leakwarden.core.lease import Lease, describe
from leakwarden.core.resource import (
    CAUSES,
    Cause,
    LeaseInfo,
    ResourceSettings,
    Usage,
    check_kind,
)

MOST_ATTEMPTS = 3


@cache
def _forked() -> weakref.WeakSet[Ledger]:
    ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()

    def start_empty() -> None:
        for ledger in list(ledgers):
            ledger._start_empty()  # noqa: SLF001 - the ledger's own module

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=start_empty)
    return ledgers


class Ledger:
    """What one kind holds: see the module's docstring."""

    def __init__(
        self,
        kind: str,
        settings: ResourceSettings,
        on_release: Callable[[Any], None] | None = None,
    ) -> None:
        self.kind = check_kind(kind)
        self.on_release = on_release
        self._ids = itertools.count(1)
        self._start_empty()
        self.configure(settings)
        _forked().add(self)

    def _start_empty(self) -> None:
        self._lock = threading.RLock()
        self._live: OrderedDict[Lease, None] = OrderedDict()
        self._dropped: deque[Lease] = deque()
        self._closed: dict[Cause, int] = dict.fromkeys(CAUSES, 0)
        self._bytes = self._opened = self._rejected = self._failures = 0

    def configure(self, settings: ResourceSettings) -> None:
        """Put new limits and a new time to live in force, for live leases too."""
        if settings.overflow == "evict_oldest" and self.on_release is not None:
            raise ConfigError(
                f"{self.kind} has an on_release and overflow evict_oldest",
                "use overflow reject: an evicted object's on_release would run in its evictor",
            )
        self.settings = settings

    def acquire(self, obj: Any, now: float, size_bytes: int = 0, frame_depth: int = 1) -> Lease:
        """A new lease of `obj`. LimitExceeded at the limit; the site is `frame_depth` frames up."""
        with self._lock:
            self._make_room(1, size_bytes)
            try:
                lease = Lease(obj, self._dropped.append)
                lease.proof, lease.held = True, None
            except TypeError:
                lease = Lease(Lease)
                lease.proof, lease.held = False, obj if self.on_release is not None else None
            frame = sys._getframe(frame_depth)  # noqa: SLF001 - the one way to the caller
            lease.code, lease.lasti = frame.f_code, frame.f_lasti
            lease.id = next(self._ids)
            lease.acquired_at = lease.touched_at = now
            lease.size_bytes, lease.pins, lease.attempts = size_bytes, 0, 0
            lease.open, lease.closing = True, False
            self._bytes += size_bytes
            self._opened += 1
            self._live[lease] = None
            return lease

    def _make_room(self, count: int, size_bytes: int, keep: Lease | None = None) -> None:
        limit = self.settings.limit or inf
        limit_bytes = self.settings.limit_bytes or inf
        while True:
            too_many = len(self._live) + count > limit
            too_large = self._bytes + size_bytes > limit_bytes
            if not too_many and not too_large:
                return
            if self._dropped:
                self._drain()
                continue
            if self.settings.overflow == "evict_oldest" and size_bytes <= limit_bytes:
                oldest = next((x for x in self._live if not x.pins and x is not keep), None)
                if oldest is not None:
                    self.release(oldest, "evicted")
                    continue
            self._rejected += 1
            if too_many:
                raise LimitExceeded(self.kind, len(self._live), int(limit))
            raise LimitExceeded(self.kind, self._bytes, int(limit_bytes), "bytes")

    def _drain(self) -> None:
        while self._dropped:
            self.release(self._dropped.popleft(), "finalizer")

    def touch(self, lease: Lease, now: float) -> bool:
        """True where the lease is used on; False once it is closed or being closed."""
        with self._lock:
            if lease not in self._live or lease.closing:
                return False
            lease.touched_at = max(now, lease.touched_at)
            self._live.move_to_end(lease)
            return True

    def resize(self, lease: Lease, size_bytes: int) -> bool:
        """True where the lease now counts `size_bytes`. LimitExceeded where they do not fit."""
        with self._lock:
            if lease not in self._live:
                return False
            self._make_room(0, size_bytes - lease.size_bytes, keep=lease)
            self._bytes += size_bytes - lease.size_bytes
            lease.size_bytes = size_bytes
            return True

    def release(self, lease: Lease, cause: Cause = "released") -> bool:
        """True for the one call that closed it. Never calls on_release."""
        with self._lock:
            if self._live.pop(lease, lease) is lease:
                return False
            lease.open = False
            self._bytes -= lease.size_bytes
            self._closed[cause] += 1
            return True

    def pin(self, lease: Lease, now: float, change: int) -> bool:
        """Count one user of the lease more (+1) or less (-1); either is a touch."""
        with self._lock:
            if not self.touch(lease, now):
                return False
            lease.pins = max(0, lease.pins + change)
            return True

    def _is_stale(self, lease: Lease, now: float) -> bool:
        return not lease.pins and self._is_old(lease, now)

    def _is_old(self, lease: Lease, now: float) -> bool:
        return now - lease.touched_at >= (self.settings.ttl_seconds or inf)

    def take_stale(self, now: float, most: int | None = None) -> list[Lease]:
        """At most `most` stale leases, marked `closing`; each then ends in release or keep."""
        with self._lock:
            self._drain()
            stale = (
                x
                for x in self._live
                if self._is_stale(x, now) and not x.closing and x.attempts < MOST_ATTEMPTS
            )
            taken = list(itertools.islice(stale, most))
            for lease in taken:
                lease.closing = True
            return taken

    def keep(self, lease: Lease) -> None:
        """The close failed: the lease is open again and the failure is counted."""
        with self._lock:
            if lease in self._live and lease.closing:
                lease.closing = False
                lease.attempts += 1
                self._failures += 1

    def usage(self, now: float) -> Usage:
        """The numbers at `now`."""
        with self._lock:
            self._drain()
            live = list(self._live)
            oldest = next((x for x in live if not x.pins), None)
            return Usage(
                kind=self.kind,
                settings=self.settings,
                in_use=len(live),
                bytes=self._bytes,
                stale=sum(self._is_stale(x, now) for x in live),
                pinned=sum(x.pins > 0 and self._is_old(x, now) for x in live),
                active=sum(x.pins > 0 for x in live),
                oldest_idle_seconds=None if oldest is None else max(0.0, now - oldest.touched_at),
                opened_total=self._opened,
                closed_total=dict(self._closed),
                rejected_total=self._rejected,
                release_failures_total=self._failures,
                without_finalizer=sum(not x.proof for x in live),
            )

    def leases(self, now: float, most: int = 100) -> list[LeaseInfo]:
        """At most `most` live leases for people, least recently touched first."""
        with self._lock:
            self._drain()
            live = itertools.islice(self._live, most)
            return [describe(x, self.kind, now, stale=self._is_stale(x, now)) for x in live]
