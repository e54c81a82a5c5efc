"""A cleanup calls a user's code between taking a lease and closing it; it may do anything."""

from __future__ import annotations

import random
import threading

import pytest

from leakwarden.core.errors import LimitExceeded
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings

LIMIT = 40


class Session:
    """Something to close."""


def clean(ledger, on_release, now, most=None):
    """What a manager does; the number closed."""
    closed = 0
    for lease in ledger.take_stale(now, most):
        try:
            on_release(lease.target())
        except OSError:
            ledger.keep(lease)
        else:
            closed += ledger.release(lease, "expired")
    return closed


def full_ledger(on_release):
    ledger = Ledger(
        "session", ResourceSettings(limit=LIMIT, ttl_seconds=10.0), on_release=on_release
    )
    sessions = [Session() for _ in range(LIMIT)]
    return ledger, sessions, [ledger.acquire(each, 0.0) for each in sessions]


@pytest.mark.parametrize("seed", range(5))
def test_what_raises_is_tried_three_times_and_every_lease_is_closed_or_visible(seed):
    chance = random.Random(seed)
    calls = {}

    def on_release(session):
        calls[session] = calls.get(session, 0) + 1
        if chance.random() < 0.7:
            raise OSError("the peer is gone")

    ledger, sessions, leases = full_ledger(on_release)
    closed = sum(clean(ledger, on_release, 10.0, most=7) for _ in range(30))
    usage = ledger.usage(10.0)
    assert usage.closed_total["expired"] == closed
    assert usage.in_use == usage.stale == LIMIT - closed
    assert usage.release_failures_total == sum(calls.values()) - closed
    for session, lease in zip(sessions, leases, strict=True):
        assert 1 <= calls[session] <= 3
        assert calls[session] == 3 or not lease.open
    assert clean(ledger, on_release, 1e6) == 0


def test_while_one_hangs_the_others_are_closed_and_the_ledger_goes_on():
    entered, may_end = threading.Event(), threading.Event()

    def hang(_session):
        entered.set()
        assert may_end.wait(30)

    ledger, sessions, leases = full_ledger(hang)
    hanging = threading.Thread(target=clean, args=(ledger, hang, 10.0, 1))
    hanging.start()
    assert entered.wait(30)
    assert clean(ledger, lambda session: None, 10.0) == LIMIT - 1
    usage = ledger.usage(10.0)
    assert (usage.in_use, usage.stale, leases[0].closing) == (1, 1, True)
    others = [ledger.acquire(sessions[0], 10.0) for _ in range(LIMIT - 1)]
    with pytest.raises(LimitExceeded):
        ledger.acquire(sessions[0], 10.0)
    assert all(ledger.touch(lease, 11.0) for lease in others)
    may_end.set()
    hanging.join(30)
    assert not leases[0].open
    assert ledger.usage(11.0).in_use == LIMIT - 1


def test_an_owner_may_release_while_the_cleanup_closes():
    ledger, _sessions, leases = full_ledger(print)
    entered, may_end, closed = threading.Event(), threading.Event(), []

    def wait(_session):
        entered.set()
        assert may_end.wait(30)

    cleanup = threading.Thread(target=lambda: closed.append(clean(ledger, wait, 10.0, 1)))
    cleanup.start()
    assert entered.wait(30)
    assert ledger.release(leases[0])
    may_end.set()
    cleanup.join(30)
    totals = ledger.usage(10.0).closed_total
    assert closed == [0]
    assert (totals["released"], totals["expired"]) == (1, 0)


def test_one_that_uses_the_ledger_finds_it_working():
    looks = []

    def re_enter(session):
        lease = lease_of[session]
        assert not ledger.touch(lease, 10.0)  # it is being closed
        looks.append(ledger.usage(10.0))
        if len(looks) == 1:
            with pytest.raises(LimitExceeded):
                ledger.acquire(session, 10.0)
            assert clean(ledger, lambda session: None, 10.0, most=5) == 5
            kept.extend(ledger.acquire(session, 10.0) for _ in range(5))
        if len(looks) % 2:
            assert ledger.release(lease)
            kept.append(ledger.acquire(session, 10.0))

    kept = []
    ledger, sessions, leases = full_ledger(re_enter)
    lease_of = dict(zip(sessions, leases, strict=True))
    while clean(ledger, re_enter, 10.0, most=1) or ledger.usage(10.0).stale:
        continue
    usage = ledger.usage(10.0)
    assert not any(lease.open for lease in leases)
    assert usage.in_use == len(kept)
    assert usage.opened_total == LIMIT + len(kept)
    assert usage.opened_total == usage.in_use + sum(usage.closed_total.values())


def test_an_object_that_dies_while_its_lease_is_taken_is_closed_by_its_finalizer():
    ledger, sessions, leases = full_ledger(print)
    taken = ledger.take_stale(10.0, most=1)
    sessions[0] = None
    assert taken[0].target() is None
    assert ledger.usage(10.0).closed_total["finalizer"] == 1
    assert not ledger.release(leases[0], "expired")
