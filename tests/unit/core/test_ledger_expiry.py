"""What grows stale, what is pinned, what a cleanup and a full ring close."""

from __future__ import annotations

import pytest

from leakwarden.core.errors import ConfigError, LimitExceeded
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings


class Connection:
    """Something to lease."""

    def close(self):
        """End it."""


def ledger_of(on_release=None, **settings):
    return Ledger("db_session", ResourceSettings(**settings), on_release=on_release)


def ring_of(**settings):
    return ledger_of(overflow="evict_oldest", **settings)


# Staleness


def test_a_lease_is_stale_exactly_at_its_ttl():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    ledger.acquire(connection, 5.0)
    assert ledger.usage(14.999).stale == 0
    assert ledger.usage(15.0).stale == 1


def test_a_touch_begins_the_time_to_live_again():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    assert ledger.touch(lease, 9.0)
    assert ledger.usage(18.0).stale == 0
    assert ledger.usage(19.0).stale == 1
    assert ledger.touch(lease, 20.0)
    assert ledger.usage(20.0).stale == 0
    assert ledger.take_stale(29.0) == []
    assert ledger.take_stale(30.0) == [lease]


def test_a_closed_lease_cannot_be_touched():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    fresh, stale = ledger.acquire(connection, 0.0), ledger.acquire(connection, 0.0)
    ledger.touch(fresh, 5.0)
    ledger.usage(10.0)
    for lease in (fresh, stale):
        ledger.release(lease)
        assert not ledger.touch(lease, 10.0)
        assert not ledger.pin(lease, 10.0, +1)


def test_without_a_time_to_live_nothing_is_ever_stale():
    ledger, connection = ledger_of(), Connection()
    ledger.acquire(connection, 0.0)
    usage = ledger.usage(1e9)
    assert (usage.stale, usage.oldest_idle_seconds) == (0, 1e9)


def test_a_new_time_to_live_judges_live_leases():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    for at in (0.0, 5.0, 8.0):
        ledger.acquire(connection, at)
    assert ledger.usage(15.0).stale == 2
    ledger.configure(ResourceSettings(ttl_seconds=11.0))
    assert ledger.usage(15.0).stale == 1
    ledger.configure(ResourceSettings())
    assert ledger.usage(15.0).stale == 0
    ledger.configure(ResourceSettings(ttl_seconds=7.0))
    assert ledger.usage(15.0).stale == 3
    assert [each.touched_at for each in ledger.take_stale(15.0)] == [0.0, 5.0, 8.0]


def test_time_does_not_run_back():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    ledger.acquire(connection, 0.0)
    assert ledger.usage(10.0).stale == 1
    assert ledger.usage(3.0).stale == 1
    late = ledger.acquire(connection, 12.0)
    assert ledger.touch(late, 11.0)
    assert late.touched_at == 12.0


def test_the_oldest_idle_time_is_that_of_the_least_recently_touched_unpinned_lease():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    assert ledger.usage(0.0).oldest_idle_seconds is None
    first, second = ledger.acquire(connection, 0.0), ledger.acquire(connection, 2.0)
    assert ledger.usage(5.0).oldest_idle_seconds == 5.0
    ledger.touch(first, 6.0)
    assert ledger.usage(7.0).oldest_idle_seconds == 5.0
    assert ledger.usage(12.0).oldest_idle_seconds == 10.0
    ledger.pin(second, 12.0, +1)
    assert ledger.usage(13.0).oldest_idle_seconds == 7.0
    ledger.pin(first, 13.0, +1)
    assert ledger.usage(14.0).oldest_idle_seconds is None


def test_an_idle_time_is_never_below_zero():
    ledger, connection = ledger_of(), Connection()
    ledger.acquire(connection, 10.0)
    assert ledger.usage(9.0).oldest_idle_seconds == 0.0
    assert ledger.leases(9.0)[0].age_seconds == 0.0


# Pins


def test_a_pinned_lease_is_old_but_never_stale_and_never_taken():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    assert ledger.pin(lease, 1.0, +1)
    usage = ledger.usage(10.0)
    assert (usage.active, usage.pinned, usage.stale) == (1, 0, 0)
    usage = ledger.usage(11.0)
    assert (usage.active, usage.pinned, usage.stale) == (1, 1, 0)
    assert ledger.take_stale(1e6) == []


def test_unpinning_is_a_touch_and_each_pin_needs_its_own():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    ledger.pin(lease, 1.0, +1)
    ledger.pin(lease, 2.0, +1)
    ledger.pin(lease, 30.0, -1)
    assert ledger.usage(45.0).pinned == 1
    ledger.pin(lease, 50.0, -1)
    usage = ledger.usage(59.0)
    assert (usage.active, usage.pinned, usage.stale) == (0, 0, 0)
    assert ledger.usage(60.0).stale == 1


def test_pinning_a_stale_lease_takes_it_back_from_cleanup():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    assert ledger.usage(10.0).stale == 1
    assert ledger.pin(lease, 10.0, +1)
    assert ledger.usage(10.0).stale == 0
    assert ledger.take_stale(10.0) == []


def test_a_touched_pinned_lease_is_no_longer_old():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    ledger.pin(lease, 0.0, +1)
    assert ledger.usage(10.0).pinned == 1
    assert ledger.touch(lease, 10.0)
    usage = ledger.usage(19.0)
    assert (usage.active, usage.pinned) == (1, 0)


def test_no_more_users_can_go_than_came():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease, other = ledger.acquire(connection, 0.0), ledger.acquire(connection, 1.0)
    assert not ledger.pin(lease, 5.0, -1)
    assert (lease.pins, lease.touched_at) == (0, 0.0)
    assert ledger.take_stale(10.5) == [lease]
    assert ledger.release(lease, "expired")
    assert ledger.pin(other, 11.0, +1)
    assert ledger.pin(other, 11.0, -1)
    assert not ledger.pin(other, 12.0, -1)
    usage = ledger.usage(21.0)
    assert (usage.active, usage.pinned, usage.stale) == (0, 0, 1)


@pytest.mark.parametrize("old", [False, True])
def test_a_pinned_lease_is_released_like_any_other(old):
    ledger, connection = ledger_of(limit=1, ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0, size_bytes=3)
    ledger.pin(lease, 0.0, +1)
    assert ledger.usage(10.0 * old).pinned == old
    assert ledger.release(lease)
    usage = ledger.usage(10.0)
    assert (usage.in_use, usage.active, usage.pinned, usage.bytes) == (0, 0, 0, 0)
    ledger.acquire(connection, 10.0)


# Closing what is stale


def test_stale_leases_are_taken_oldest_first_and_only_once():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    first, second, third = (ledger.acquire(connection, at) for at in (0.0, 1.0, 2.0))
    ledger.touch(first, 3.0)
    assert ledger.take_stale(12.0, most=1) == [second]
    assert ledger.take_stale(13.0) == [third, first]
    assert ledger.take_stale(13.0) == []
    assert ledger.take_stale(13.0, most=0) == []


def test_a_lease_being_closed_counts_as_live_and_stale_until_it_is_closed():
    ledger, connection = ledger_of(limit=1, ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0, size_bytes=5)
    ledger.take_stale(10.0)
    usage = ledger.usage(10.0)
    assert (usage.in_use, usage.stale, usage.bytes) == (1, 1, 5)
    assert ledger.leases(10.0)[0].closing
    with pytest.raises(LimitExceeded):
        ledger.acquire(connection, 10.0)
    assert ledger.release(lease, "cleanup")
    usage = ledger.usage(10.0)
    assert (usage.in_use, usage.stale, usage.bytes) == (0, 0, 0)
    assert usage.closed_total["cleanup"] == 1


def test_a_lease_being_closed_can_be_neither_touched_nor_pinned():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    ledger.take_stale(10.0)
    assert not ledger.touch(lease, 10.0)
    assert not ledger.pin(lease, 10.0, +1)
    ledger.keep(lease)
    assert ledger.touch(lease, 10.0)


def test_an_owner_who_releases_first_wins_over_the_cleanup():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    ledger.take_stale(10.0)
    assert ledger.release(lease)
    assert not ledger.release(lease, "expired")
    ledger.keep(lease)
    usage = ledger.usage(10.0)
    assert (usage.in_use, usage.release_failures_total) == (0, 0)
    assert (usage.closed_total["released"], usage.closed_total["expired"]) == (1, 0)


def test_a_lease_whose_close_fails_is_tried_three_times_and_stays_visible():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    for failures in (1, 2, 3):
        assert ledger.take_stale(10.0) == [lease]
        ledger.keep(lease)
        usage = ledger.usage(10.0)
        assert (usage.release_failures_total, usage.in_use, usage.stale) == (failures, 1, 1)
    assert ledger.take_stale(10.0) == []
    assert ledger.take_stale(30.0) == []
    assert ledger.usage(30.0).stale == 1
    assert ledger.release(lease)


@pytest.mark.parametrize(
    "use",
    [
        lambda ledger, lease: ledger.touch(lease, 11.0),
        lambda ledger, lease: ledger.pin(lease, 11.0, +1) and ledger.pin(lease, 11.0, -1),
    ],
    ids=["touched", "pinned"],
)
def test_a_lease_that_was_used_again_is_tried_three_times_again(use):
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    for _ in range(3):
        assert ledger.take_stale(10.0) == [lease]
        ledger.keep(lease)
    assert ledger.take_stale(10.0) == []
    assert use(ledger, lease)
    for _ in range(3):
        assert ledger.take_stale(21.0) == [lease]
        ledger.keep(lease)
    assert ledger.take_stale(21.0) == []
    assert ledger.usage(21.0).release_failures_total == 6


def test_keeping_what_was_not_taken_counts_nothing():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    ledger.keep(lease)
    ledger.take_stale(10.0)
    ledger.keep(lease)
    ledger.keep(lease)
    assert ledger.usage(10.0).release_failures_total == 1


def test_a_lease_that_came_into_use_after_all_is_kept_and_no_failure():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    for _ in range(4):  # more often than it would be tried
        assert ledger.take_stale(10.0) == [lease]
        ledger.keep(lease, failed=False)
        assert not lease.closing
    assert ledger.usage(10.0).release_failures_total == 0
    assert ledger.touch(lease, 10.0)


@pytest.mark.parametrize(("failed", "failures"), [(False, 1), (True, 2)])
def test_a_lease_whose_callback_still_runs_stays_closing_and_its_failure_counts(failed, failures):
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    ledger.take_stale(10.0)
    ledger.keep(lease, closing=True)
    assert lease.closing
    assert ledger.take_stale(10.0) == []
    assert not ledger.touch(lease, 10.0)
    assert not ledger.pin(lease, 10.0, +1)
    usage = ledger.usage(10.0)
    assert (usage.release_failures_total, usage.in_use, usage.stale) == (1, 1, 1)
    ledger.keep(lease, failed=failed)
    assert ledger.usage(10.0).release_failures_total == failures
    assert ledger.take_stale(10.0) == [lease]
    ledger.keep(lease, closing=True)
    assert ledger.release(lease, "cleanup")
    assert ledger.usage(10.0).in_use == 0


def test_a_failed_close_waits_behind_the_others():
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    first, second = ledger.acquire(connection, 0.0), ledger.acquire(connection, 1.0)
    assert ledger.take_stale(20.0, most=1) == [first]
    ledger.keep(first)
    assert ledger.take_stale(20.0) == [second, first]


@pytest.mark.parametrize(
    "leave",
    [
        lambda ledger, lease: ledger.touch(lease, 11.0),
        lambda ledger, lease: ledger.release(lease),
        lambda ledger, lease: ledger.configure(ResourceSettings(ttl_seconds=20.0)),
    ],
    ids=["touched", "released", "young again"],
)
def test_what_is_stale_no_more_is_kept_for_no_cleanup(leave):
    ledger, connection = ledger_of(ttl_seconds=10.0), Connection()
    lease = ledger.acquire(connection, 0.0)
    assert ledger.usage(10.0).stale == 1
    leave(ledger, lease)
    assert ledger.usage(11.0).stale == 0
    assert not ledger._order.due


# Eviction


def test_a_full_ring_closes_its_least_recently_touched():
    ring, connection = ring_of(limit=2), Connection()
    first, second = ring.acquire(connection, 0.0), ring.acquire(connection, 1.0)
    ring.touch(first, 2.0)
    third = ring.acquire(connection, 3.0)
    assert [each.open for each in (first, second, third)] == [True, False, True]
    usage = ring.usage(3.0)
    assert (usage.in_use, usage.rejected_total, usage.closed_total["evicted"]) == (2, 0, 1)
    assert usage.bounded_by_eviction


def test_a_ring_evicts_the_stale_before_the_fresh():
    ring, connection = ring_of(limit=2, ttl_seconds=10.0), Connection()
    stale, fresh = ring.acquire(connection, 0.0), ring.acquire(connection, 5.0)
    assert ring.usage(10.0).stale == 1
    ring.acquire(connection, 10.0)
    assert (stale.open, fresh.open) == (False, True)


def test_a_ring_full_of_pinned_leases_refuses():
    ring, connection = ring_of(limit=1), Connection()
    lease = ring.acquire(connection, 0.0)
    ring.pin(lease, 0.0, +1)
    with pytest.raises(LimitExceeded):
        ring.acquire(connection, 1.0)
    assert lease.open


def test_a_ring_makes_room_for_bytes():
    ring, connection = ring_of(limit_bytes=10), Connection()
    leases = [ring.acquire(connection, float(at), size_bytes=4) for at in range(2)]
    last = ring.acquire(connection, 2.0, size_bytes=9)
    assert [each.open for each in leases] == [False, False]
    usage = ring.usage(2.0)
    assert (usage.in_use, usage.bytes, usage.closed_total["evicted"]) == (1, 9, 2)
    with pytest.raises(LimitExceeded, match="bytes"):
        ring.acquire(connection, 3.0, size_bytes=11)
    assert last.open


def test_a_lease_that_grows_makes_the_oldest_go_and_that_may_be_itself():
    ring, connection = ring_of(limit_bytes=10), Connection()
    first, second = (ring.acquire(connection, float(at), size_bytes=4) for at in range(2))
    assert ring.resize(second, 8)
    assert (first.open, ring.usage(1.0).bytes) == (False, 8)
    third = ring.acquire(connection, 2.0, size_bytes=1)
    assert not ring.resize(second, 10)
    assert (second.open, third.open, ring.usage(2.0).bytes) == (False, True, 1)


def test_a_lowered_ring_shrinks_at_its_next_acquire():
    ring, connection = ring_of(limit=5), Connection()
    leases = [ring.acquire(connection, float(at)) for at in range(5)]
    ring.configure(ResourceSettings(limit=2, overflow="evict_oldest"))
    last = ring.acquire(connection, 5.0)
    assert [each.open for each in (*leases, last)] == [False, False, False, False, True, True]


def test_eviction_beside_an_on_release_is_refused():
    settings = ResourceSettings(limit=1, overflow="evict_oldest")
    with pytest.raises(ConfigError, match="would never call it"):
        Ledger("db_session", settings, on_release=Connection.close)
    ledger = ledger_of(on_release=Connection.close, limit=7)
    with pytest.raises(ConfigError, match="would never call it"):
        ledger.configure(settings)
    assert ledger.settings.limit == 7
