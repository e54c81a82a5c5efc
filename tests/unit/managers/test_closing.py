from __future__ import annotations

import threading

import pytest

from forking import in_forked_child
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.closing import Closer, forget_stale
from waiting import wait_until

TTL = ResourceSettings(limit=100, ttl_seconds=10.0)


class Thing:
    pass


def ledger_of(things, on_release, clock):
    ledger = Ledger("thing", TTL, on_release=on_release)
    for thing in things:
        ledger.acquire(thing, clock())
    clock.advance(10)
    return ledger


def closing_threads():
    return [t for t in threading.enumerate() if t.name == "leakwarden-closing"]


def test_a_callback_that_returns_closes_its_lease_with_the_cause_of_the_run(clock):
    things, seen = [Thing(), Thing()], []
    ledger = ledger_of(things, seen.append, clock)
    assert Closer(ledger, seen.append).close_stale(clock(), "expired") == 2
    assert seen == things
    usage = ledger.usage(clock())
    assert (usage.in_use, usage.closed_total["expired"]) == (0, 2)


def test_a_run_with_nothing_stale_starts_no_thread(clock):
    thing = Thing()
    ledger = Ledger("thing", TTL)
    ledger.acquire(thing, clock())
    before = closing_threads()
    assert Closer(ledger, id).close_stale(clock()) == 0
    assert closing_threads() == before


def test_quick_callbacks_share_one_thread_that_ends_with_the_run(clock):
    things, threads = [Thing() for _ in range(50)], set()
    ledger = ledger_of(things, id, clock)
    closer = Closer(ledger, lambda _: threads.add(threading.current_thread()))
    assert closer.close_stale(clock()) == 50
    (thread,) = threads
    assert thread is not threading.current_thread()
    assert thread.daemon
    wait_until(lambda: not thread.is_alive())


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_one_that_raises_stays_open_is_counted_and_does_not_stop_the_others(clock, error):
    bad, good = Thing(), Thing()
    ledger = ledger_of([bad, good], id, clock)

    def end(thing):
        if thing is bad:
            raise error

    closer = Closer(ledger, end)
    assert closer.close_stale(clock()) == 1
    usage = ledger.usage(clock())
    assert (usage.in_use, usage.stale, usage.release_failures_total) == (1, 1, 1)
    assert closer.last_error == f"{type(error).__name__}: {error}"


def test_one_that_raises_is_tried_once_a_run_and_three_times_in_all(clock):
    bad, tries = Thing(), []
    ledger = ledger_of([bad], id, clock)

    def end(thing):
        tries.append(thing)
        raise OSError("still no")

    closer = Closer(ledger, end)
    for attempt in (1, 2, 3, 3):
        assert closer.close_stale(clock()) == 0
        assert len(tries) == attempt
    assert ledger.usage(clock()).stale == 1


def test_one_that_hangs_does_not_stop_the_others_and_is_closed_when_it_returns(clock):
    slow, good, gate = Thing(), Thing(), threading.Event()
    ledger = ledger_of([slow, good], id, clock)

    def end(thing):
        if thing is slow:
            assert gate.wait(10)

    closer = Closer(ledger, end, limit_seconds=0.05)
    assert closer.close_stale(clock()) == 1
    usage = ledger.usage(clock())
    assert (usage.in_use, usage.release_failures_total) == (1, 1)
    assert "did not return within 0.05 s" in closer.last_error
    gate.set()
    wait_until(lambda: ledger.usage(clock()).closed_total["cleanup"] == 2)


def test_one_that_still_hangs_is_not_started_a_second_time_and_has_failed_once(clock):
    slow, gate, starts = Thing(), threading.Event(), []
    ledger = ledger_of([slow], id, clock)

    def end(thing):
        starts.append(thing)
        assert gate.wait(10)

    closer = Closer(ledger, end, limit_seconds=0.05)
    for _ in range(3):
        assert closer.close_stale(clock()) == 0
        assert ledger.usage(clock()).release_failures_total == 1
    assert starts == [slow]
    gate.set()
    wait_until(lambda: ledger.usage(clock()).in_use == 0)


def test_while_its_callback_hangs_a_lease_can_be_neither_touched_nor_pinned(clock):
    slow, gate = Thing(), threading.Event()
    ledger = Ledger("thing", TTL, on_release=id)
    lease = ledger.acquire(slow, clock())
    clock.advance(10)
    Closer(ledger, lambda _: gate.wait(10), limit_seconds=0.01).close_stale(clock())
    assert (ledger.touch(lease, clock()), ledger.pin(lease, clock(), +1)) == (False, False)
    gate.set()
    wait_until(lambda: not lease.open)


def test_one_that_raises_after_its_time_is_open_again_and_has_failed_once(clock):
    slow, gate, calls = Thing(), threading.Event(), []
    ledger = Ledger("thing", TTL, on_release=id)
    lease = ledger.acquire(slow, clock())
    clock.advance(10)

    def end(_):
        calls.append(1)
        if len(calls) == 1:
            assert gate.wait(10)
            raise OSError("too late")

    closer = Closer(ledger, end, limit_seconds=0.01)
    closer.close_stale(clock())
    gate.set()
    wait_until(lambda: not lease.closing)
    assert closer.last_error == "OSError: too late"
    assert ledger.usage(clock()).release_failures_total == 1
    assert ledger.touch(lease, clock())
    clock.advance(10)
    assert closer.close_stale(clock()) == 1


def test_what_a_callback_failed_to_close_can_be_used_while_the_run_goes_on(clock):
    bad, good = Thing(), Thing()
    ledger = Ledger("thing", TTL, on_release=id)
    leases = [ledger.acquire(thing, clock()) for thing in (bad, good)]
    clock.advance(10)
    seen = []

    def end(thing):
        if thing is bad:
            raise OSError("no")
        seen.append((leases[0].closing, ledger.touch(leases[0], clock())))

    assert Closer(ledger, end).close_stale(clock()) == 1
    assert seen == [(False, True)]


def test_where_no_thread_can_be_started_the_lease_stays_open_and_untried(clock):
    things = [Thing()]
    ledger = ledger_of(things, id, clock)
    closer = Closer(ledger, id)
    before = threading.stack_size(1 << 47)  # more than there are addresses
    try:
        with pytest.raises(RuntimeError, match="new thread"):
            closer.close_stale(clock())
    finally:
        threading.stack_size(before)
    assert ledger.usage(clock()).release_failures_total == 0
    assert closer.close_stale(clock()) == 1


def test_eight_that_hang_end_the_run_and_the_rest_stays_stale_untried(clock):
    things, gate = [Thing() for _ in range(12)], threading.Event()
    ledger = ledger_of(things, id, clock)
    closer = Closer(ledger, lambda _: gate.wait(10), limit_seconds=0.01)
    assert closer.close_stale(clock()) == 0
    usage = ledger.usage(clock())
    assert (usage.stale, usage.release_failures_total) == (12, 8)
    assert closer.close_stale(clock()) == 0
    assert ledger.usage(clock()).release_failures_total == 8
    gate.set()
    wait_until(lambda: ledger.usage(clock()).in_use == 4)
    assert wait_until(lambda: closer.close_stale(clock())) == 4


def test_a_callback_that_releases_by_itself_leaves_the_owners_cause(clock):
    thing = Thing()
    ledger = Ledger("thing", TTL)
    lease = ledger.acquire(thing, clock())
    clock.advance(10)
    assert Closer(ledger, lambda _: ledger.release(lease)).close_stale(clock()) == 0
    closed = ledger.usage(clock()).closed_total
    assert (closed["released"], closed["cleanup"]) == (1, 0)


def test_a_callback_may_use_the_ledger_that_it_is_called_for(clock):
    things, seen = [Thing(), Thing()], []
    ledger = ledger_of(things, id, clock)
    closer = Closer(ledger, lambda _: seen.append(ledger.usage(clock()).in_use))
    assert closer.close_stale(clock()) == 2
    assert seen == [2, 1]


def test_what_needs_no_callback_is_only_forgotten(clock):
    things = [Thing(), Thing()]
    ledger = ledger_of(things, None, clock)
    assert forget_stale(ledger, clock(), "expired") == 2
    assert ledger.usage(clock()).closed_total["expired"] == 2


def test_a_forked_child_closes_although_its_parent_has_eight_that_hang(clock):
    things, gate = [Thing() for _ in range(8)], threading.Event()
    ledger = ledger_of(things, id, clock)
    closer = Closer(ledger, lambda thing: thing in things and gate.wait(10), limit_seconds=0.01)
    closer.close_stale(clock())

    def story():
        thing = Thing()
        ledger.acquire(thing, clock() - 10)
        return closer.last_error, closer.close_stale(clock())

    try:
        assert in_forked_child(story) == (None, 1)
    finally:
        gate.set()
