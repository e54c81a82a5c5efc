"""Process figures: what /proc says, what a count from outside says, what psutil says."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path

import psutil
import pytest

from leakwarden.monitors.process import ProcessMonitor, sample_with_psutil

# A process of the name "a) b", which has used 150 + 50 ticks, with 7 threads.
STAT = "4242 (a) b) S 1 4242 4242 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 7 0 3000 81920 5 0\n"
STATM = "20 5 4 1 0 9 0\n"
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max open files            1024                 524288               files
Max address space         8589934592           unlimited            bytes
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    process = tmp_path / "self"
    (process / "fd").mkdir(parents=True)
    (tmp_path / "stat").write_text("cpu  1 2 3\nbtime 1700000000\nprocesses 5\n")
    (process / "stat").write_text(STAT)
    (process / "statm").write_text(STATM)
    (process / "limits").write_text(LIMITS)
    # Three descriptors, and the fourth that a listing of a real one finds: its own.
    for descriptor in range(4):
        (process / "fd" / str(descriptor)).touch()
    return tmp_path


def test_every_figure_is_read_from_proc(proc: Path) -> None:
    sample = ProcessMonitor(proc).sample()
    tick, page = 1 / os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    assert sample.cpu_seconds_total == pytest.approx(200 * tick)
    assert sample.resident_memory_bytes == 5 * page
    assert sample.virtual_memory_bytes == 20 * page
    assert sample.virtual_memory_max_bytes == 8_589_934_592
    assert sample.open_fds == 3
    assert sample.max_fds == 1024
    assert sample.threads == 7
    assert sample.start_time_seconds == pytest.approx(1_700_000_000 + 3000 * tick)


def test_a_line_missing_from_limits_is_no_limit(proc: Path) -> None:
    (proc / "self" / "limits").write_text("Limit   Soft Limit\nMax cpu time   unlimited\n")
    sample = ProcessMonitor(proc).sample()
    assert sample.max_fds is None
    assert sample.virtual_memory_max_bytes is None
    assert sample.threads == 7


def test_an_unlimited_resource_has_no_limit(proc: Path) -> None:
    text = LIMITS.replace("1024 ", "unlimited").replace("8589934592", "unlimited ")
    (proc / "self" / "limits").write_text(text)
    sample = ProcessMonitor(proc).sample()
    assert sample.max_fds is None
    assert sample.virtual_memory_max_bytes is None


def test_without_proc_every_figure_is_absent_and_none_is_zero(tmp_path: Path) -> None:
    assert set(astuple(ProcessMonitor(tmp_path).sample())) == {None}


def test_open_descriptors_equal_a_recount_from_outside() -> None:
    count_mine = "import os, sys; print(len(os.listdir(f'/proc/{sys.argv[1]}/fd')))"
    monitor = ProcessMonitor()
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.socket())
        with subprocess.Popen(
            [sys.executable, "-c", count_mine, str(os.getpid())], stdout=subprocess.PIPE
        ) as child:
            counted_here = monitor.sample().open_fds
            assert child.stdout is not None
            assert int(child.stdout.read()) == counted_here


def test_threads_are_counted_by_the_operating_system() -> None:
    monitor = ProcessMonitor()
    before = monitor.sample().threads
    let_go = threading.Event()
    threads = [threading.Thread(target=let_go.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    during = monitor.sample().threads
    let_go.set()
    for thread in threads:
        thread.join()
    assert before is not None
    assert during == before + 5


def test_a_child_after_fork_measures_itself() -> None:
    monitor = ProcessMonitor()
    mine = monitor.sample()
    ballast = bytearray(8 * 2**20)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        more = [os.dup(writing) for _ in range(10)]
        sample = monitor.sample()
        os.write(writing, f"{sample.open_fds} {sample.start_time_seconds}".encode())
        os._exit(0 if more and ballast else 1)
    os.waitpid(child, 0)
    open_fds, start = os.read(reading, 100).split()
    os.close(reading)
    os.close(writing)
    assert mine.open_fds is not None
    assert int(open_fds) == mine.open_fds + 12
    assert mine.start_time_seconds is not None
    assert float(start) >= mine.start_time_seconds


def test_both_readers_give_the_same_figures() -> None:
    # The first use of psutil opens what it then keeps.
    sample_with_psutil()
    ours, theirs = ProcessMonitor().sample(), sample_with_psutil()
    assert ours.max_fds == theirs.max_fds == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert ours.virtual_memory_max_bytes == theirs.virtual_memory_max_bytes
    assert ours.threads == theirs.threads
    # On Linux psutil counts the descriptor that its listing opens; elsewhere it does not list.
    assert ours.open_fds is not None
    assert ours.open_fds + 1 == theirs.open_fds
    for mine, other, slack in (
        (ours.cpu_seconds_total, theirs.cpu_seconds_total, 1.0),
        (ours.start_time_seconds, theirs.start_time_seconds, 1.0),
        (ours.resident_memory_bytes, theirs.resident_memory_bytes, 2**22),
        (ours.virtual_memory_bytes, theirs.virtual_memory_bytes, 2**24),
    ):
        assert mine is not None
        assert other is not None
        assert abs(mine - other) <= slack


def test_the_start_is_in_the_past_and_cpu_time_only_rises() -> None:
    monitor = ProcessMonitor()
    first = monitor.sample()
    deadline = time.process_time() + 0.05
    while time.process_time() < deadline:
        pass
    second = monitor.sample()
    assert first.cpu_seconds_total is not None
    assert second.cpu_seconds_total is not None
    assert second.cpu_seconds_total > first.cpu_seconds_total
    assert first.start_time_seconds == second.start_time_seconds
    assert first.start_time_seconds is not None
    assert first.start_time_seconds <= time.time()
    assert first.start_time_seconds == pytest.approx(psutil.Process().create_time(), abs=1.0)
