"""After any sequence of calls the ledger's figures are those of a recount, and its limits hold."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from leakwarden.core.errors import LimitExceeded
from leakwarden.core.lease import Lease
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import CAUSES, ResourceSettings

SIZES = st.integers(0, 6)
LIMITS = st.none() | st.integers(1, 8)
BYTE_LIMITS = st.none() | st.integers(1, 20)
TTLS = st.none() | st.integers(1, 10).map(float)


class Resource:
    """Something that allows a weak reference; in a cycle, only a collection ends it."""

    def __init__(self, cyclic):
        self.itself = self if cyclic else None


@dataclass
class Expected:
    """What the recount knows of one live lease."""

    lease: Lease
    obj: object
    touched: float
    size: int
    pins: int = 0
    closing: bool = False
    attempts: int = 0


@dataclass
class Totals:
    """What the recount knows of the rest."""

    opened: int = 0
    rejected: int = 0
    failures: int = 0
    closed: dict = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))


class LedgerMachine(RuleBasedStateMachine):
    """Each rule is one call on the ledger beside the same thing done the slow, obvious way."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.live: list[Expected] = []  # least recently touched first
        self.closed: list[Lease] = []
        self.evicted = []  # or closed otherwise: kept whole, lest one counts as dropped
        self.totals = Totals()
        self.ids = set()
        gc.freeze()  # so that a full collection is quick

    def teardown(self):
        gc.unfreeze()

    @initialize(
        limit=LIMITS, ttl=TTLS, limit_bytes=BYTE_LIMITS, ring=st.booleans(), holds=st.booleans()
    )
    def build(self, limit, ttl, limit_bytes, ring, holds):
        ring = ring and (limit is not None or limit_bytes is not None)
        self.holds = holds and not ring
        self.settings = ResourceSettings(
            limit, ttl, limit_bytes, "evict_oldest" if ring else "reject"
        )
        self.ledger = Ledger("thing", self.settings, on_release=print if self.holds else None)

    # The slow, obvious way

    def fits(self, more, size):
        limit, limit_bytes = self.settings.limit, self.settings.limit_bytes
        if more and limit is not None and len(self.live) + more > limit:
            return False
        used = sum(each.size for each in self.live)
        return size <= 0 or limit_bytes is None or used + size <= limit_bytes

    def make_room(self, more, size, growing=None):
        """Whether `more` leases and `size` bytes fit, once a ring has closed what it must.

        That may be the very lease that is growing, and then is enough.
        """
        limit_bytes = self.settings.limit_bytes
        if not self.fits(more, 0) and not self.evict_until(lambda: self.fits(more, 0)):
            return False
        if self.fits(0, size):
            return True
        return size <= limit_bytes and self.evict_until(
            lambda: self.fits(0, size) or growing in self.evicted
        )

    def evict_until(self, fitting):
        if self.settings.overflow != "evict_oldest":
            return False
        while not fitting():
            oldest = next((each for each in self.live if not each.pins), None)
            if oldest is None:
                return False
            self.close(oldest, "evicted")
        return True

    def close(self, expected, cause):
        self.live.remove(expected)
        self.closed.append(expected.lease)
        self.evicted.append(expected)
        self.totals.closed[cause] += 1

    def touch_expected(self, expected):
        expected.touched = self.now
        expected.attempts = 0
        self.live.remove(expected)
        self.live.append(expected)

    def is_old(self, expected):
        ttl = self.settings.ttl_seconds
        return ttl is not None and self.now - expected.touched >= ttl

    def is_stale(self, expected):
        return not expected.pins and self.is_old(expected)

    def pick(self, data):
        return data.draw(st.sampled_from(self.live))

    # The calls

    @rule(size=SIZES, weak=st.integers(0, 3), cyclic=st.booleans())
    def acquire(self, size, weak, cyclic):
        obj = Resource(cyclic) if weak else ("no weak reference", len(self.ids))
        accepted = self.make_room(1, size)
        try:
            lease = self.ledger.acquire(obj, self.now, size)
        except LimitExceeded:
            assert not accepted
            self.totals.rejected += 1
        else:
            assert accepted
            assert lease.id not in self.ids
            self.ids.add(lease.id)
            self.totals.opened += 1
            self.live.append(Expected(lease, obj, self.now, size))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def touch(self, data):
        expected = self.pick(data)
        assert self.ledger.touch(expected.lease, self.now) is not expected.closing
        if not expected.closing:
            self.touch_expected(expected)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), change=st.sampled_from([+1, -1]))
    def pin(self, data, change):
        expected = self.pick(data)
        accepted = not expected.closing and expected.pins + change >= 0
        assert self.ledger.pin(expected.lease, self.now, change) is accepted
        if accepted:
            self.touch_expected(expected)
            expected.pins += change

    @precondition(lambda self: self.live)
    @rule(data=st.data(), size=SIZES)
    def resize(self, data, size):
        expected = self.pick(data)
        more, limit_bytes = size - expected.size, self.settings.limit_bytes
        accepted = self.fits(0, more) or (
            more <= limit_bytes
            # A ring that comes to close this very lease needs no more room.
            and self.evict_until(lambda: expected not in self.live or self.fits(0, more))
        )
        try:
            resized = self.ledger.resize(expected.lease, size)
        except LimitExceeded:
            assert not accepted
            self.totals.rejected += 1
        else:
            assert accepted
            assert resized is (expected in self.live)
            expected.size = size

    @precondition(lambda self: self.live)
    @rule(data=st.data(), cause=st.sampled_from(CAUSES))
    def release(self, data, cause):
        expected = self.pick(data)
        assert self.ledger.release(expected.lease, cause) is True
        self.close(expected, cause)

    @precondition(lambda self: self.closed)
    @rule(data=st.data(), cause=st.sampled_from(CAUSES))
    def use_what_is_closed(self, data, cause):
        lease = data.draw(st.sampled_from(self.closed))
        assert not lease.open
        assert not self.ledger.release(lease, cause)
        assert not self.ledger.touch(lease, self.now)
        assert not self.ledger.pin(lease, self.now, +1)
        assert not self.ledger.resize(lease, 3)
        self.ledger.keep(lease)

    @precondition(lambda self: any(isinstance(each.obj, Resource) for each in self.live))
    @rule(data=st.data())
    def drop(self, data):
        droppable = [each for each in self.live if isinstance(each.obj, Resource)]
        expected = data.draw(st.sampled_from(droppable))
        cyclic = expected.obj.itself is not None
        self.live.remove(expected)
        self.closed.append(expected.lease)
        self.totals.closed["finalizer"] += 1
        expected.obj = None
        if cyclic:
            gc.collect()

    @rule(most=st.none() | st.integers(0, 3))
    def take_stale(self, most):
        due = [
            each.lease
            for each in self.live
            if self.is_stale(each) and not each.closing and each.attempts < 3
        ]
        taken = self.ledger.take_stale(self.now, most)
        assert len(taken) == (len(due) if most is None else min(most, len(due)))
        assert set(taken) <= set(due)
        for expected in self.live:
            if expected.lease in taken:
                expected.closing = True
                held = self.holds or isinstance(expected.obj, Resource)
                assert expected.lease.target() == (expected.obj if held else None)

    @precondition(lambda self: any(each.closing for each in self.live))
    @rule(data=st.data(), failed=st.booleans(), closing=st.booleans())
    def keep(self, data, failed, closing):
        expected = data.draw(st.sampled_from([each for each in self.live if each.closing]))
        self.ledger.keep(expected.lease, failed=failed, closing=closing)
        expected.closing = closing
        expected.attempts += failed
        self.totals.failures += failed

    @rule(limit=LIMITS, ttl=TTLS, limit_bytes=BYTE_LIMITS)
    def configure(self, limit, ttl, limit_bytes):
        ring = self.settings.overflow == "evict_oldest"
        if ring and limit is None and limit_bytes is None:
            return
        self.settings = replace(
            self.settings, limit=limit, ttl_seconds=ttl, limit_bytes=limit_bytes
        )
        self.ledger.configure(self.settings)

    @rule(seconds=st.integers(0, 5))
    def wait(self, seconds):
        self.now += seconds

    # The figures

    @invariant()
    def usage_equals_a_recount(self):
        if not hasattr(self, "ledger"):
            return
        usage = self.ledger.usage(self.now)
        idle = [each for each in self.live if not each.pins]
        assert usage.in_use == len(self.live)
        assert usage.bytes == sum(each.size for each in self.live)
        assert usage.stale == sum(self.is_stale(each) for each in self.live)
        assert usage.active == len(self.live) - len(idle)
        assert usage.pinned == sum(each.pins > 0 and self.is_old(each) for each in self.live)
        assert usage.oldest_idle_seconds == (self.now - idle[0].touched if idle else None)
        assert usage.opened_total == self.totals.opened
        assert usage.closed_total == self.totals.closed
        assert usage.rejected_total == self.totals.rejected
        assert usage.release_failures_total == self.totals.failures
        assert usage.without_finalizer == sum(not each.lease.finalizer_proof for each in self.live)
        assert usage.opened_total == usage.in_use + sum(usage.closed_total.values())

    @invariant()
    def leases_are_those_of_the_recount(self):
        if not hasattr(self, "ledger"):
            return
        listed = self.ledger.leases(self.now)
        assert {info.id for info in listed} == {each.lease.id for each in self.live}
        assert [self.now - info.idle_seconds for info in listed] == [
            each.touched for each in self.live
        ]
        by_id = {each.lease.id: each for each in self.live}
        for info in listed:
            expected = by_id[info.id]
            assert info.stale is self.is_stale(expected)
            assert info.pinned is (expected.pins > 0)
            assert info.closing is expected.closing
            assert info.size_bytes == expected.size


LedgerMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnySequenceOfCalls = LedgerMachine.TestCase
