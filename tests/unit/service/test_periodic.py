from __future__ import annotations

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakwarden.core.errors import ConfigError
from leakwarden.service.periodic import Job, Periodic, next_due
from waiting import wait_until

times = st.floats(min_value=0, max_value=1e6)
intervals = st.floats(min_value=0.01, max_value=1e4)


@given(due=times, interval=intervals, late=times)
def test_the_next_time_is_after_now_and_at_most_one_interval_away(due, interval, late):
    now = due + late
    following = next_due(due, interval, now)
    slack = 1e-6 * max(1.0, now)
    assert now - slack <= following <= now + interval + slack


def test_a_run_that_begins_late_does_not_push_the_later_ones():
    assert next_due(10.0, 5.0, 10.0) == 15.0
    assert next_due(10.0, 5.0, 13.9) == 15.0


def test_missed_times_are_not_made_up_for():
    assert next_due(10.0, 5.0, 15.0) == 20.0
    assert next_due(10.0, 5.0, 31.0) == 35.0


def test_a_clock_that_runs_back_does_not_bring_a_run_forward():
    assert next_due(10.0, 5.0, 3.0) == 15.0


def test_jobs_run_again_and_again_on_one_thread_of_the_stated_name():
    names, runs = set(), {"a": 0, "b": 0}

    def work(job):
        names.add(threading.current_thread().name)
        runs[job] += 1

    periodic = Periodic(
        [Job("a", 0.01, lambda: work("a")), Job("b", 0.02, lambda: work("b"), at_start=True)]
    )
    periodic.start()
    wait_until(lambda: runs["a"] >= 3 and runs["b"] >= 3)
    assert periodic.stop()
    assert names == {"leakwarden-periodic"}


def test_a_job_at_start_runs_at_once_and_the_others_wait_for_their_interval():
    ran = []
    at_start = threading.Event()
    periodic = Periodic(
        [
            Job("later", 3600, lambda: ran.append("later")),
            Job("first", 3600, lambda: (ran.append("first"), at_start.set()), at_start=True),
        ]
    )
    periodic.start()
    assert at_start.wait(10)
    assert periodic.stop()
    assert ran == ["first"]


def test_a_job_that_raises_is_counted_and_the_others_go_on(caplog):
    runs = []

    def broken():
        raise OSError("no space left")

    periodic = Periodic([Job("broken", 0.01, broken), Job("good", 0.01, lambda: runs.append(1))])
    with caplog.at_level(logging.ERROR):
        periodic.start()
        wait_until(lambda: len(runs) >= 5 and periodic.failures()["broken"] >= 5)
        assert periodic.stop()
    assert periodic.failures()["good"] == 0
    assert len(caplog.records) == 1, "a failure that repeats is logged once a minute"
    assert "job=broken" in caplog.text


def test_stop_waits_for_the_job_that_runs_and_begins_no_other():
    running, finish, ran = threading.Event(), threading.Event(), []

    def slow():
        running.set()
        finish.wait(10)
        ran.append("slow")

    periodic = Periodic(
        [
            Job("slow", 0.01, slow, at_start=True),
            Job("next", 0.01, lambda: ran.append("next"), at_start=True),
        ]
    )
    periodic.start()
    assert running.wait(10)
    assert periodic.stop(seconds=0.05) is False, "it says that the job still runs"
    finish.set()
    assert periodic.stop() is True
    assert ran == ["slow"]


def test_stopping_what_never_started_is_harmless():
    assert Periodic([Job("a", 1, lambda: None)]).stop()


@pytest.mark.parametrize("interval", [0, -1, float("inf"), float("nan")])
def test_an_interval_that_cannot_be_kept_is_refused(interval):
    with pytest.raises(ConfigError, match="cannot run"):
        Periodic([Job("a", interval, lambda: None)])


def test_two_jobs_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="cannot run"):
        Periodic([Job("a", 1, lambda: None), Job("a", 2, lambda: None)])
