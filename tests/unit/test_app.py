"""The Warden: one snapshot of everything, each source by itself, and the scheduled sweep."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace

import pytest

from leakwarden import ConfigError, LimitExceeded, Settings, Warden
from leakwarden.core.errors import Refused
from leakwarden.core.resource import ResourceSettings
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
