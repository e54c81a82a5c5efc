from __future__ import annotations

import gc
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from leakwarden.core.errors import ConfigError, LimitExceeded
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.custom import Pool
from leakwarden.managers.stale import StaleHandle


class Connection:
    closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def pool(clock):
    return Pool("db_session", ResourceSettings(limit=2, ttl_seconds=30.0), clock, Connection.close)


def test_acquire_and_release_count_one_lease(pool):
    connection = Connection()
    lease = pool.acquire(connection, size_bytes=7)
    assert (pool.usage().in_use, pool.usage().bytes) == (1, 7)
    assert pool.release(lease) is True
    assert pool.release(lease) is False
    assert pool.usage().in_use == 0


def test_the_owners_release_never_runs_on_release(pool, clock):
    connection = Connection()
    pool.release(pool.acquire(connection))
    clock.advance(30)
    pool.close_stale()
    assert not connection.closed


def test_a_third_of_two_is_refused_with_the_numbers(pool):
    held = [Connection(), Connection()]
    for connection in held:
        pool.acquire(connection)
    with pytest.raises(LimitExceeded, match="db_session is at its limit: 2 of 2 leases"):
        pool.acquire(Connection())


def test_a_cleanup_runs_on_release_and_later_touch_and_release_are_false(pool, clock):
    connection = Connection()
    lease = pool.acquire(connection)
    clock.advance(30)
    assert pool.close_stale() == 1
    assert connection.closed
    assert pool.touch(lease) is False
    assert pool.release(lease) is False


def test_touch_begins_the_time_to_live_again(pool, clock):
    connection = Connection()
    lease = pool.acquire(connection)
    clock.advance(29)
    assert pool.touch(lease) is True
    clock.advance(29)
    assert pool.close_stale() == 0
    clock.advance(1)
    assert pool.close_stale() == 1


def test_a_with_gives_the_object_keeps_it_in_use_and_releases_it(pool, clock):
    connection = Connection()
    with pool.lease(connection, size_bytes=3) as got:
        assert got is connection
        clock.advance(1000)
        assert (pool.usage().pinned, pool.usage().stale, pool.usage().bytes) == (1, 0, 3)
        assert pool.close_stale() == 0
    assert (pool.usage().in_use, connection.closed) == (0, False)


def test_a_with_releases_when_its_block_raises(pool):
    with pytest.raises(KeyError), pool.lease(Connection()):
        raise KeyError
    assert pool.usage().in_use == 0


def test_entering_what_a_cleanup_has_closed_names_the_users_line(pool, clock):
    connection = Connection()
    held = pool.lease(connection)
    clock.advance(30)
    pool.close_stale()
    with pytest.raises(StaleHandle, match=r"db_session .*test_custom\.py"), held:
        pytest.fail("entered with a closed connection")
    assert pool.usage().closed_total["released"] == 0


def test_without_on_release_a_cleanup_forgets_what_is_stale(clock):
    pool = Pool("ticket", ResourceSettings(limit=5, ttl_seconds=1.0), clock)
    pool.acquire(42)  # allows no weak reference
    connection = Connection()
    pool.acquire(connection)
    clock.advance(1)
    assert pool.close_stale("expired") == 2
    assert pool.usage().closed_total["expired"] == 2


def test_an_object_without_weak_references_is_held_for_its_on_release(clock):
    ended = []
    pool = Pool("ticket", ResourceSettings(limit=5, ttl_seconds=1.0), clock, ended.append)
    pool.acquire((1, 2))
    clock.advance(1)
    assert (pool.usage().without_finalizer, pool.close_stale()) == (1, 1)
    assert ended == [(1, 2)]


def test_an_object_dropped_unreleased_is_closed_as_finalizer(pool):
    pool.acquire(Connection())
    gc.collect()
    assert pool.usage().closed_total["finalizer"] == 1


def test_the_pool_keeps_no_object_alive(pool):
    lease = pool.acquire(Connection())
    gc.collect()
    assert lease.target() is None


def test_the_site_is_the_users_line_for_acquire_with_and_exit_stack(pool):
    one, two = Connection(), Connection()
    first = sys._getframe().f_lineno + 1
    pool.acquire(one)
    with ExitStack() as stack:
        stack.enter_context(pool.lease(two))
        lines = sorted(info.line for info in pool.leases())
        assert lines == [first, first + 2]
        assert {Path(info.file).name for info in pool.leases()} == {"test_custom.py"}


def test_leases_come_least_recently_touched_first_and_at_most_as_many_as_asked(pool, clock):
    one, two = Connection(), Connection()
    first = pool.acquire(one)
    clock.advance(1)
    second = pool.acquire(two)
    clock.advance(1)
    pool.touch(first)
    assert [info.id for info in pool.leases()] == [second.id, first.id]
    assert [info.id for info in pool.leases(1)] == [second.id]


def test_eviction_with_an_on_release_is_refused(clock):
    with pytest.raises(ConfigError):
        Pool("ring", ResourceSettings(limit=1, overflow="evict_oldest"), clock, Connection.close)
