"""The accounts of one kind: bounded, expiring, exact, and almost free.

Acquire and release are what a user's hot path pays, so they take no lock. That is safe because
each step that others can see is one C call, which neither a thread nor a signal handler can
divide, and because after each of them the accounts are in a legal state:

    acquire   pop a permit             put the lease into `fresh`   draw its id
    release   delete it from `fresh`   append the permit

- **The limit.** A lease is in a map only while its permit is out: taken before, given back after.
  So leases never exceed permits, and permits never exceed the limit (permits.py).
- **Closed once.** Of any number of callers the deletion succeeds for one; the others get KeyError.
  That one closes the lease and gets True.
- **Never in no map.** All but those two take the lock: touches, pins, sweeps, sizes, closes with
  any other cause, and a release that misses its lease in `fresh`, where alone it can be without
  the lock. What the lock does not keep out, a handler on its own thread, touch_order.py deals with.
- **Counts that add up.** Other closes are counted where they happen; what owners released is what
  is missing: ids drawn - live - closed otherwise. The id is drawn last and read first, so this
  is never too high, and the highest answer so far is kept: totals only rise, `opened = in_use +
  closed` holds in every answer, and the figures of a ledger at rest are exact.
- **Bytes** are a check and then an act, so a lease with bytes takes the lock. Between the check
  and the act stands no call, and CPython runs handlers only after calls and on backward jumps.
- **Dropped objects.** The lease is a weak reference, whose callback is the C method `append` of a
  deque: in a collection, inside any lock, at exit, nothing of ours runs. The next one who has
  to do here closes what lies in that deque: usage, a sweep or an acquire at the limit all of it,
  any other acquire two, so that it keeps its price and the deque stays short all the same.

`now` comes from one monotonic clock. Of two threads that read it and then overtake each other on
the way here, the later may stand before the earlier: a lease then grows stale late by as much
as the two differ, never early. Forking leaves the child an empty ledger with totals of 0 whose
ids go on, so that a lease of the parent's is closed there and is no one else's.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import cache
from math import inf
from operator import length_hint
from sys import _getframe, maxsize
from typing import Any

from leakwarden.core.errors import ConfigError, LimitExceeded
from leakwarden.core.lease import Lease, Notes, describe
from leakwarden.core.permits import Permits
from leakwarden.core.resource import (
    CAUSES,
    Cause,
    LeaseInfo,
    ResourceSettings,
    Usage,
    check_kind,
)
from leakwarden.core.touch_order import TouchOrder


class Ledger:
    """Every live lease of one kind, and what became of the others.

    It never keeps an object alive, but for one that allows no weak reference where there is an
    `on_release` to call with it. It never calls `on_release` either: a manager does, between
    `take_stale` and `release` or `keep`, outside every lock.
    """

    def __init__(
        self,
        kind: str,
        settings: ResourceSettings,
        on_release: Callable[[Any], None] | None = None,
    ) -> None:
        self.kind = check_kind(kind)
        self.on_release = on_release
        self.settings = self._checked(settings)
        self._released: int
        self._rejected: int
        self._failures: int
        self._bytes: int
        self._ids = iter(range(1, maxsize))
        self._start_empty()
        _emptied_by_fork().add(self)

    def configure(self, settings: ResourceSettings) -> None:
        """Put new limits and a new time to live in force, for live leases too.

        With a limit below what is in use nothing is closed, and nothing acquired until enough was
        released. ConfigError for evict_oldest beside an on_release.
        """
        with self._lock:
            self.settings = self._checked(settings)
            self._permits.resize(settings.limit)

    def acquire(self, obj: Any, now: float, size_bytes: int = 0, frame_depth: int = 1) -> Lease:
        """A new lease of `obj`, acquired `frame_depth` callers up. LimitExceeded at a limit.

        At the limit of a kind with evict_oldest the least recently touched lease that is not
        pinned is closed for it. ValueError for a size below 0.
        """
        if self._dropped:
            self._close_dropped(2)
        try:
            frame = _getframe(frame_depth)
        except ValueError:  # a thread was started right here: there is no such caller
            frame = _getframe()
        notes = None
        try:
            lease = Lease(obj, self._drop)
        except TypeError:
            lease, notes = self._without_proof(obj)
        lease.code = frame.f_code
        lease.lasti = frame.f_lasti
        lease.acquired_at = lease.touched_at = now
        lease.size_bytes = 0
        lease.open = True
        lease.notes = notes
        try:
            self._permits.free.pop()
        except IndexError:
            self._get_permit()
        if size_bytes or notes is not None:
            self._book(lease, size_bytes)
        self._fresh[lease] = lease
        lease.id = next(self._ids)
        return lease

    def release(self, lease: Lease, cause: Cause = "released") -> bool:
        """True for the one call that closed the lease, False for any other. Never an error."""
        if cause != "released":
            return self._close(lease, cause)
        try:
            del self._fresh[lease]
        except KeyError:
            return self._close(lease, cause)
        lease.open = False
        if lease.notes is not None:
            self._unbook(lease)
        self._permits.returned.append(None)
        return True

    def touch(self, lease: Lease, now: float) -> bool:
        """True where the lease is live, and its time to live begins again.

        False once it is closed or being closed: its object is not to be used any more.
        """
        with self._lock:
            return not lease.closing and self._order.touch(lease, now)

    def pin(self, lease: Lease, now: float, change: int) -> bool:
        """Count one user of the lease more (+1) or less (-1); both are touches. As `touch`.

        While it has users it is never stale.
        """
        with self._lock:
            if not self.touch(lease, now):
                return False
            notes = _notes(lease)
            was = notes.pins
            notes.pins += change
            if (was > 0) != (notes.pins > 0):
                self._order.set_pinned(lease, pinned=notes.pins > 0)
            return lease.open

    def resize(self, lease: Lease, size_bytes: int) -> bool:
        """True where the lease now counts `size_bytes`; False where it is closed.

        LimitExceeded, and nothing changed, where the bytes do not fit. To make them fit,
        evict_oldest may close this very lease if it is the least recently touched.
        """
        _check_size(size_bytes)
        with self._lock:
            if lease not in self._order:
                return False
            _notes(lease)  # from here on its release comes to the books
            more = size_bytes - lease.size_bytes
            self._reserve(more)
            lease.size_bytes += more
            if lease in self._order:
                return True
            self._unbook(lease)
            return False

    def take_stale(self, now: float, most: int | None = None) -> list[Lease]:
        """At most `most` stale leases (None: all), oldest first, now `closing`. O(number taken).

        They stay live and counted; each must end in `release(lease, cause)` or `keep(lease)`.
        """
        taken: list[Lease] = []
        with self._lock:
            self._settle(now)
            while most is None or len(taken) < most:
                lease = self._order.take_due()
                if lease is None:
                    break
                _notes(lease).closing = True
                taken.append(lease)
        return taken

    def keep(self, lease: Lease, *, failed: bool = True, closing: bool = False) -> None:
        """A lease from `take_stale` was not closed: it is open again, the failure counted.

        Not `failed`: it came into use after all; nothing is counted. Still `closing`: its callback
        outlived its limit and still runs; another `keep` or a release ends that. After the third
        failure in a row it is not taken any more, and stays visible as stale.
        """
        with self._lock:
            notes = _notes(lease)
            if notes.closing and lease in self._order:
                notes.closing = closing
                notes.attempts += failed
                self._failures += failed
                self._order.put_due(lease)

    def usage(self, now: float) -> Usage:
        """The numbers at `now`. O(1), and O(1) for each lease that newly grew stale."""
        with self._lock:
            now = self._settle(now)
            order = self._order
            opened = self._unused_ids - length_hint(self._ids)
            missing = opened - len(order) - sum(self._closed.values())
            self._released = released = max(self._released, missing)
            closed: dict[Cause, int] = {**self._closed, "released": released}
            opened = max(opened, sum(closed.values()))
            oldest = order.oldest_idle()
            return Usage(
                kind=self.kind,
                settings=self.settings,
                in_use=opened - sum(closed.values()),
                bytes=self._bytes,
                stale=len(order.stale),
                pinned=len(order.overdue),
                active=len(order.overdue) + len(order.busy),
                oldest_idle_seconds=None if oldest is None else max(0.0, now - oldest.touched_at),
                opened_total=opened,
                closed_total=closed,
                rejected_total=self._rejected,
                release_failures_total=self._failures,
                without_finalizer=len(self._unproven),
            )

    def leases(self, now: float, most: int = 100) -> list[LeaseInfo]:
        """At most `most` live leases for people, least recently touched first."""
        with self._lock:
            now = self._settle(now)
            # One that another thread is just acquiring has no id yet, and is nobody's so far.
            some = [lease for lease in self._order.first(most) if hasattr(lease, "id")]
            stale = self._order.stale
            return [describe(lease, self.kind, now, stale=lease in stale) for lease in some]

    def _start_empty(self) -> None:
        """Also in a forked child, whose one thread finds locks and accounts in any state."""
        self._lock = threading.RLock()
        self._order = TouchOrder()
        self._fresh = self._order.fresh
        self._permits = Permits(self.settings.limit)
        self._dropped: deque[Lease] = deque()
        self._drop = self._dropped.append
        self._unproven: dict[Lease, None] = {}
        # Ids go on where they are, opened counts from here.
        self._unused_ids = length_hint(self._ids)
        # What the owners released is not counted here, see above; `_released` is its last answer.
        self._closed: dict[Cause, int] = dict.fromkeys(CAUSES, 0)
        self._released = 0
        self._rejected = 0
        self._failures = 0
        self._bytes = 0

    def _checked(self, settings: ResourceSettings) -> ResourceSettings:
        if settings.overflow == "evict_oldest" and self.on_release is not None:
            raise ConfigError(
                f"{self.kind} has an on_release, and overflow evict_oldest would never call it",
                f"set resources.{self.kind}.overflow to reject, or leave out on_release",
            )
        return settings

    def _without_proof(self, obj: Any) -> tuple[Lease, Notes]:
        """A lease of what allows no weak reference: one of a stand-in that never dies."""
        notes = Notes()
        notes.proof = False
        notes.held = None if self.on_release is None else obj
        return Lease(Lease), notes

    def _get_permit(self) -> None:
        """Have a permit, by minting, by closing what was dropped, by eviction; or LimitExceeded."""
        with self._lock:
            while not self._permits.mint():
                if not self._make_room():
                    self._rejected += 1
                    limit = self.settings.limit or 0
                    raise LimitExceeded(self.kind, len(self._order), limit)

    def _reserve(self, size_bytes: int) -> None:
        """Count `size_bytes` more, making room for them if need be; or LimitExceeded."""
        limit = self.settings.limit_bytes
        while limit is not None and size_bytes > 0 and self._bytes + size_bytes > limit:
            if size_bytes > limit or not self._make_room():
                self._rejected += 1
                raise LimitExceeded(self.kind, self._bytes, limit, "bytes")
        self._bytes += size_bytes

    def _make_room(self) -> bool:
        """False where there is nothing to close: no object dropped, nothing to evict."""
        if self._dropped:
            self._close_dropped(1)
            return True
        oldest = self._order.oldest_idle()
        if self.settings.overflow != "evict_oldest" or oldest is None:
            return False
        self._close(oldest, "evicted")
        return True

    def _book(self, lease: Lease, size_bytes: int) -> None:
        """Enter what a plain lease does not have; on any error its permit is given back."""
        try:
            _check_size(size_bytes)
            notes = _notes(lease)
            with self._lock:
                self._reserve(size_bytes)
                lease.size_bytes = size_bytes
                if not notes.proof:
                    self._unproven[lease] = None
        except BaseException:
            self._permits.returned.append(None)
            raise

    def _unbook(self, lease: Lease) -> None:
        """Take a closed lease out of the books; harmless where that was done before."""
        with self._lock:
            self._bytes -= lease.size_bytes
            lease.size_bytes = 0
            self._unproven.pop(lease, None)
            _notes(lease).held = None

    def _close(self, lease: Lease, cause: Cause) -> bool:
        """Release under the lock, from whichever map the lease is in."""
        with self._lock:
            closes = self._order.lift(lease)
            # No call between this look and the two marks, so no handler closes it as well.
            if closes and lease.open:
                lease.open = False
                if cause != "released":
                    self._closed[cause] += 1
            else:
                closes = False
            self._order.set_down()
            if closes:
                if lease.notes is not None:
                    self._unbook(lease)
                self._permits.returned.append(None)
            return closes

    def _close_dropped(self, most: float = inf) -> None:
        while self._dropped and most > 0:
            most -= 1
            try:
                lease = self._dropped.popleft()
            except IndexError:
                return  # another thread was here
            if lease.open:
                self._close(lease, "finalizer")

    def _settle(self, now: float) -> float:
        """Close what was dropped and sort out what grew stale; `now`, which never runs back."""
        self._close_dropped()
        return self._order.advance(now, self.settings.ttl_seconds or inf)


def _notes(lease: Lease) -> Notes:
    if lease.notes is None:
        lease.notes = Notes()
    return lease.notes


def _check_size(size_bytes: int) -> None:
    if size_bytes < 0:
        raise ValueError(f"size_bytes is {size_bytes}: a size is at least 0")


@cache
def _emptied_by_fork() -> weakref.WeakSet[Ledger]:
    """The ledgers to start empty in a forked child.

    One hook for all, for Python cannot remove one; asking for the pid instead would cost each
    acquire 50 ns.
    """
    ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()

    def start_empty() -> None:
        for ledger in list(ledgers):
            ledger._start_empty()  # noqa: SLF001 - this module's own class

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=start_empty)
    return ledgers
