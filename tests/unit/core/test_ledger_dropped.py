"""Objects that nobody released."""

from __future__ import annotations

import gc
import threading
import weakref

from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings


class Connection:
    """Something to lease."""

    def close(self):
        """End it."""


def ledger_of(on_release=None, **settings):
    return Ledger("db_session", ResourceSettings(**settings), on_release=on_release)


def test_a_dropped_object_closes_its_lease_by_finalizer():
    ledger, connection = ledger_of(), Connection()
    lease = ledger.acquire(connection, 0.0)
    del connection
    usage = ledger.usage(0.0)
    assert (usage.in_use, usage.closed_total["finalizer"]) == (0, 1)
    assert not lease.open
    assert lease.target() is None
    assert not ledger.release(lease)


def test_the_ledger_does_not_keep_the_object_alive():
    ledger, connection = ledger_of(on_release=Connection.close, ttl_seconds=1.0), Connection()
    lease = ledger.acquire(connection, 0.0, size_bytes=4)
    ledger.pin(lease, 0.0, +1)
    ledger.pin(lease, 0.0, -1)
    ledger.take_stale(1.0)
    ledger.keep(lease)
    alive = weakref.ref(connection)
    del connection
    assert alive() is None


def test_an_object_dropped_in_a_cycle_closes_its_lease():
    ledger, connection = ledger_of(), Connection()
    connection.lease = ledger.acquire(connection, 0.0)
    connection.itself = connection
    del connection
    gc.collect()
    assert ledger.usage(0.0).closed_total["finalizer"] == 1


def test_a_dropped_object_frees_its_place_at_the_limit():
    ledger = ledger_of(limit=3)
    objects = [Connection() for _ in range(3)]
    for each in objects:
        ledger.acquire(each, 0.0)
    objects.clear()
    del each
    kept = [Connection() for _ in range(3)]
    for each in kept:
        ledger.acquire(each, 0.0)
    usage = ledger.usage(0.0)
    assert (usage.in_use, usage.rejected_total, usage.closed_total["finalizer"]) == (3, 0, 3)


def test_a_dropped_object_frees_its_place_however_many_dropped_before_it():
    ledger = ledger_of(limit=9)
    objects = [Connection() for _ in range(9)]
    leases = [ledger.acquire(each, 0.0) for each in objects]
    for lease in leases[:8]:
        ledger.release(lease)
    objects.clear()
    kept = [Connection() for _ in range(9)]
    assert [ledger.acquire(each, 0.0).open for each in kept] == [True] * 9


def test_a_dropped_object_frees_its_bytes_at_the_limit():
    ledger, connection, kept = ledger_of(limit_bytes=10), Connection(), Connection()
    ledger.acquire(connection, 0.0, size_bytes=10)
    del connection
    ledger.acquire(kept, 0.0, size_bytes=10)
    assert ledger.usage(0.0).bytes == 10


def test_an_object_dropped_after_its_release_is_no_proof_of_anything():
    ledger, connection = ledger_of(), Connection()
    lease = ledger.acquire(connection, 0.0)
    ledger.release(lease)
    del connection
    usage = ledger.usage(0.0)
    assert (usage.closed_total["released"], usage.closed_total["finalizer"]) == (1, 0)


def test_what_was_dropped_does_not_pile_up_between_snapshots():
    ledger = ledger_of()
    for _ in range(1000):
        connection = Connection()
        lease = ledger.acquire(connection, 0.0)
        ledger.release(lease)
        del connection  # dies while its lease is still in hand
    assert len(ledger._dropped) <= 2


def test_an_acquire_closes_two_of_the_dropped_and_no_more():
    ledger, kept = ledger_of(), Connection()
    leases = [ledger.acquire(each, 0.0) for each in [Connection() for _ in range(5)]]
    for closed in (2, 4, 5):
        ledger.acquire(kept, 0.0)
        assert sum(not lease.open for lease in leases) == closed


def test_a_held_object_dies_once_the_ledger_is_free_again():
    ledger, looks = ledger_of(on_release=print), []

    class Session:
        __slots__ = ()

        def __del__(self):
            elsewhere = threading.Thread(target=lambda: looks.append(ledger.usage(0.0)))
            elsewhere.start()
            elsewhere.join(10)

    for cause in ("released", "expired"):
        lease = ledger.acquire(Session(), 0.0)
        assert looks == []
        assert ledger.release(lease, cause)
        assert looks.pop().in_use == 0


def test_an_object_without_weak_references_is_held_only_for_its_on_release():
    without, kept = ledger_of(), ledger_of(on_release=print)
    first, second = without.acquire(("a", "tuple"), 0.0), kept.acquire(("a", "tuple"), 0.0)
    assert first.target() is None
    assert second.target() == ("a", "tuple")
    for ledger, lease in ((without, first), (kept, second)):
        assert ledger.usage(0.0).without_finalizer == 1
        assert not ledger.leases(0.0)[0].finalizer_proof
        assert ledger.release(lease)
        assert ledger.usage(0.0).without_finalizer == 0
        assert lease.target() is None


def test_an_ordinary_object_is_finalizer_proof():
    ledger, connection = ledger_of(), Connection()
    ledger.acquire(connection, 0.0, size_bytes=1)
    assert ledger.usage(0.0).without_finalizer == 0
    assert ledger.leases(0.0)[0].finalizer_proof
