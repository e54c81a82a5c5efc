"""The accounts of one kind, one call at a time: acquire, release, the limits."""

from __future__ import annotations

import _thread
import sys
import weakref

import pytest

from leakwarden.core.errors import ConfigError, LimitExceeded
from leakwarden.core.lease import Lease
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import CAUSES, ResourceSettings
from waiting import wait_until


class Connection:
    """Something to lease."""

    def close(self):
        """End it."""


def ledger_of(on_release=None, **settings):
    return Ledger("db_session", ResourceSettings(**settings), on_release=on_release)


# Acquire and release


def test_a_lease_counts_from_acquire_to_release():
    ledger, connection = ledger_of(), Connection()
    lease = ledger.acquire(connection, 1.0)
    assert (lease.open, lease.acquired_at, lease.touched_at) == (True, 1.0, 1.0)
    assert lease.target() is connection
    assert ledger.usage(2.0).in_use == 1
    assert ledger.release(lease) is True
    assert not lease.open
    usage = ledger.usage(2.0)
    assert (usage.in_use, usage.opened_total, usage.closed_total["released"]) == (0, 1, 1)


def test_a_second_release_answers_false_and_counts_nothing():
    ledger, connection = ledger_of(), Connection()
    lease = ledger.acquire(connection, 0.0)
    assert [ledger.release(lease), ledger.release(lease), ledger.release(lease, "expired")] == [
        True,
        False,
        False,
    ]
    closed = ledger.usage(0.0).closed_total
    assert closed == {**dict.fromkeys(CAUSES, 0), "released": 1}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_close_is_counted_under_its_cause_alone(cause):
    ledger, connection = ledger_of(), Connection()
    ledger.release(ledger.acquire(connection, 0.0), cause)
    assert ledger.usage(0.0).closed_total == {**dict.fromkeys(CAUSES, 0), cause: 1}


def test_two_leases_of_one_object_are_two():
    ledger, connection = ledger_of(), Connection()
    first, second = ledger.acquire(connection, 0.0), ledger.acquire(connection, 0.0)
    assert first != second
    assert ledger.usage(0.0).in_use == 2
    ledger.release(first)
    assert second.open
    assert ledger.usage(0.0).in_use == 1


def test_an_object_is_neither_hashed_nor_compared():
    class Touchy(Connection):
        __hash__ = None

        def __eq__(self, other):
            raise AssertionError("compared")

    ledger, objects = ledger_of(), [Touchy(), Touchy()]
    leases = [ledger.acquire(each, 0.0) for each in objects]
    assert [ledger.release(each) for each in leases] == [True, True]


def test_a_lease_of_another_ledger_is_not_released_here():
    ours, theirs, connection = ledger_of(), ledger_of(), Connection()
    ours.acquire(connection, 0.0)
    foreign = theirs.acquire(connection, 0.0)
    assert not ours.release(foreign)
    assert not ours.release(foreign, "expired")
    assert not ours.touch(foreign, 1.0)
    assert not ours.resize(foreign, 5)
    assert not ours.pin(foreign, 1.0, +1)
    assert ours.usage(0.0).in_use == theirs.usage(0.0).in_use == 1
    assert foreign.open


def test_ids_rise_and_are_never_given_twice():
    ledger, connection = ledger_of(), Connection()
    ids = []
    for _ in range(1000):
        lease = ledger.acquire(connection, 0.0)
        ids.append(lease.id)
        ledger.release(lease)
    assert ids == list(range(1, 1001))


def test_a_bad_kind_is_refused():
    with pytest.raises(ConfigError, match="reserved"):
        Ledger("heap", ResourceSettings())


# The limit


def test_the_acquire_past_the_limit_is_refused_and_counted():
    ledger, connection = ledger_of(limit=3), Connection()
    leases = [ledger.acquire(connection, 0.0) for _ in range(3)]
    with pytest.raises(LimitExceeded, match="db_session is at its limit: 3 of 3 leases") as refused:
        ledger.acquire(connection, 0.0)
    assert (refused.value.in_use, refused.value.limit, refused.value.unit) == (3, 3, "leases")
    usage = ledger.usage(0.0)
    assert (usage.in_use, usage.rejected_total, usage.opened_total) == (3, 1, 3)
    ledger.release(leases[1])
    assert ledger.acquire(connection, 0.0).open


@pytest.mark.parametrize("limit", [1, 2, 63, 64, 65, 129, 1000])
def test_exactly_the_limit_fits(limit):
    ledger, connection = ledger_of(limit=limit), Connection()
    for _ in range(2):
        leases = [ledger.acquire(connection, 0.0) for _ in range(limit)]
        with pytest.raises(LimitExceeded):
            ledger.acquire(connection, 0.0)
        assert all(ledger.release(lease) for lease in leases)


def test_a_refused_acquire_leaves_no_trace_of_its_object():
    ledger, first, second = ledger_of(limit=1), Connection(), Connection()
    ledger.acquire(first, 0.0)
    with pytest.raises(LimitExceeded):
        ledger.acquire(second, 0.0)
    assert weakref.getweakrefcount(second) == 0
    del second
    assert ledger.usage(0.0).closed_total["finalizer"] == 0


def test_a_raised_limit_works_at_once():
    ledger, connection = ledger_of(limit=1), Connection()
    ledger.acquire(connection, 0.0)
    ledger.configure(ResourceSettings(limit=2))
    ledger.acquire(connection, 0.0)
    with pytest.raises(LimitExceeded, match="2 of 2"):
        ledger.acquire(connection, 0.0)


def test_below_a_lowered_limit_nothing_closes_and_nothing_opens_until_enough_came_back():
    ledger, connection = ledger_of(limit=5), Connection()
    leases = [ledger.acquire(connection, 0.0) for _ in range(5)]
    ledger.configure(ResourceSettings(limit=2))
    assert ledger.usage(0.0).in_use == 5
    for lease in leases[:3]:
        ledger.release(lease)
        with pytest.raises(LimitExceeded):
            ledger.acquire(connection, 0.0)
    ledger.release(leases[3])
    ledger.acquire(connection, 0.0)
    with pytest.raises(LimitExceeded, match="2 of 2"):
        ledger.acquire(connection, 0.0)


def test_a_limit_may_be_lifted_and_set_again():
    ledger, connection = ledger_of(limit=1), Connection()
    ledger.acquire(connection, 0.0)
    ledger.configure(ResourceSettings())
    leases = [ledger.acquire(connection, 0.0) for _ in range(200)]
    ledger.configure(ResourceSettings(limit=3))
    for lease in leases:
        ledger.release(lease)
    for _ in range(2):
        ledger.acquire(connection, 0.0)
    with pytest.raises(LimitExceeded, match="3 of 3"):
        ledger.acquire(connection, 0.0)


# Bytes


def test_bytes_follow_acquire_resize_and_release():
    ledger, connection = ledger_of(), Connection()
    first = ledger.acquire(connection, 0.0, size_bytes=10)
    second = ledger.acquire(connection, 0.0)
    assert ledger.usage(0.0).bytes == 10
    assert ledger.resize(first, 4)
    assert ledger.resize(second, 7)
    assert (first.size_bytes, second.size_bytes, ledger.usage(0.0).bytes) == (4, 7, 11)
    ledger.release(second)
    assert ledger.usage(0.0).bytes == 4
    assert not ledger.resize(second, 9)
    assert (second.size_bytes, ledger.usage(0.0).bytes) == (0, 4)


def test_bytes_past_their_limit_are_refused_and_exactly_the_limit_fits():
    ledger, connection = ledger_of(limit_bytes=10), Connection()
    lease = ledger.acquire(connection, 0.0, size_bytes=6)
    with pytest.raises(LimitExceeded, match="6 of 10 bytes") as refused:
        ledger.acquire(connection, 0.0, size_bytes=5)
    assert refused.value.unit == "bytes"
    with pytest.raises(LimitExceeded):
        ledger.resize(lease, 11)
    assert lease.size_bytes == 6
    ledger.acquire(connection, 0.0, size_bytes=4)
    usage = ledger.usage(0.0)
    assert (usage.in_use, usage.bytes, usage.rejected_total) == (2, 10, 2)


def test_an_acquire_refused_for_its_bytes_gives_its_place_back():
    ledger, connection = ledger_of(limit=1, limit_bytes=10), Connection()
    for _ in range(3):
        with pytest.raises(LimitExceeded, match="bytes"):
            ledger.acquire(connection, 0.0, size_bytes=11)
    with pytest.raises(ValueError, match="at least 0"):
        ledger.acquire(connection, 0.0, size_bytes=-1)
    assert ledger.acquire(connection, 0.0, size_bytes=10).open


def test_a_size_below_zero_is_refused():
    ledger, connection = ledger_of(), Connection()
    lease = ledger.acquire(connection, 0.0, size_bytes=3)
    with pytest.raises(ValueError, match="size_bytes is -1: a size is at least 0"):
        ledger.resize(lease, -1)
    assert ledger.usage(0.0).bytes == 3


# For people


def acquire_elsewhere(ledger, obj):
    return ledger.acquire(obj, 0.0)


def acquire_for_the_caller(ledger, obj):
    return ledger.acquire(obj, 0.0, frame_depth=2)


def test_a_lease_names_the_line_that_acquired_it():
    ledger, connection = ledger_of(), Connection()
    acquire_elsewhere(ledger, connection)
    line = sys._getframe().f_lineno + 1
    acquire_for_the_caller(ledger, connection)
    inner, outer = ledger.leases(0.0)
    assert (inner.file, inner.function) == (__file__, "acquire_elsewhere")
    assert inner.line == acquire_elsewhere.__code__.co_firstlineno + 1
    assert (outer.file, outer.line) == (__file__, line)
    assert outer.function.endswith("test_a_lease_names_the_line_that_acquired_it")


def test_a_thread_may_be_started_right_at_acquire():
    ledger, connection = ledger_of(), Connection()
    # Without a frame of threading's around it, there are no nine callers.
    _thread.start_new_thread(ledger.acquire, (connection, 0.0, 0, 9))
    wait_until(lambda: ledger.leases(0.0))
    assert ledger.leases(0.0)[0].function.endswith("acquire")


def test_leases_are_listed_least_recently_touched_first_pinned_ones_among_them():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    leases = [ledger.acquire(connection, float(at), size_bytes=at) for at in range(6)]
    ledger.pin(leases[0], 6.0, +1)
    ledger.touch(leases[2], 7.0)
    ledger.pin(leases[4], 14.0, +1)
    listed = ledger.leases(16.0)
    assert [info.id - 1 for info in listed] == [1, 3, 5, 0, 2, 4]
    assert [info.stale for info in listed] == [True, True, True, False, False, False]
    assert [info.pinned for info in listed] == [False, False, False, True, False, True]
    assert [info.size_bytes for info in listed] == [1, 3, 5, 0, 2, 4]
    assert (listed[0].kind, listed[0].age_seconds, listed[0].idle_seconds) == (
        "db_session",
        15.0,
        15.0,
    )
    assert (listed[3].age_seconds, listed[3].idle_seconds) == (16.0, 10.0)
    assert [info.id - 1 for info in ledger.leases(16.0, most=4)] == [1, 3, 5, 0]


def test_a_plain_lease_has_nothing_out_of_the_ordinary():
    ledger, connection = ledger_of(), Connection()
    lease = ledger.acquire(connection, 0.0)
    assert isinstance(lease, Lease)
    assert (lease.pins, lease.closing, lease.finalizer_proof) == (0, False, True)
