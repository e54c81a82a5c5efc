"""A signal handler, or a user's finalizer, comes in the midst of the ledger's work and uses it.

CPython runs handlers on entering a function, after a call and on a jump back. Chance would hit few
of these points, so here each is hit in turn: a tracer runs the handler at the first of them, then
the whole again with the handler at the second, and so on to the last.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from functools import partial

import pytest

from interrupting import Interruption, trace_once
from leakwarden.core.errors import LimitExceeded
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import CAUSES, ResourceSettings

LIMIT = 4
LIMIT_BYTES = 12
SETTINGS = ResourceSettings(limit=LIMIT, ttl_seconds=10.0, limit_bytes=LIMIT_BYTES)
RING = ResourceSettings(
    limit=LIMIT, ttl_seconds=10.0, limit_bytes=LIMIT_BYTES, overflow="evict_oldest"
)


class Resource:
    """Something that allows a weak reference."""


@dataclass
class Scene:
    """A ledger with a stale, a fresh and a pinned lease, and with a place and 3 bytes left."""

    ledger: Ledger
    stale: object
    fresh: object
    pinned: object

    def __post_init__(self):
        self.mine = []
        self.true_releases = []
        self.objects = []
        self.looks = [self.ledger.usage(1.0)]

    def acquire(self, size=0):
        obj = Resource()
        self.objects.append(obj)
        try:
            self.mine.append(self.ledger.acquire(obj, 12.0, size))
        except LimitExceeded:
            return

    def release(self, lease, cause="released"):
        if self.ledger.release(lease, cause):
            self.true_releases.append(lease)

    def resize(self, lease, size):
        try:
            self.ledger.resize(lease, size)
        except LimitExceeded:
            return

    def clean(self):
        for lease in self.ledger.take_stale(12.0):
            self.release(lease, "expired")

    def fail_to_clean(self):
        for lease in self.ledger.take_stale(12.0):
            self.ledger.keep(lease)

    def look(self):
        before = self.looks[-1]  # a handler's look may end before the one that it interrupts
        look = self.ledger.usage(12.0)
        check_rise(before, look)
        self.looks.append(look)

    def drop(self, index):
        self.objects[index] = None


def scene_of(settings):
    objects = [Resource() for _ in range(3)]
    ledger = Ledger("thing", settings)
    stale, pinned, fresh = (
        ledger.acquire(obj, at, 3) for obj, at in zip(objects, (0.0, 1.0, 9.0), strict=True)
    )
    ledger.pin(pinned, 1.0, +1)
    scene = Scene(ledger, stale, fresh, pinned)
    scene.objects = objects
    return scene


CALLS = {
    "acquire": Scene.acquire,
    "acquire bytes": lambda scene: scene.acquire(3),
    "acquire too many bytes": lambda scene: scene.acquire(7),
    "fill up": lambda scene: [scene.acquire() for _ in range(LIMIT)],
    "release the stale": lambda scene: scene.release(scene.stale),
    "release the fresh": lambda scene: scene.release(scene.fresh),
    "release the pinned": lambda scene: scene.release(scene.pinned),
    "expire the stale": lambda scene: scene.release(scene.stale, "expired"),
    "touch the stale": lambda scene: scene.ledger.touch(scene.stale, 12.0),
    "touch the fresh": lambda scene: scene.ledger.touch(scene.fresh, 12.0),
    "pin the stale": lambda scene: scene.ledger.pin(scene.stale, 12.0, +1),
    "pin the fresh": lambda scene: scene.ledger.pin(scene.fresh, 12.0, +1),
    "unpin": lambda scene: scene.ledger.pin(scene.pinned, 12.0, -1),
    "grow the stale": lambda scene: scene.resize(scene.stale, 6),
    "grow too much": lambda scene: scene.resize(scene.fresh, 9),
    "shrink": lambda scene: scene.resize(scene.fresh, 0),
    "clean": Scene.clean,
    "fail to clean": Scene.fail_to_clean,
    "look": Scene.look,
    "list": lambda scene: scene.ledger.leases(12.0),
    "drop the stale": lambda scene: scene.drop(0),
    "drop the fresh and look": lambda scene: (scene.drop(2), scene.look()),
}
# What a handler may do; the others of the calls are like one of these to whom they interrupt.
HANDLERS = {
    name: CALLS[name]
    for name in (
        "acquire bytes",
        "fill up",
        "release the stale",
        "release the fresh",
        "release the pinned",
        "touch the stale",
        "pin the fresh",
        "grow the stale",
        "clean",
        "look",
        "drop the fresh and look",
    )
}


def check_rise(before, after):
    assert after.opened_total >= before.opened_total
    assert all(after.closed_total[cause] >= before.closed_total[cause] for cause in CAUSES)


def check(scene):
    """The figures equal a recount, each close had one winner, and no place or byte was lost."""
    ledger = scene.ledger
    scene.look()
    for look in scene.looks:
        check_rise(look, scene.looks[-1])
        assert look.opened_total == look.in_use + sum(look.closed_total.values())
        assert 0 <= look.in_use <= LIMIT
    usage = scene.looks[-1]
    leases = [scene.stale, scene.fresh, scene.pinned, *scene.mine]
    live = [lease for lease in leases if lease.open]
    closed = usage.closed_total
    assert len({lease.id for lease in leases}) == len(leases) == usage.opened_total
    assert usage.in_use == len(live) <= LIMIT
    assert usage.bytes == sum(lease.size_bytes for lease in live) <= LIMIT_BYTES
    assert usage.opened_total == usage.in_use + sum(closed.values())
    assert len(set(scene.true_releases)) == len(scene.true_releases)
    assert len(scene.true_releases) == closed["released"] + closed["expired"]
    assert {info.id for info in ledger.leases(12.0)} == {lease.id for lease in live}
    for lease in live:
        assert ledger.release(lease)
    for lease in leases:
        assert not ledger.release(lease)
    usage = ledger.usage(12.0)
    assert (usage.in_use, usage.bytes, usage.stale, usage.active, usage.pinned) == (0,) * 5
    assert ledger.take_stale(1e9) == []
    for _ in range(LIMIT):
        ledger.acquire(scene, 1e9)
    if ledger.settings.overflow == "reject":
        with pytest.raises(LimitExceeded):
            ledger.acquire(scene, 1e9)


@pytest.mark.parametrize("settings", [SETTINGS, RING], ids=["reject", "evict_oldest"])
@pytest.mark.parametrize("interrupted", [name for name in CALLS if name != "fill up"])
def test_a_handler_may_do_anything_at_any_point_of(interrupted, settings):
    trace_once(lambda: CALLS[interrupted](scene_of(settings)))
    points = 0
    for name, handler in HANDLERS.items():
        at, reached = 0, True
        while reached:
            scene = scene_of(settings)
            interruption = Interruption(lambda scene=scene, handler=handler: handler(scene), at)
            with interruption:
                CALLS[interrupted](scene)
            reached = interruption.reached
            try:
                check(scene)
            except AssertionError as error:
                raise AssertionError(f"{name} at point {at} of {interrupted}") from error
            at += 1
        points += at
    if not interrupted.startswith("drop the stale"):
        assert points > 2 * len(HANDLERS)


def test_a_handler_that_acquires_below_the_limit_is_not_refused():
    at, reached = 0, True
    while reached:
        ledger, obj, acquired = Ledger("thing", ResourceSettings(limit=2)), Resource(), []
        interruption = Interruption(
            lambda ledger=ledger, obj=obj, acquired=acquired: acquired.append(
                ledger.acquire(obj, 0.0)
            ),
            at,
        )
        with interruption:
            acquired.append(ledger.acquire(obj, 0.0))
        reached = interruption.reached
        assert len(acquired) == 1 + reached
        at += 1
    assert at > 3


def interrupted_touches(change, handler, size, since):
    """A lease last touched at `since`, and what touching it answered, for each point of that."""
    at, reached = 0, True
    while reached:
        ledger, obj = Ledger("thing", SETTINGS), Resource()
        lease = ledger.acquire(obj, since, size)
        if change:
            ledger.pin(lease, since, +1)
        ledger.usage(12.0)
        interruption = Interruption(partial(handler, ledger, lease), at)
        with interruption:
            touched = ledger.pin(lease, 12.0, change) if change else ledger.touch(lease, 12.0)
        reached = interruption.reached
        yield ledger, lease, touched, reached
        at += 1
    assert at > 3


@pytest.mark.parametrize("size", [0, 3])
def test_a_lease_that_a_handler_takes_for_closing_is_not_touched(size):
    taken = []

    def take(ledger, lease):
        taken[:] = ledger.take_stale(12.0)

    for _ledger, lease, touched, _ in interrupted_touches(0, take, size, since=0.0):
        assert touched is not lease.closing
        assert taken == [lease] * lease.closing
        taken.clear()


@pytest.mark.parametrize("size", [0, 3])
def test_a_touch_that_a_later_one_interrupts_does_not_turn_time_back(size):
    def touch(ledger, lease):
        assert ledger.touch(lease, 13.0)

    for _ledger, lease, touched, reached in interrupted_touches(0, touch, size, since=0.0):
        assert touched
        assert lease.touched_at == (13.0 if reached else 12.0)


@pytest.mark.parametrize("since", [0.0, 12.0])
@pytest.mark.parametrize("change", [+1, -1])
def test_users_that_come_and_go_meanwhile_are_all_counted(change, since):
    def pin(ledger, lease):
        assert ledger.pin(lease, 12.0, +1)

    for ledger, lease, touched, reached in interrupted_touches(change, pin, 0, since):
        assert touched
        assert lease.pins == 1 + change + reached
        assert ledger.usage(12.0).active == (lease.pins > 0)


def test_a_lease_that_is_touched_as_it_grows_stale_hides_no_other():
    at, reached = 0, True
    while reached:
        ledger, obj = Ledger("thing", SETTINGS), Resource()
        lease, _other = ledger.acquire(obj, 0.0), ledger.acquire(obj, 5.0)
        interruption = Interruption(partial(ledger.touch, lease, 12.0), at)
        with interruption:
            ledger.usage(12.0)
        reached = interruption.reached
        assert ledger.usage(12.0).stale == (not reached)
        assert ledger.usage(15.0).stale == 1 + (not reached)
        at += 1
    assert at > 3


@pytest.mark.parametrize("size", [0, 2, 4])
def test_of_two_sizes_that_a_lease_is_given_at_once_one_counts(size):
    at, reached = 0, True
    while reached:
        ledger, obj = Ledger("thing", SETTINGS), Resource()
        lease = ledger.acquire(obj, 0.0, 3)
        interruption = Interruption(partial(ledger.resize, lease, 5), at)
        with interruption:
            assert ledger.resize(lease, size)
        reached = interruption.reached
        assert lease.size_bytes in (size, 5)
        assert ledger.usage(0.0).bytes == lease.size_bytes
        at += 1
    assert at > 3


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer here")
def test_a_real_signal_handler_that_acquires_and_releases_leaves_exact_figures():
    ledger = Ledger("thing", ResourceSettings(limit=50, ttl_seconds=0.0005, limit_bytes=500))
    obj, held, handled = Resource(), [], []

    def handler(number, frame):
        lease = ledger.acquire(obj, time.monotonic(), 3)
        ledger.usage(time.monotonic())
        if held:
            ledger.touch(held[0], time.monotonic())
            ledger.release(held[0])
        handled.append(ledger.release(lease))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    deadline = time.monotonic() + 10
    opened = 0
    try:
        while len(handled) < 1000 and time.monotonic() < deadline:
            held[:] = [ledger.acquire(obj, time.monotonic(), 2) for _ in range(5)]
            opened += 5
            for lease in held:
                ledger.pin(lease, time.monotonic(), +1)
                ledger.pin(lease, time.monotonic(), -1)
                ledger.resize(lease, 5)
            for lease in ledger.take_stale(time.monotonic()):
                ledger.release(lease, "expired")
            for lease in held:
                ledger.release(lease)
            assert not any(lease.open for lease in held)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    usage = ledger.usage(time.monotonic())
    assert len(handled) >= 1000
    assert all(handled)
    assert (usage.in_use, usage.bytes, usage.rejected_total) == (0, 0, 0)
    assert usage.opened_total == opened + len(handled)
