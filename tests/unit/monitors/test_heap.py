"""Growth against a baseline: provisional at once, fixed after the warm-up, exact throughout."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

import leakwarden
from leakwarden.monitors.allocator import Books
from leakwarden.monitors.heap import Baseline, HeapMonitor, trough


class Machine:
    """A clock and books that stand where the test puts them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cpu = 0.0
        self.in_use: int | None = 10_000
        self.cost = 0.0

    def clock(self) -> float:
        return self.now

    def read(self) -> Books:
        self.cpu += self.cost
        if self.in_use is None:
            return Books({}, "pymalloc: no such function")
        return Books({("malloc", "in_use"): self.in_use, ("malloc", "free"): 7}, None)

    def monitor(self, window_seconds: float = 1800.0) -> HeapMonitor:
        return HeapMonitor(
            window_seconds,
            self.clock,
            memory_limit=lambda: 2**30,
            read_books=self.read,
            cpu_clock=lambda: self.cpu,
        )


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_the_first_observation_makes_a_provisional_baseline(machine: Machine) -> None:
    monitor = machine.monitor()
    assert monitor.observe() is None
    machine.in_use = 10_500
    sample = monitor.sample()
    assert (sample.baseline_bytes, sample.growth_bytes) == (10_000, 500)
    assert not sample.baseline_final


def test_growth_may_be_negative(machine: Machine) -> None:
    monitor = machine.monitor()
    monitor.observe()
    machine.in_use = 9000
    assert monitor.sample().growth_bytes == -1000


def test_ready_begins_the_warm_up_anew_and_leaves_out_what_was_before(machine: Machine) -> None:
    monitor = machine.monitor(window_seconds=20.0)
    machine.in_use = 1
    monitor.observe()
    machine.now += 5
    machine.in_use = 10_000
    monitor.ready()
    assert monitor.sample().baseline_bytes == 10_000
    machine.now += 9.9
    assert monitor.observe() is None
    machine.now += 0.1
    assert monitor.observe() == Baseline(10_000, samples=3, final=True)


@pytest.mark.parametrize(("window", "warm_up"), [(1800.0, 300.0), (600.0, 300.0), (120.0, 60.0)])
def test_the_warm_up_is_the_smaller_of_300_seconds_and_half_the_window(
    machine: Machine, window: float, warm_up: float
) -> None:
    monitor = machine.monitor(window)
    assert monitor.warm_up_seconds == warm_up
    start = machine.now
    fixed_after = []
    for second in range(int(warm_up) + 100):
        machine.now = start + second
        if monitor.observe() is not None:
            fixed_after.append(second)
    assert fixed_after == [warm_up]


def test_the_baseline_is_the_fifth_percentile_of_the_warm_up(machine: Machine) -> None:
    monitor = machine.monitor(window_seconds=200.0)
    start, fixed = machine.now, None
    for second in range(101):
        machine.now = start + second
        # 101 samples, highest first: the sixth lowest has 5 percent of them at or below it.
        machine.in_use = 1_000_100 - second
        fixed = monitor.observe() or fixed
    assert fixed == Baseline(1_000_005, samples=101, final=True)
    sample = monitor.sample()
    assert sample.baseline_final
    assert sample.growth_bytes == -5


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([7], 7), ([9, 3, 5], 3), (list(range(20)), 0), (list(range(21)), 1), (list(range(40)), 1)],
)
def test_the_trough_is_a_nearest_rank(samples: list[int], expected: int) -> None:
    assert trough(deque(samples)) == expected


def test_a_trough_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        trough(deque())


def test_the_final_baseline_stays(machine: Machine) -> None:
    monitor = machine.monitor(window_seconds=2.0)
    monitor.observe()
    machine.now += 1
    assert monitor.observe() is not None
    machine.in_use = 1
    machine.now += 1000
    assert monitor.observe() is None
    monitor.ready()
    assert monitor.sample().baseline_bytes == 10_000


def test_books_that_cannot_be_read_leave_every_figure_absent(machine: Machine) -> None:
    machine.in_use = None
    monitor = machine.monitor(window_seconds=2.0)
    for _ in range(3):
        machine.now += 1
        assert monitor.observe() is None
    sample = monitor.sample()
    assert sample.in_use_bytes is None
    assert sample.retained_bytes is None
    assert sample.baseline_bytes is None
    assert sample.growth_bytes is None
    assert sample.unreadable_reason == "pymalloc: no such function"
    assert sample.memory_limit_bytes == 2**30


def test_sampling_changes_nothing(machine: Machine) -> None:
    monitor = machine.monitor()
    monitor.observe()
    machine.in_use = 20_000
    growths = [monitor.sample().growth_bytes for _ in range(3)]
    assert growths == [10_000] * 3
    assert len(monitor.in_use.points(1.0)) == 1


def test_every_observation_goes_into_the_series(machine: Machine) -> None:
    monitor = machine.monitor()
    for second in range(5):
        machine.now = 2000.0 + second
        machine.in_use = 100 + second
        monitor.observe()
    assert [point.mean for point in monitor.in_use.points(1.0)] == [100, 101, 102, 103, 104]


def test_a_dear_reading_is_taken_less_often(machine: Machine) -> None:
    machine.cost = 0.007
    monitor = machine.monitor()
    taken = []
    for second in range(15):
        machine.now = 2000.0 + second
        before = machine.cpu
        monitor.observe()
        taken.append(machine.cpu > before)
    # 7 ms are a thousandth of 7 s.
    assert [second for second, was in enumerate(taken) if was] == [0, 7, 14]


def test_growth_equals_an_allocation_of_a_known_size() -> None:
    program = """
import time
from leakwarden.monitors.heap import HeapMonitor
monitor = HeapMonitor(1800.0, time.monotonic)
monitor.ready()
block = bytearray(50 * 2**20)
after_c = monitor.sample().growth_bytes
objects = [None] * 500_000
for index in range(len(objects)):
    objects[index] = object()
after_objects = monitor.sample().growth_bytes - after_c
del block, objects
assert abs(after_c - 50 * 2**20) < 65_536, after_c
assert abs(after_objects - 500_000 * (16 + 8)) < 65_536, after_objects
left = monitor.sample()
assert abs(left.growth_bytes) < 65_536, left
assert left.allocated_blocks > 1000
print("measured")
"""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(leakwarden.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout == "measured\n", finished.stderr
