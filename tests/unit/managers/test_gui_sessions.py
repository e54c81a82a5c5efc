from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from forking import in_forked_child
from leakwarden.core.errors import ConfigError, LimitExceeded
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.gui_sessions import GuiSessions
from leakwarden.managers.stale import StaleHandle
from waiting import wait_until

TTL = 120.0


@pytest.fixture
def sessions(clock):
    return GuiSessions(ResourceSettings(limit=2, ttl_seconds=TTL), clock)


@pytest.fixture
def start():
    """A worker is a child that lives until its standard input ends."""
    workers = []

    def start():
        worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait(10)
        worker.stdin.close()


def end(worker):
    worker.terminate()
    worker.wait(10)


def test_a_session_is_idle_until_it_is_entered_and_active_inside(sessions, start):
    session = sessions.open(start())
    assert (sessions.usage().in_use, sessions.usage().active) == (1, 0)
    with session as same:
        assert same is session
        assert sessions.usage().active == 1
    assert sessions.usage().in_use == 0


def test_the_owners_close_ends_no_worker_and_is_true_once(sessions, start):
    worker = start()
    session = sessions.open(worker, on_release=end)
    assert session.close() is True
    assert session.close() is False
    assert worker.poll() is None
    assert sessions.usage().closed_total["released"] == 1


def test_a_third_of_two_is_refused(sessions, start):
    worker = start()
    sessions.open(worker)
    sessions.open(worker)
    with pytest.raises(LimitExceeded, match="pyautogui_session"):
        sessions.open(worker)


def test_a_stale_session_is_closed_by_its_on_release_off_the_callers_thread(sessions, start, clock):
    worker, threads = start(), []

    def release(given):
        assert given is worker
        threads.append(threading.current_thread())
        end(given)

    session = sessions.open(worker, on_release=release)
    clock.advance(TTL)
    assert sessions.usage().stale == 1
    assert sessions.close_stale() == 1
    assert worker.poll() is not None
    assert threads != [threading.current_thread()]
    assert sessions.usage().closed_total["cleanup"] == 1
    assert session.touch() is False


def test_a_session_without_on_release_is_only_closed(sessions, start, clock):
    worker = start()
    sessions.open(worker)
    clock.advance(TTL)
    assert sessions.close_stale() == 1
    assert worker.poll() is None


def test_touch_begins_the_time_to_live_again(sessions, start, clock):
    session = sessions.open(start())
    clock.advance(TTL - 1)
    assert session.touch() is True
    clock.advance(TTL - 1)
    assert sessions.close_stale() == 0


def test_an_active_session_is_never_stale(sessions, start, clock):
    with sessions.open(start(), on_release=end) as session:
        clock.advance(10 * TTL)
        assert (sessions.usage().stale, sessions.usage().pinned) == (0, 1)
        assert sessions.close_stale() == 0
        assert session.worker.poll() is None


def test_a_session_that_was_dropped_is_still_ended_by_a_cleanup(sessions, start, clock):
    worker = start()
    sessions.open(worker, on_release=end)
    clock.advance(TTL)
    assert sessions.close_stale() == 1
    assert worker.poll() is not None


def test_entering_what_a_cleanup_has_closed_names_the_users_line(sessions, start, clock):
    session = sessions.open(start())
    clock.advance(TTL)
    sessions.close_stale()
    with pytest.raises(StaleHandle, match=r"pyautogui_session .*test_gui_sessions\.py"):
        session.__enter__()


def test_reap_closes_those_whose_worker_died_in_use_or_not(sessions, start):
    dead, alive = start(), start()
    with sessions.open(dead, on_release=end):
        sessions.open(alive)
        assert sessions.reap() == 0
        dead.stdin.write(b"\n")
        dead.stdin.flush()
        wait_until(lambda: sessions.reap() == 1)
        assert sessions.usage().in_use == 1
    usage = sessions.usage()
    assert (usage.closed_total["owner_died"], usage.closed_total["released"]) == (1, 0)


def test_reap_runs_no_on_release(sessions):
    ran = []
    sessions.open(object(), on_release=ran.append, alive=lambda: False)
    assert sessions.reap() == 1
    assert ran == []


def test_a_worker_that_cannot_be_asked_is_taken_to_live(sessions):
    sessions.open(object())
    assert sessions.reap() == 0


def test_an_alive_that_raises_rises_after_the_others_were_reaped(sessions):
    def broken():
        raise OSError("no display")

    sessions.open(object(), alive=broken)
    sessions.open(object(), alive=lambda: False)
    with pytest.raises(OSError, match="no display"):
        sessions.reap()
    assert sessions.usage().in_use == 1


def test_an_on_release_that_raises_leaves_the_session_open_and_counted(sessions, clock):
    def broken(_):
        raise OSError("will not die")

    sessions.open(object(), on_release=broken)
    clock.advance(TTL)
    assert sessions.close_stale() == 0
    usage = sessions.usage()
    assert (usage.in_use, usage.release_failures_total) == (1, 1)


def test_what_has_ended_is_not_kept(sessions, clock):
    for _ in range(3):
        sessions.open(object()).close()
        sessions.open(object(), alive=lambda: False)
        sessions.reap()
        sessions.open(object())
        clock.advance(TTL)
        sessions.close_stale()
    assert sessions._sessions == {}


def test_the_site_is_the_line_that_opened_it(sessions):
    line = sys._getframe().f_lineno + 1
    sessions.open(object())
    assert sessions.leases()[0].line == line


def test_evict_oldest_is_refused_for_sessions(clock):
    with pytest.raises(ConfigError, match="pyautogui_session"):
        GuiSessions(ResourceSettings(limit=1, overflow="evict_oldest"), clock)


def test_a_forked_child_keeps_none_of_its_parents_sessions_and_asks_no_worker(sessions):
    asked = []
    sessions.open(object(), alive=lambda: asked.append(1) is None)
    assert in_forked_child(lambda: (sessions.reap(), sessions.usage().in_use, asked)) == (0, 0, [])
    assert (sessions.reap(), asked) == (0, [1])
