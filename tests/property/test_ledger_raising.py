"""A signal handler raises, as Ctrl-C and a timeout do, anywhere in the ledger: nothing is lost."""

from __future__ import annotations

import signal
import time
from functools import partial

import pytest

from interrupting import CORE, Interruption, trace_once
from leakwarden.core.errors import LimitExceeded
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings

LIMIT = 4
LIMIT_BYTES = 12
SETTINGS = ResourceSettings(limit=LIMIT, ttl_seconds=10.0, limit_bytes=LIMIT_BYTES)
RING = ResourceSettings(
    limit=LIMIT, ttl_seconds=10.0, limit_bytes=LIMIT_BYTES, overflow="evict_oldest"
)


class Resource:
    """Something that allows a weak reference."""


class TookTooLongError(Exception):
    """What a user's handler raises."""


class Scene:
    """A ledger with a stale, a fresh and a pinned lease, and one that is being closed."""

    def __init__(self, settings):
        self.ledger = Ledger("thing", settings)
        self.objects = [Resource() for _ in range(4)]
        at, sizes = (0.0, 1.0, 2.0, 9.0), (2, 2, 2, 0)
        leases = [self.ledger.acquire(*each) for each in zip(self.objects, at, sizes, strict=True)]
        self.ledger.pin(leases[2], 2.0, +1)
        (self.closing,) = self.ledger.take_stale(12.0, most=1)
        self.stale, self.pinned, self.fresh = leases[1:]
        self.leases = leases
        self.taken = [self.closing]

    def acquire(self, size=0):
        obj = Resource()
        self.objects.append(obj)
        self.ledger.release(self.fresh)
        self.leases.append(self.ledger.acquire(obj, 12.0, size))

    def replace(self, size=0):
        self.objects[1] = obj = Resource()  # the stale one's is dropped
        self.objects.append(obj)
        self.leases.append(self.ledger.acquire(obj, 12.0, size))

    def overfill(self):
        for size in (0, 5, 0):
            obj = Resource()
            self.objects.append(obj)
            try:
                self.leases.append(self.ledger.acquire(obj, 12.0, size))
            except LimitExceeded:
                continue

    def take(self, now=12.0):
        taken = self.ledger.take_stale(now)
        now = max(now, self.ledger._order.now)
        assert all(now - lease.touched_at >= 10.0 for lease in taken)
        self.taken += taken

    def resize(self, size):
        try:
            self.ledger.resize(self.stale, size)
        except LimitExceeded:
            return


CALLS = {
    "acquire": Scene.acquire,
    "acquire bytes": lambda scene: scene.acquire(2),
    "acquire a dropped one's place": Scene.replace,
    "acquire a dropped one's bytes": lambda scene: scene.replace(3),
    "acquire too much": Scene.overfill,
    "release the stale": lambda scene: scene.ledger.release(scene.stale),
    "release the fresh": lambda scene: scene.ledger.release(scene.fresh),
    "release the pinned": lambda scene: scene.ledger.release(scene.pinned),
    "release what is being closed": lambda scene: scene.ledger.release(scene.closing, "cleanup"),
    "touch the stale": lambda scene: scene.ledger.touch(scene.stale, 12.0),
    "touch the fresh": lambda scene: scene.ledger.touch(scene.fresh, 12.0),
    "pin the stale": lambda scene: scene.ledger.pin(scene.stale, 12.0, +1),
    "unpin": lambda scene: scene.ledger.pin(scene.pinned, 12.0, -1),
    "grow": lambda scene: scene.resize(6),
    "grow too much": lambda scene: scene.resize(13),
    "shrink": lambda scene: scene.resize(0),
    "expire": lambda scene: scene.ledger.release(scene.stale, "expired"),
    "take": Scene.take,
    "keep": lambda scene: scene.ledger.keep(scene.closing),
    "look": lambda scene: scene.ledger.usage(12.0),
    "look later": lambda scene: scene.ledger.usage(30.0),
    "list": lambda scene: scene.ledger.leases(12.0),
}


def raise_it():
    raise TookTooLongError


def check(scene):
    """The figures are those of the leases, nobody holds the lock, every place can be had again."""
    ledger = scene.ledger
    scene.take()
    usage = ledger.usage(30.0)
    live = [lease for lease in scene.leases if lease.open]
    unreceived = usage.in_use - len(live)
    assert unreceived in (0, 1)
    assert usage.opened_total == usage.in_use + sum(usage.closed_total.values())
    assert usage.stale + usage.active == usage.in_use <= LIMIT
    scene.objects[-1] = None  # only now does the object of an acquire that raised die
    live = [lease for lease in live if lease() is not None]
    usage = ledger.usage(30.0)
    assert usage.in_use == len(live)
    assert usage.bytes == sum(lease.size_bytes for lease in live) <= LIMIT_BYTES
    assert {info.id for info in ledger.leases(30.0)} == {lease.id for lease in live}
    ledger.keep(scene.closing, failed=False)
    scene.take(30.0)
    assert all(lease in scene.taken or lease.pins for lease in live)
    assert all(ledger.release(lease) for lease in live)
    usage = ledger.usage(30.0)
    assert (usage.in_use, usage.bytes, usage.stale, usage.active) == (0, 0, 0, 0)
    for _ in range(LIMIT):
        ledger.acquire(scene, 30.0, LIMIT_BYTES // LIMIT)
    if ledger.settings.overflow == "reject":
        with pytest.raises(LimitExceeded):
            ledger.acquire(scene, 30.0)


def raise_within(call, at):
    """Whether `call` has a point number `at`; if so a handler raises there."""
    handler = Interruption(raise_it, at)
    try:
        with handler:
            call()
    except TookTooLongError:
        return True
    return False


@pytest.mark.parametrize("settings", [SETTINGS, RING], ids=["reject", "evict_oldest"])
@pytest.mark.parametrize("interrupted", CALLS)
def test_a_handler_may_raise_at_any_point_of(interrupted, settings):
    call = CALLS[interrupted]
    trace_once(lambda: call(Scene(settings)))
    at, reached = 0, True
    while reached:
        scene = Scene(settings)
        reached = raise_within(partial(call, scene), at)
        try:
            check(scene)
        except AssertionError as error:
            raise AssertionError(f"point {at} of {interrupted}") from error
        at += 1
    assert at > 1


@pytest.mark.parametrize("size", [0, 3])
def test_no_number_of_handlers_that_raise_uses_up_the_limit(size):
    ledger, kept = Ledger("thing", SETTINGS), Resource()

    def use():
        obj = Resource()
        lease = ledger.acquire(obj, 0.0, size)
        ledger.pin(lease, 0.0, +1)
        ledger.pin(lease, 0.0, -1)
        ledger.usage(10.0)
        ledger.touch(lease, 10.0)
        ledger.release(lease)

    trace_once(use)
    at = 0
    while raise_within(use, at):
        at += 1
    assert at > 10 * LIMIT
    usage = ledger.usage(0.0)
    assert (usage.in_use, usage.bytes, usage.rejected_total) == (0, 0, 0)
    assert [ledger.acquire(kept, 0.0, 3).open for _ in range(LIMIT)] == [True] * LIMIT


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer here")
@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("ttl_seconds", [None, 0.0005])
def test_a_real_signal_handler_that_raises_within_the_ledger_loses_nothing(size, ttl_seconds):
    settings = ResourceSettings(limit=50, ttl_seconds=ttl_seconds, limit_bytes=150)
    ledger, raised, handled = Ledger("thing", settings), [], []

    def handler(number, frame):
        handled.append(number)
        while frame is not None and not frame.f_code.co_filename.startswith(CORE):
            frame = frame.f_back
        if frame is not None:
            raised.append(number)
            raise TookTooLongError

    def use():
        obj = Resource()
        lease = ledger.acquire(obj, time.monotonic(), size)
        ledger.usage(time.monotonic())
        ledger.pin(lease, time.monotonic(), +1)
        ledger.pin(lease, time.monotonic(), -1)
        ledger.resize(lease, size)
        ledger.release(lease)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    deadline = time.monotonic() + 10
    try:
        while len(raised) < 400 and time.monotonic() < deadline:
            try:
                use()
            except TookTooLongError:
                continue
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(raised) >= 400
    usage = ledger.usage(time.monotonic())
    assert (usage.in_use, usage.bytes, usage.rejected_total) == (0, 0, 0)
    kept = [Resource() for _ in range(50)]
    assert all(ledger.acquire(obj, time.monotonic(), 3).open for obj in kept)
    with pytest.raises(LimitExceeded):
        ledger.acquire(kept[0], time.monotonic())
