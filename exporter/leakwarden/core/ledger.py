"""The accounts of one kind: bounded, expiring, exact, and almost free.

Acquire and release are what a user's hot path pays, so they take no lock. They rest on this:
CPython changes threads, and runs signal handlers, only on entering a function, after a call and
on a jump: 3.10 on any conditional one, later ones on backward ones alone. Statements in a row with
none of these among them are one *step*: it happens wholly or not at all, whatever threads there
are, and whenever a handler comes, acquires here or raises. Every change of the accounts is a step,
and begins with the look that it depends on, an `if` that holds (which does not jump):

    acquire   below the limits?   stand in `fresh`, draw the id, count the lease and its bytes
    release   still in `fresh`?   leave it, be no longer open, count one lease less

So limits hold, of any number of closers one closes, figures that are read in one step agree,
and an acquire that a handler cuts short, by Ctrl-C or as its timeout, has not taken anything:
there is nothing to give back. Where a comment says "one step", no call and no branch may go in.

- **The lock** is for what takes several steps: touches, pins, sweeps, sizes, room at the limit,
  and closing what is out of the ordinary. It does not keep out a handler on its own thread, nor a
  release elsewhere; so each step looks again at what the step before it found.
- **Totals** only rise, and `opened = in_use + closed` in every answer. What owners released is
  not counted, it is what is missing: opened - in use - closed otherwise.
- **Dropped objects.** The lease is a weak reference, whose callback is the C method `append` of a
  deque: in a collection, inside any lock, at exit, nothing of ours runs. The next one who has
  to do here closes what lies in that deque: usage, a sweep or an acquire at the limit all of it,
  any other acquire two, so that it keeps its price and the deque stays short all the same.
- **Tracing.** Under a debugger, whose own Python code runs between the lines of a step, threads
  may pass a limit by as many as race for the last place. The figures of a ledger at rest are
  exact even then.

`now` comes from one monotonic clock. Of two threads that read it and then overtake each other on
the way here, the later may stand before the earlier: a lease then grows stale late by as much
as the two differ, never early. Forking leaves the child an empty ledger with totals of 0 whose
ids go on, so that a lease of the parent's is closed there and is no one else's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from math import inf
from sys import _getframe, maxsize
from time import sleep
from typing import Any

from leakwarden.core.errors import ConfigError, LimitExceeded
from leakwarden.core.forked import call_in_forked_children
from leakwarden.core.lease import Lease, Notes, describe
from leakwarden.core.resource import (
    CAUSES,
    Cause,
    LeaseInfo,
    ResourceSettings,
    Usage,
    check_kind,
)
from leakwarden.core.touch_order import TouchOrder, first

# What failed three times will fail a fourth; it stays visible as stale.
MOST_ATTEMPTS = 3
# How many leases move to the stale ones before others get the lock: 2 ms.
_SLICE = 500


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
        self._put_in_force(settings)
        self._order = TouchOrder()
        self._fresh = self._order.fresh
        self._dropped: deque[Lease] = deque()
        self._drop = self._dropped.append
        self._last_id = 0
        self._start_empty()
        call_in_forked_children(self, Ledger._start_empty)

    def configure(self, settings: ResourceSettings) -> None:
        """Put new limits and a new time to live in force, for live leases too.

        With a limit below what is in use nothing is closed, and nothing acquired until enough was
        released. ConfigError for evict_oldest beside an on_release.
        """
        with self._lock:
            self._put_in_force(settings)

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
        except TypeError:  # it allows no weak reference: one of a stand-in that never dies
            lease = Lease(Lease)
            notes = Notes(held=None if self.on_release is None else obj, proof=False)
        if size_bytes:
            _check_size(size_bytes)
            notes = notes or Notes()
            notes.size_bytes = size_bytes
        lease.code = frame.f_code
        lease.lasti = frame.f_lasti
        lease.acquired_at = lease.touched_at = now
        lease.open = True
        lease.notes = notes
        while True:
            if notes is None:
                if self._in_use < self._limit:  # one step to the return
                    self._fresh[lease] = lease
                    self._last_id = lease.id = self._last_id + 1
                    self._in_use += 1
                    return lease
            else:
                most = self._limit_bytes if size_bytes else maxsize
                # One step to the return.
                if self._in_use < self._limit and self._bytes + size_bytes <= most:
                    self._fresh[lease] = lease
                    self._last_id = lease.id = self._last_id + 1
                    self._in_use += 1
                    self._bytes += size_bytes
                    self._unproven += not notes.proof
                    return lease
            self._make_room(1, size_bytes)

    def release(self, lease: Lease, cause: Cause = "released") -> bool:
        """True for the one call that closed the lease, False for any other. Never an error."""
        if cause == "released" and lease.notes is None:  # one step to the first return
            try:
                del self._fresh[lease]
            except KeyError:
                return self._close(lease, cause)
            lease.open = False
            self._in_use -= 1
            return True
        return self._close(lease, cause)

    def touch(self, lease: Lease, now: float) -> bool:
        """True where the lease is live, and its time to live begins again.

        False once it is closed or being closed: its object is not to be used any more.
        """
        with self._lock:
            return self._order.touch(lease, now)

    def pin(self, lease: Lease, now: float, change: int) -> bool:
        """Count one user of the lease more (+1) or less (-1); both are touches. As `touch`.

        False, too, for one user less of a lease that has none. While it has users it is never
        stale.
        """
        with self._lock:
            _notes(lease)
            return self._order.touch(lease, now, change)

    def resize(self, lease: Lease, size_bytes: int) -> bool:
        """True where the lease now counts `size_bytes`; False where it is closed.

        LimitExceeded, and nothing changed, where the bytes do not fit. To make them fit,
        evict_oldest may close this very lease if it is the least recently touched.
        """
        _check_size(size_bytes)
        with self._lock:
            notes = _notes(lease)
            while self._order.map_of(lease) is not None:
                was = notes.size_bytes
                more = size_bytes - was
                most = self._limit_bytes if more > 0 else maxsize
                # One step to the return.
                if lease.open and notes.size_bytes == was and self._bytes + more <= most:
                    self._bytes += more
                    notes.size_bytes = size_bytes
                    return True
                self._make_room(0, more)
            return False

    def take_stale(self, now: float, most: int | None = None) -> list[Lease]:
        """At most `most` stale leases (None: all), oldest first, now `closing`. O(number taken).

        They stay live and counted; each must end in `release(lease, cause)` or `keep(lease)`.
        """
        taken: list[Lease] = []
        self._settle(now)
        due, stale = self._order.due, self._order.stale
        try:
            while most is None or len(taken) < most:
                with self._lock:
                    lease = first(due)
                    if lease is None:
                        break
                    notes = _notes(lease)
                    if lease in due:  # one step; a bool stands where a branch would
                        fit = (
                            (lease in stale)
                            & (not notes.closing)
                            & (notes.attempts < MOST_ATTEMPTS)
                        )
                        del due[lease]
                        notes.closing |= fit
                        taken += [lease] * fit
        except BaseException:  # a handler raised, and no one will get them
            for lease in taken:
                self.keep(lease, failed=False)
            raise
        return taken

    def keep(self, lease: Lease, *, failed: bool = True, closing: bool = False) -> None:
        """A lease from `take_stale` was not closed: it is open again, the failure counted.

        Not `failed`: it came into use after all; nothing is counted. Still `closing`: its callback
        outlived its limit and still runs; another `keep` or a release ends that. After the third
        failure since its last touch it is not taken any more, and stays visible as stale.
        """
        with self._lock:
            notes = _notes(lease)
            if self._order.map_of(lease) is None:
                return
            if lease.open and notes.closing:  # one step
                notes.closing = closing
                notes.attempts += failed
                self._failures += failed
                self._order.due[lease] = lease

    def usage(self, now: float) -> Usage:
        """The numbers at `now`. O(1), and O(1) for each lease that newly grew stale."""
        self._settle(now)
        order = self._order
        oldest = order.oldest_idle()
        idle_seconds = None if oldest is None else max(0.0, order.now - oldest.touched_at)
        sizes = map(len, order.maps)
        # One step to the return, so that all figures are of one instant.
        _, stale, busy, overdue = sizes
        closed: dict[Cause, int] = {**self._closed}
        opened = self._last_id - self._first_id
        closed["released"] = opened - self._in_use - self._not_released
        return Usage(
            kind=self.kind,
            settings=self.settings,
            in_use=self._in_use,
            bytes=self._bytes,
            stale=stale,
            pinned=overdue,
            active=overdue + busy,
            oldest_idle_seconds=idle_seconds,
            opened_total=opened,
            closed_total=closed,
            rejected_total=self._rejected,
            release_failures_total=self._failures,
            without_finalizer=self._unproven,
        )

    def leases(self, now: float, most: int = 100) -> list[LeaseInfo]:
        """At most `most` live leases for people, least recently touched first."""
        self._settle(now)
        with self._lock:
            now, stale = self._order.now, self._order.stale
            some = self._order.first(most)
            return [describe(lease, self.kind, now, stale=lease in stale) for lease in some]

    def _start_empty(self) -> None:
        """Also in a forked child, whose one thread finds the lock in any state.

        The maps stay the same ones, for the fork may have come in the midst of work on them.
        """
        self._lock = threading.RLock()
        self._order.clear()
        self._dropped.clear()
        self._first_id = self._last_id  # ids go on, opened counts from here
        self._closed: dict[Cause, int] = dict.fromkeys(CAUSES, 0)
        self._not_released = 0  # the sum but for "released", which is what is missing
        self._in_use = self._bytes = self._unproven = self._rejected = self._failures = 0

    def _put_in_force(self, settings: ResourceSettings) -> None:
        if settings.overflow == "evict_oldest" and self.on_release is not None:
            raise ConfigError(
                f"{self.kind} has an on_release, and overflow evict_oldest would never call it",
                f"set resources.{self.kind}.overflow to reject, or leave out on_release",
            )
        self.settings = settings
        self._limit = maxsize if settings.limit is None else settings.limit
        self._limit_bytes = maxsize if settings.limit_bytes is None else settings.limit_bytes

    def _make_room(self, places: int, size_bytes: int) -> None:
        """One lease less, where `places` more or `size_bytes` more do not fit; or LimitExceeded."""
        with self._lock:
            if self._dropped:
                self._close_dropped(1)
                return
            oldest = self._order.oldest_idle() if self.settings.overflow == "evict_oldest" else None
            if places and self._in_use >= self._limit:
                used, limit, unit = self._in_use, self._limit, "leases"
            elif size_bytes > 0 and self._bytes + size_bytes > self._limit_bytes:
                used, limit, unit = self._bytes, self._limit_bytes, "bytes"
                if size_bytes > limit:
                    oldest = None
            else:  # made elsewhere since the caller looked
                return
            if oldest is None:
                self._rejected += 1
                raise LimitExceeded(self.kind, used, limit, unit)
            self._close(oldest, "evicted")

    def _close(self, lease: Lease, cause: Cause) -> bool:
        """Release from whichever map the lease is in."""
        with self._lock:
            notes = _notes(lease)
            while (leases := self._order.map_of(lease)) is not None:
                if lease in leases:  # one step
                    del leases[lease]
                    lease.open = False
                    self._in_use -= 1
                    self._closed[cause] += 1
                    self._not_released += cause != "released"
                    self._bytes -= notes.size_bytes
                    notes.size_bytes = 0
                    self._unproven -= not notes.proof
                    # It goes with this frame: a __del__ of it is not to run under the lock.
                    held, notes.held = notes.held, None  # noqa: F841
                    self._order.due.pop(lease, None)
                    return True
            return False

    def _close_dropped(self, most: float = inf) -> None:
        """Close at most `most` of what was dropped. Each stays noted until that is done."""
        dropped = self._dropped
        while most > 0:
            most -= 1
            try:
                lease = dropped[0]
            except IndexError:
                return
            if lease.open:
                self._close(lease, "finalizer")
            if dropped and dropped[0] is lease:  # one step
                del dropped[0]

    def _settle(self, now: float) -> None:
        """Close what was dropped and sort out what grew stale; others get the lock in between."""
        self._close_dropped()
        settled = False
        while not settled:
            with self._lock:
                ttl_seconds = self.settings.ttl_seconds or inf
                settled = self._order.advance(now, ttl_seconds, _SLICE)
            if not settled:
                sleep(0.0001)  # or it would take the lock again before any who waits awoke


def _notes(lease: Lease) -> Notes:
    fresh = Notes()
    # One step: of two who come here with a lease without notes, both get the same.
    if lease.notes is None:
        lease.notes = fresh
    return lease.notes


def _check_size(size_bytes: int) -> None:
    if size_bytes < 0:
        raise ValueError(f"size_bytes is {size_bytes}: a size is at least 0")
