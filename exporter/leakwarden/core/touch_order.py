"""The live leases of one ledger, least recently touched first, the old ones apart.

A lease stands in exactly one of four maps: idle ones in `fresh` until their time to live has
passed and in `stale` from then on, pinned ones likewise in `busy` and `overdue`. Each map is in
touch order and everything old was touched before everything young, so that what is oldest,
what has newly grown old and how many did are all found at the ends: O(1), and O(number moved).

A lease goes from map to map in one step, in the ledger's sense: no release on another thread and
no signal handler on this one comes in between, nor can one that raises leave a lease in no map.
Between two steps they do come: each step looks again at what the one before it found.

All methods are for holders of the ledger's lock.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain, compress, islice, repeat
from math import inf
from operator import contains

from leakwarden.core.lease import Lease, Notes

Leases = OrderedDict[Lease, Lease]


class TouchOrder:
    """The four maps. A step of the ledger's may put a lease into them, or take one out.

    `due` are those in `stale` that a cleanup may take, in its order; who takes one looks whether
    that is so still. `now` is the latest time that was told.
    """

    __slots__ = ("_plain", "busy", "due", "fresh", "maps", "now", "overdue", "stale")

    def __init__(self) -> None:
        self.fresh: Leases = OrderedDict()
        self.stale: Leases = OrderedDict()
        self.busy: Leases = OrderedDict()
        self.overdue: Leases = OrderedDict()
        self.maps = (self.fresh, self.stale, self.busy, self.overdue)
        self.due: Leases = OrderedDict()
        self.now = -inf
        self._plain = Notes()  # of those that have none: they have no pins, and never will

    def clear(self) -> None:
        """Forget all leases."""
        for leases in (*self.maps, self.due):
            leases.clear()

    def map_of(self, lease: Lease) -> Leases | None:
        """The map it stands in; None where it is closed, or another ledger's."""
        # All are looked into in one C call, or one that moves meanwhile might be missed in both.
        return next(compress(self.maps, map(contains, self.maps, repeat(lease))), None)

    def advance(self, now: float, ttl_seconds: float, most: int) -> bool:
        """True where all that passed its time to live has moved; False after `most` moves.

        Time never runs back. What is young again under a raised time to live has moved back.
        """
        if now > self.now:  # noqa: PLR1730 - max() is a call
            self.now = now
        now = self.now
        # None of the pinned is due: they are noted twice, where a step may have no branch.
        for young, old, due in (
            (self.fresh, self.stale, self.due),
            (self.busy, self.overdue, self.overdue),
        ):
            while most and (lease := first(young)):
                at = lease.touched_at
                if now - at < ttl_seconds:
                    break
                most -= 1
                if lease in young and lease.touched_at == at:  # one step
                    del young[lease]
                    old[lease] = lease
                    due[lease] = lease
            while most and (lease := _last(old)):
                at = lease.touched_at
                if now - at >= ttl_seconds:
                    break
                most -= 1
                if lease in old and lease.touched_at == at:  # one step, which the call ends
                    del old[lease]
                    young[lease] = lease
                    young.move_to_end(lease, last=False)
                self.due.pop(lease, None)
        return most > 0

    def touch(self, lease: Lease, now: float, change: int = 0) -> bool:
        """True where the lease is now the most recently touched, with `change` users more.

        False, and nothing changed, where it is not live, is being closed, or had fewer users than
        are to go. For a `change` it needs notes.
        """
        while (source := self.map_of(lease)) is not None:
            noted = lease.notes
            notes = noted or self._plain
            was = notes.pins
            pins = was + change
            if pins < 0 or notes.closing:
                return False
            target = self.busy if pins else self.fresh
            at = lease.touched_at
            later = max(now, at)
            if (  # one step
                lease in source
                and lease.notes is noted
                and notes.pins == was
                and not notes.closing
                and lease.touched_at == at
            ):
                del source[lease]
                target[lease] = lease
                lease.touched_at = later
                notes.pins = pins
                notes.attempts = 0
                self.due.pop(lease, None)
                return True
        return False

    def oldest_idle(self) -> Lease | None:
        """The least recently touched lease that is not pinned, or None."""
        return first(self.stale, self.fresh)

    def first(self, most: int) -> list[Lease]:
        """At most `most` live leases, least recently touched first, pinned ones among them."""
        some = list(chain.from_iterable(map(islice, self.maps, repeat(most))))
        return sorted(some, key=lambda lease: lease.touched_at)[:most]


# An iterator raises where a release elsewhere comes between its being made and its being asked.
# These make it and ask it in one C call.


def first(*maps: Leases) -> Lease | None:
    """The first lease of the first map that has one, or None."""
    return next(chain(*maps), None)


def _last(leases: Leases) -> Lease | None:
    return next(chain.from_iterable(map(reversed, (leases,))), None)
