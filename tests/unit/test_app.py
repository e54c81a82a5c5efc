"""The Warden: one snapshot of everything, each source by itself, and the scheduled sweep."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from leakwarden import ConfigError, LimitExceeded, Settings, Warden
from leakwarden.core.errors import Refused
from leakwarden.core.resource import ResourceSettings
from leakwarden.service.periodic import Job
from leakwarden.settings import CleanupSettings
from leakwarden.snapshot import Source
from waiting import wait_until


class Session:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def usage(warden: Warden, kind: str):
    return next(usage for usage in warden.snapshot().usages if usage.kind == kind)


def test_a_snapshot_has_every_kind_and_every_source() -> None:
    warden = Warden()
    warden.track("db_session", limit=5)
    snapshot = warden.snapshot()
    kinds = [usage.kind for usage in snapshot.usages]
    assert kinds == [
        *("file_handle", "pyautogui_session", "validation_record", "message_buffer", "db_session")
    ]
    assert [result.collector for result in snapshot.collectors] == ["process", "heap", *kinds]
    assert all(result.error is None for result in snapshot.collectors)
    assert snapshot.process is not None
    assert snapshot.heap is not None


def test_a_source_that_raises_is_absent_and_named_and_the_others_are_there() -> None:
    warden = Warden()

    def broken() -> object:
        raise OSError("no such device")

    warden.add_source(Source("store", "store", broken))
    snapshot = warden.snapshot()
    assert snapshot.store is None
    assert snapshot.heap is not None
    errors = {result.collector: result.error for result in snapshot.collectors if result.error}
    assert errors == {"store": "OSError"}


def test_a_kind_is_tracked_once() -> None:
    warden = Warden()
    warden.track("db_session", limit=1)
    with pytest.raises(ConfigError, match="tracked already"):
        warden.track("db_session", limit=1)
    with pytest.raises(ConfigError, match="reserved"):
        warden.track("heap")


def test_the_settings_of_a_kind_win_over_the_arguments_of_track() -> None:
    resources = {"db_session": ResourceSettings(limit=1)}
    warden = Warden(Settings(resources=resources))
    pool = warden.track("db_session", limit=100)
    held = Session()
    pool.acquire(held)
    with pytest.raises(LimitExceeded):
        pool.acquire(Session())


def test_leases_of_an_unknown_kind_are_refused_with_the_known_ones_named() -> None:
    with pytest.raises(Refused, match="no resource is called") as refused:
        Warden().leases("db_sessions")
    assert "file_handle" in refused.value.hint


def test_leases_of_all_kinds_come_least_recently_touched_first() -> None:
    clock = Clock()
    warden = Warden(clock=clock)
    first, second = warden.track("first"), warden.track("second")
    held = [Session(), Session(), Session()]
    second.acquire(held[0])
    clock.now += 1
    first.acquire(held[1])
    clock.now += 1
    second.acquire(held[2])
    assert [lease.kind for lease in warden.leases()] == ["second", "first", "second"]
    assert [lease.kind for lease in warden.leases(most=2)] == ["second", "first"]


def test_the_sweep_closes_what_is_stale_by_on_release_and_nothing_else() -> None:
    clock = Clock()
    warden = Warden(clock=clock)
    pool = warden.track("db_session", ttl=30.0, on_release=Session.close)
    stale, fresh, pinned = Session(), Session(), Session()
    pool.acquire(stale)
    with pool.lease(pinned):
        clock.now += 30
        pool.acquire(fresh)
        assert usage(warden, "db_session").stale == 1
        assert warden.cleanup.run()["db_session.close_stale"] == 1
        assert (stale.closed, fresh.closed, pinned.closed) == (True, False, False)
    after = usage(warden, "db_session")
    assert (after.in_use, after.closed_total["cleanup"], after.closed_total["released"]) == (
        1,
        1,
        1,
    )


def test_a_close_that_fails_is_logged_with_its_error_and_the_other_steps_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    warden = Warden(clock=clock)

    def refuse(_: object) -> None:
        raise OSError("the peer is gone")

    pool = warden.track("db_session", ttl=30.0, on_release=refuse)
    held = Session()
    pool.acquire(held)
    warden.cleanup.add("broken", lambda: 1 // 0)
    reached: list[int] = []
    warden.cleanup.add("last", lambda: reached.append(1) or 0)
    clock.now += 30
    with caplog.at_level(logging.WARNING):
        done = warden.cleanup.run()
    assert done["db_session.close_stale"] == 0
    assert done["broken"] is None
    assert reached == [1]
    assert "kind=db_session count=1 last_error='OSError: the peer is gone'" in caplog.text
    assert "cleanup.step_failed step=broken" in caplog.text


def test_a_started_warden_sweeps_by_itself_and_sees_what_was_dropped() -> None:
    settings = replace(Settings(), cleanup=CleanupSettings(interval_seconds=0.05))
    with Warden(settings) as warden:
        pool = warden.track("db_session", ttl=0.01, on_release=Session.close)
        held = Session()
        pool.acquire(held)
        wait_until(lambda: held.closed)
        pool.acquire(Session())
        gc.collect()
        wait_until(lambda: usage(warden, "db_session").closed_total["finalizer"] == 1)


def test_a_warden_can_be_started_again_after_it_was_stopped() -> None:
    warden = Warden()
    for _ in range(2):
        warden.start()
        warden.start()
        warden.stop()
        warden.stop()


def test_a_kind_tracked_by_two_threads_at_once_gets_one_pool() -> None:
    for _ in range(50):
        warden = Warden()
        gate = threading.Barrier(2)
        got: list[object] = []

        def track(warden: Warden = warden, gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                got.append(warden.track("same"))  # noqa: B023 - joined below
            except ConfigError:
                got.append(None)  # noqa: B023

        threads = [threading.Thread(target=track) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(one is None for one in got) == 1
        assert [usage.kind for usage in warden.snapshot().usages].count("same") == 1


def test_the_cost_of_a_sweep_is_counted() -> None:
    clock = Clock()
    warden = Warden(clock=clock)
    pool = warden.track("db_session", ttl=30.0)
    held = [Session() for _ in range(20_000)]
    for session in held:
        pool.acquire(session)
    clock.now += 30
    before = warden.snapshot().self_cpu_seconds_total
    spent = time.thread_time()
    warden._sweep()
    spent = time.thread_time() - spent
    after = warden.snapshot().self_cpu_seconds_total
    assert before is not None
    assert after is not None
    assert after - before >= spent * 0.9


def test_a_forked_child_has_an_id_of_its_own_holds_nothing_and_can_be_started() -> None:
    with Warden() as warden:
        pool = warden.track("db_session")
        held = Session()
        pool.acquire(held)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            snapshot = warden.snapshot()
            warden.start()
            names = [thread.name for thread in threading.enumerate()]
            in_use = sum(usage.in_use for usage in snapshot.usages)
            told = f"{snapshot.instance_id} {in_use} {'leakwarden-periodic' in names}"
            os.write(writing, told.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            instance_id, in_use, started = answer.read().split()
        assert os.waitpid(pid, 0)[1] == 0
        assert instance_id != warden.instance_id
        assert (in_use, started) == ("0", "True")


def test_a_started_warden_does_not_keep_the_programs_files_from_being_flushed_at_exit(
    tmp_path: Path,
) -> None:
    program = """
import sys
from leakwarden import Warden

def end(one):
    pass

warden = Warden()
warden.track("thing", ttl=1.0, on_release=end)
warden.start()
file = open(sys.argv[1], "w")
file.write("kept")
"""
    file = tmp_path / "written"
    subprocess.run([sys.executable, "-c", program, str(file)], check=True, timeout=60)
    assert file.read_text() == "kept"


def test_a_warden_may_be_stopped_by_a_job_of_its_own() -> None:
    warden = Warden()
    done = threading.Event()

    def stop() -> None:
        warden.stop()
        done.set()

    warden.add_job(Job("stop", 0.01, stop))
    warden.start()
    assert done.wait(10)
    wait_until(lambda: "leakwarden-periodic" not in {one.name for one in threading.enumerate()})


@pytest.mark.parametrize(
    "wrong",
    [
        *({"limit": 2.5}, {"limit": "5"}, {"limit": True}, {"limit": 0}, {"limit_bytes": 1.5}),
        *({"ttl": "3"}, {"ttl": float("inf")}, {"ttl": float("nan")}, {"ttl": -1.0}),
    ],
)
def test_a_bound_of_the_wrong_type_is_refused_when_it_is_given(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="is"):
        Warden().track("db_session", **wrong)


@pytest.mark.parametrize("kind", ["process", "heap", "messages", "store", "exporter"])
def test_a_kind_cannot_have_the_name_of_a_collector(kind: str) -> None:
    with pytest.raises(ConfigError, match="reserved"):
        Warden().track(kind)
