"""The live leases of one ledger, least recently touched first, the old ones apart.

A lease stands in exactly one of four maps: idle ones in `fresh` until their time to live has
passed and in `stale` from then on, pinned ones likewise in `busy` and `overdue`. Each map is in
touch order and everything old was touched before everything young, so that what is oldest,
what has newly grown old and how many did are all found at the ends: O(1), and O(number moved).

Two things come between: on another thread a release, which deletes from `fresh` without the
ledger's lock, and on this very thread a signal handler or a user's `__del__`, which the lock
does not keep out. Each step leaves what both can bear:

- Only one can take a lease out of a map. Whoever moves it does so only if it was the one.
- A lease that was taken out under the lock stands in `_lifted` until the work on it is done, put
  there by the same C call: at no instant is it live and nowhere. Who finds it there was called
  in the midst of that work. It may close the lease by `open = False`; the one it interrupted
  looks at `open` when it goes on, and leaves the rest of its work undone.

All methods are for holders of the ledger's lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from math import inf

from leakwarden.core.lease import Lease

# What failed three times will fail a fourth; it stays visible as stale.
MOST_ATTEMPTS = 3

Leases = OrderedDict[Lease, Lease]


class TouchOrder:
    """`fresh` may be added to (at its end) and popped from without the lock; nothing else may."""

    __slots__ = ("_due", "_lifted", "_maps", "_now", "busy", "fresh", "overdue", "stale")

    def __init__(self) -> None:
        self.fresh: Leases = OrderedDict()
        self.stale: Leases = OrderedDict()
        self.busy: Leases = OrderedDict()
        self.overdue: Leases = OrderedDict()
        self._maps = (self.fresh, self.stale, self.busy, self.overdue)
        # Those in `stale` that a cleanup may still take: not under way, not failed too often.
        self._due: Leases = OrderedDict()
        self._lifted: list[Lease | None] = []
        self._now = -inf

    def __len__(self) -> int:
        """How many are live. The lifted are counted too, where a handler asks in mid-move."""
        # One C call: what a handler moves from one map to another is not missed in both.
        count = sum(map(len, self._maps))
        return count + sum(
            lease is not None and lease.open and self._map_of(lease) is None
            for lease in self._lifted
        )

    def __contains__(self, lease: object) -> bool:
        return isinstance(lease, Lease) and (
            self._map_of(lease) is not None or (lease.open and lease in self._lifted)
        )

    def advance(self, now: float, ttl_seconds: float) -> float:
        """The time, which is `now` but never runs back; what passed its time to live has moved.

        What is young again under a raised time to live has moved back.
        """
        self._now = now = max(now, self._now)
        for young, old in ((self.fresh, self.stale), (self.busy, self.overdue)):
            while (lease := _end(young)) and now - lease.touched_at >= ttl_seconds:
                self._move(lease, young, old)
            while (lease := _end(old, reversed)) and now - lease.touched_at < ttl_seconds:
                self._move(lease, old, young)
                _to_the_front(young, lease)
        return now

    def touch(self, lease: Lease, now: float) -> bool:
        """True where the lease is now the most recently touched; False where it is not live."""
        young, old = (self.busy, self.overdue) if lease.pins else (self.fresh, self.stale)
        lease.touched_at = max(now, lease.touched_at)
        try:
            young.move_to_end(lease)
        except KeyError:
            if lease in old:
                self._move(lease, old, young)
            return lease in self
        return True

    def set_pinned(self, lease: Lease, *, pinned: bool) -> None:
        """Move a lease that was just touched between the idle ones and the busy ones."""
        if pinned:
            self._move(lease, self.fresh, self.busy)
        else:
            self._move(lease, self.busy, self.fresh)

    def lift(self, lease: Lease) -> bool:
        """True where the caller may close the lease, if it is `open`; `set_down` must follow.

        Then this call took it out of its map, or its caller interrupted the work of one who did.
        """
        source = self._map_of(lease)
        if source is None:
            found = lease in self._lifted
            self._lifted.append(None)
            return found
        self._take_from(source, lease)
        self._due.pop(lease, None)
        return self._lifted[-1] is not None

    def set_down(self) -> None:
        """End what the latest `lift` began."""
        self._lifted.pop()

    def take_due(self) -> Lease | None:
        """The oldest stale lease that a cleanup may try to close, which then is no longer due."""
        while lease := _end(self._due):
            if self._due.pop(lease, None):
                return lease
        return None

    def put_due(self, lease: Lease) -> None:
        """Let a cleanup try `lease` (again), where it is stale and has attempts left."""
        notes = lease.notes
        tried = notes is not None and (notes.closing or notes.attempts >= MOST_ATTEMPTS)
        if lease in self.stale and not tried:
            self._due[lease] = lease

    def oldest_idle(self) -> Lease | None:
        """The least recently touched lease that is not pinned, or None."""
        return _end(self.stale) or _end(self.fresh)

    def first(self, most: int) -> list[Lease]:
        """At most `most` live leases, least recently touched first, pinned ones among them."""
        some = [lease for leases in self._maps for lease in _firsts(leases, most)]
        return sorted(some, key=lambda lease: lease.touched_at)[:most]

    def _map_of(self, lease: Lease) -> Leases | None:
        for leases in self._maps:
            if lease in leases:
                return leases
        return None

    def _take_from(self, source: Leases, lease: Lease) -> None:
        """Make `lease` the last of the lifted; None where it was released from `source` before."""
        # One C call pops it and notes it, so that no handler runs between the two.
        self._lifted.extend(map(source.pop, (lease,), (None,)))

    def _move(self, lease: Lease, source: Leases, target: Leases) -> None:
        self._take_from(source, lease)
        if self._lifted[-1] is not None:
            target[lease] = lease
            self._due.pop(lease, None)
            self.put_due(lease)
        self._lifted.pop()
        if not lease.open:
            target.pop(lease, None)
            self._due.pop(lease, None)


def _end(leases: Leases, walk: Callable[[Leases], Iterator[Lease]] = iter) -> Lease | None:
    """The first lease, the last with `reversed`, or None where there is none."""
    while True:
        try:
            return next(walk(leases), None)
        except RuntimeError:  # noqa: PERF203 - seldom
            continue  # changed between the two steps by a release elsewhere: look again


def _firsts(leases: Leases, most: int) -> list[Lease]:
    while True:
        try:
            return list(islice(leases, most))
        except RuntimeError:  # noqa: PERF203 - seldom
            continue  # as above


def _to_the_front(leases: Leases, lease: Lease) -> None:
    try:
        leases.move_to_end(lease, last=False)
    except KeyError:
        return  # released meanwhile
