"""Durations counted by upper bound."""

from __future__ import annotations

import sys
import threading
from math import inf

import pytest

from forking import in_forked_child
from leakwarden.core.histogram import Histogram


@pytest.fixture
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_value_at_a_bound_counts_below_it():
    histogram = Histogram([0.1, 1.0])
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.observe(value)
    sample = histogram.sample()
    assert sample.buckets == ((0.1, 2), (1.0, 4), (inf, 5))
    assert sample.count == 5
    assert sample.sum == 8.65


def test_an_empty_histogram_has_every_bucket_at_zero():
    sample = Histogram([1.0]).sample()
    assert (sample.buckets, sample.sum, sample.count) == (((1.0, 0), (inf, 0)), 0.0, 0)


def test_a_sample_does_not_change_under_the_reader():
    histogram = Histogram([1.0])
    sample = histogram.sample()
    histogram.observe(0.5)
    assert sample.count == 0


def test_a_handler_may_observe_at_any_line_of_an_observation_and_of_a_sample():
    histogram = Histogram([1.0])
    lines = []

    def handler(frame, event, _):
        if not frame.f_code.co_filename.endswith("histogram.py"):
            return None
        if event == "line":
            sys.settrace(None)
            lines.append(frame.f_lineno)
            histogram.observe(0.5)
            sys.settrace(handler)
        return handler

    def work():
        sys.settrace(handler)
        histogram.observe(0.5)
        histogram.sample()
        sys.settrace(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for what it interrupted"
    assert len(set(lines)) > 3
    sample = histogram.sample()
    assert (sample.count, sample.sum) == (len(lines) + 1, 0.5 * (len(lines) + 1))


def test_threads_lose_no_observation_and_no_sample_is_torn(switch_often):
    histogram = Histogram([1.0])
    torn = []

    def observe():
        for _ in range(5000):
            histogram.observe(0.5)

    def sample():
        for _ in range(2000):
            taken = histogram.sample()
            if taken.sum != 0.5 * taken.count:
                torn.append(taken)

    threads = [threading.Thread(target=work) for work in (observe, observe, sample)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert torn == []
    assert histogram.sample().count == 10_000


def test_children_forked_while_threads_observe_can_observe(switch_often):
    histogram, stop = Histogram([1.0]), threading.Event()

    def observe():
        while not stop.is_set():
            histogram.observe(0.5)
            histogram.sample()

    def story():
        before = histogram.sample()
        histogram.observe(0.5)
        return histogram.sample().count - before.count, before.sum == 0.5 * before.count

    threads = [threading.Thread(target=observe) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        answers = {in_forked_child(story) for _ in range(10)}
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert answers == {(1, True)}
