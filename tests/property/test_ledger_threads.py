"""The ledger under threads that switch as often as Python can, under forks and collections."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
import warnings
import weakref
from contextlib import contextmanager
from functools import partial

import pytest

from leakwarden.core.errors import LimitExceeded
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings
from waiting import wait_until

LIMIT = 12
LIMIT_BYTES = 40
SETTINGS = ResourceSettings(limit=LIMIT, ttl_seconds=0.002, limit_bytes=LIMIT_BYTES)
RING = ResourceSettings(
    limit=LIMIT, ttl_seconds=0.002, limit_bytes=LIMIT_BYTES, overflow="evict_oldest"
)


class Resource:
    """Something that allows a weak reference."""


@pytest.fixture(autouse=True)
def _switch_as_often_as_python_can():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@contextmanager
def running(*targets):
    """Each target in a thread of its own, given an event that the end of the block sets.

    The block raises what one of them did.
    """
    failures, stop = [], threading.Event()

    def guarded(target):
        try:
            target(stop)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures, failures


def both(*targets):
    """All targets to their ends."""
    with running(*(lambda _stop, target=target: target() for target in targets)):
        pass


class Worker:
    """One thread's random calls on a shared ledger, and its own count of what they did."""

    def __init__(self, ledger, shared, seed, steps=6000):
        self.ledger = ledger
        self.shared = shared  # leases that any worker may use
        self.random = random.Random(seed)
        self.steps = steps
        self.ids = []
        self.closed = 0
        self.kept = 0

    def __call__(self):
        calls = [self.acquire] * 5 + [self.release] * 3 + [self.touch] * 2
        calls += [self.pin, self.resize, self.clean, self.drop]
        for _ in range(self.steps):
            self.random.choice(calls)()

    def some(self):
        try:
            return self.random.choice(self.shared)
        except IndexError:  # shrunk by another worker
            return None, None

    def acquire(self):
        obj = Resource()
        size = self.random.choice([0, 0, 1, 5])
        try:
            lease = self.ledger.acquire(obj, time.monotonic(), size)
        except LimitExceeded:
            return
        self.ids.append(lease.id)
        self.shared.append((lease, obj))

    def release(self):
        lease, _obj = self.some()
        if lease is not None:
            self.closed += self.ledger.release(lease, self.random.choice(["released", "expired"]))
            self.drop()

    def touch(self):
        lease, _obj = self.some()
        if lease is not None:
            self.ledger.touch(lease, time.monotonic())

    def pin(self):
        lease, _obj = self.some()
        if lease is not None and self.ledger.pin(lease, time.monotonic(), +1):
            self.ledger.pin(lease, time.monotonic(), -1)

    def resize(self):
        lease, _obj = self.some()
        if lease is not None:
            try:
                self.ledger.resize(lease, self.random.randrange(6))
            except LimitExceeded:
                return

    def clean(self):
        for lease in self.ledger.take_stale(time.monotonic(), 3):
            if self.random.random() < 0.3:
                self.ledger.keep(lease)
                self.kept += 1
            else:
                self.closed += self.ledger.release(lease, "cleanup")

    def drop(self):
        try:
            self.shared.pop(0)
        except IndexError:
            return


def watch(ledger, stop, most=LIMIT):
    """Look at the ledger until `stop`: totals never fall, limits hold, the sum is right."""
    before = ledger.usage(time.monotonic())
    while not stop.is_set():
        usage = ledger.usage(time.monotonic())
        assert 0 <= usage.in_use <= most
        assert 0 <= usage.bytes <= LIMIT_BYTES
        assert usage.opened_total == usage.in_use + sum(usage.closed_total.values())
        assert usage.opened_total >= before.opened_total
        assert usage.rejected_total >= before.rejected_total
        assert usage.release_failures_total >= before.release_failures_total
        for cause, count in usage.closed_total.items():
            assert count >= before.closed_total[cause], cause
        assert len(ledger.leases(time.monotonic(), most=5)) <= 5
        before = usage


def check_all_can_be_had_again(ledger, limit=LIMIT):
    """With everything closed, exactly `limit` leases can be had: no place was lost or doubled."""
    objects = [Resource() for _ in range(limit)]
    leases = [ledger.acquire(obj, time.monotonic()) for obj in objects]
    if ledger.settings.overflow == "reject":
        with pytest.raises(LimitExceeded):
            ledger.acquire(objects[0], time.monotonic())
    assert [ledger.release(lease) for lease in leases] == [True] * limit


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [SETTINGS, RING], ids=["reject", "evict_oldest"])
def test_any_calls_of_any_threads_leave_figures_that_equal_a_recount(settings, seed):
    ledger, shared = Ledger("thing", settings), []
    workers = [Worker(ledger, shared, f"{seed} {index}") for index in range(4)]
    with running(lambda stop: watch(ledger, stop)):
        both(*workers)
    usage = ledger.usage(time.monotonic())
    open_leases = [lease for lease, _obj in shared if lease.open]
    ids = [each for worker in workers for each in worker.ids]
    assert len(set(ids)) == len(ids) == usage.opened_total
    assert usage.in_use == len(open_leases)
    assert usage.bytes == sum(lease.size_bytes for lease in open_leases)
    by_us = sum(worker.closed for worker in workers)
    by_itself = usage.closed_total["finalizer"] + usage.closed_total["evicted"]
    assert sum(usage.closed_total.values()) == by_us + by_itself
    assert usage.release_failures_total <= sum(worker.kept for worker in workers)
    assert usage.without_finalizer == 0
    del open_leases
    shared.clear()
    assert ledger.usage(time.monotonic()).in_use == 0
    check_all_can_be_had_again(ledger)


def test_of_any_number_of_closers_exactly_one_closes():
    obj, causes = Resource(), ["released", "cleanup", "released"]
    for _ in range(20):
        ledger = Ledger("thing", ResourceSettings(ttl_seconds=0.5))
        leases = [ledger.acquire(obj, float(index % 2), 1) for index in range(400)]
        ledger.usage(1.0)  # half of them are stale
        answers = [[] for _ in causes]
        start = threading.Barrier(len(causes))

        def close(mine, cause, leases=leases, ledger=ledger, start=start):
            start.wait()
            mine.extend(ledger.release(lease, cause) for lease in leases)

        both(*(partial(close, *each) for each in zip(answers, causes, strict=True)))
        assert [sum(each) for each in zip(*answers, strict=True)] == [1] * len(leases)
        usage = ledger.usage(1.0)
        assert usage.closed_total["cleanup"] == sum(answers[1])
        assert usage.closed_total["released"] == sum(answers[0]) + sum(answers[2])
        assert (usage.in_use, usage.bytes, usage.stale) == (0, 0, 0)


def test_no_lease_is_lost_on_its_way_between_the_maps():
    ledger = Ledger("thing", ResourceSettings(limit=4, ttl_seconds=1.0))
    current, clock = [], [0.0]

    def own():
        obj = Resource()
        for _ in range(30_000):
            lease = ledger.acquire(obj, clock[0])
            current[:] = [lease]
            assert ledger.release(lease)

    def age(stop):
        while not stop.is_set():
            clock[0] += 1.0
            ledger.usage(clock[0])
            for lease in current:
                ledger.touch(lease, clock[0])

    with running(age):
        both(own, own)
    assert ledger.usage(clock[0]).in_use == 0
    check_all_can_be_had_again(ledger, 4)


def test_a_lease_that_only_moves_is_seen_by_every_look():
    ledger, obj = Ledger("thing", ResourceSettings(ttl_seconds=1.0)), Resource()
    leases = [ledger.acquire(obj, 0.0) for _ in range(5)]
    clock = [0.0]

    def move(stop):
        while not stop.is_set():
            clock[0] += 1.0
            for lease in leases[1:]:
                ledger.pin(lease, clock[0], +1)
                ledger.touch(lease, clock[0])
                ledger.pin(lease, clock[0], -1)

    def come_and_go(stop):
        while not stop.is_set():
            ledger.release(ledger.acquire(obj, clock[0]))

    with running(move, move, come_and_go):
        for _ in range(4000):
            usage = ledger.usage(clock[0])
            assert usage.in_use - len(leases) in (0, 1)
            assert usage.oldest_idle_seconds is not None
            assert usage.active <= len(leases) - 1
            assert {info.id for info in ledger.leases(clock[0])} >= {each.id for each in leases}
    usage = ledger.usage(clock[0])
    assert (usage.in_use, usage.active) == (len(leases), 0)
    assert usage.opened_total == len(leases) + usage.closed_total["released"]


def test_others_get_the_lock_while_very_many_leases_grow_stale():
    ledger, obj, seen = Ledger("thing", ResourceSettings(ttl_seconds=1.0)), Resource(), set()
    leases = [ledger.acquire(obj, 0.0) for _ in range(20_000)]

    def look(stop):
        while not stop.is_set():
            with ledger._lock:
                seen.add(len(ledger._order.stale))

    with running(look):
        wait_until(lambda: seen)
        assert ledger.usage(1.0).stale == len(leases)
        assert len(ledger.take_stale(1.0)) == len(leases)
    assert seen - {0, len(leases)}


def test_a_limit_that_moves_under_load_is_kept_as_soon_as_it_stands():
    ledger, obj = Ledger("thing", ResourceSettings(limit=8)), Resource()

    def fill_up(stop):
        held = []
        while not stop.is_set():
            try:
                held.append(ledger.acquire(obj, 0.0))
            except LimitExceeded:
                while held:
                    ledger.release(held.pop())
        for lease in held:
            ledger.release(lease)

    with running(fill_up, fill_up):
        for round_ in range(300):
            limit = (3, 8, 1, 5)[round_ % 4]
            ledger.configure(ResourceSettings(limit=limit))
            wait_until(lambda limit=limit: ledger.usage(0.0).in_use <= limit, every=0)
            assert all(ledger.usage(0.0).in_use <= limit for _ in range(5))
    ledger.configure(ResourceSettings(limit=LIMIT))
    assert ledger.usage(0.0).in_use == 0
    check_all_can_be_had_again(ledger)


def test_collections_inside_weakref_callbacks_and_inside_the_ledger_lose_nothing():
    ledger = Ledger("thing", ResourceSettings(limit=50, ttl_seconds=0.001))
    collecting, collections = [], []

    class Cyclic(Resource):
        def __init__(self):
            self.itself = self

        def __del__(self):  # a user's finalizer that comes back to the ledger
            ledger.usage(time.monotonic())

    def collect(_dead):
        if not collecting:
            collecting.append(True)
            collections.append(gc.collect())
            collecting.pop()

    def work():
        watched = []
        for index in range(400):
            obj = Cyclic()
            try:
                lease = ledger.acquire(obj, time.monotonic())
            except LimitExceeded:  # the garbage of one thread waits for its collection
                continue
            watched.append(weakref.ref(obj, collect))
            ledger.touch(lease, time.monotonic())
            if index % 3 == 0:
                ledger.release(lease)
            for taken in ledger.take_stale(time.monotonic(), 1):
                ledger.release(taken, "expired")

    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.collect()  # of what is left: Python collects all only once a quarter of it is new
    gc.set_threshold(3, 2, 2)
    try:
        both(work, work)
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
    gc.collect()
    usage = ledger.usage(time.monotonic())
    assert collections
    assert usage.closed_total["finalizer"] > 0
    assert (usage.in_use, usage.opened_total) == (0, 800 - usage.rejected_total)
    check_all_can_be_had_again(ledger, 50)


def fork():
    with warnings.catch_warnings():  # from 3.12 on Python warns of what this is about
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def use_in_child(ledger, inherited, newest):
    """0 where a forked child finds an empty ledger that works."""
    now = time.monotonic()
    usage = ledger.usage(now)
    assert (usage.in_use, usage.bytes, usage.stale, usage.opened_total) == (0, 0, 0, 0)
    assert not any(usage.closed_total.values())
    assert not any(ledger.release(lease) for lease in inherited)
    assert not any(ledger.touch(lease, now) for lease in inherited)
    objects = [Resource() for _ in range(LIMIT)]
    leases = [ledger.acquire(obj, now, 1) for obj in objects]
    assert min(lease.id for lease in leases) > newest
    taken = ledger.take_stale(now + 1.0)
    assert taken == leases
    assert all(ledger.release(lease, "expired") for lease in taken[1:])
    objects.clear()
    closed = ledger.usage(now + 1.0).closed_total
    assert (closed["expired"], closed["finalizer"]) == (LIMIT - 1, 1)
    check_all_can_be_had_again(ledger)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_under_load_starts_empty_and_works():
    ledger, shared = Ledger("thing", SETTINGS), []

    def load(stop, seed):
        worker = Worker(ledger, shared, seed, steps=50)
        while not stop.is_set():
            worker()

    with running(partial(load, seed="a"), partial(load, seed="b")):
        wait_until(lambda: ledger.usage(time.monotonic()).opened_total > 100)
        for _ in range(12):
            newest = max((lease.id for lease, _obj in list(shared)), default=0)
            child = fork()
            if child == 0:
                status = 1
                try:
                    use_in_child(ledger, [lease for lease, _obj in list(shared)], newest)
                    status = 0
                finally:
                    os._exit(status)
            assert exit_status(child) == 0


def exit_status(child):
    """What the child ended with; AssertionError where it hangs."""
    ended = []

    def has_ended():
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            ended.append(status)
        return ended

    return wait_until(has_ended)[0]
