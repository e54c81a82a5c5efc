from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from leakwarden.core.errors import LimitExceeded
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.files import Files, StaleHandle
from waiting import wait_until


@pytest.fixture
def files(clock):
    return Files(ResourceSettings(limit=2, ttl_seconds=300.0), clock)


@pytest.fixture
def fifo(tmp_path):
    """Opening it for reading blocks until `end_opening` opens it for writing."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def end_opening(fifo):
    os.close(os.open(fifo, os.O_WRONLY))


def descriptors_at(path):
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(entry.readlink())
        except FileNotFoundError:
            continue
    return links.count(path)


def test_a_file_is_written_and_read_with_await(files, tmp_path):
    async def story():
        async with files.aopen(tmp_path / "a", "w", encoding="utf-8") as file:
            assert await file.write("one\ntwo\n") == 8
            await file.flush()
            assert (file.name, file.closed) == (str(tmp_path / "a"), False)
        assert file.closed
        async with files.aopen(tmp_path / "a", encoding="utf-8") as file:
            assert await file.readline() == "one\n"
            assert [line async for line in file] == ["two\n"]

    asyncio.run(story())
    assert files.usage().in_use == 0


def test_all_io_happens_off_the_loops_thread(files, tmp_path):
    threads = []

    def opener(path, flags):
        threads.append(threading.current_thread())
        return os.open(path, flags)

    async def story():
        file = await files.aopen(tmp_path / "a", "w", opener=opener)
        await file.close()

    asyncio.run(story())
    assert threads != [threading.main_thread()]


def test_an_awaited_file_is_idle_and_pinned_only_once_entered(files, tmp_path):
    async def story():
        file = await files.aopen(tmp_path / "a", "w")
        assert files.usage().active == 0
        async with file:
            assert files.usage().active == 1

    asyncio.run(story())
    assert files.usage().in_use == 0


def test_the_site_is_the_line_that_called_aopen_even_inside_wait_for(files, tmp_path):
    async def story():
        file = await asyncio.wait_for(files.aopen(tmp_path / "a", "w"), 10)
        line = sys._getframe().f_lineno - 1
        (info,) = files.leases()
        assert (Path(info.file).name, info.line) == ("test_files_async.py", line)
        await file.close()

    asyncio.run(story())


def test_at_the_limit_nothing_is_opened(files, tmp_path):
    async def story():
        async with files.aopen(tmp_path / "a", "w"), files.aopen(tmp_path / "b", "w"):
            with pytest.raises(LimitExceeded):
                files.aopen(tmp_path / "c", "w")

    asyncio.run(story())
    assert not (tmp_path / "c").exists()


def test_an_open_that_fails_leaves_no_lease(files, tmp_path):
    async def story():
        with pytest.raises(FileNotFoundError):
            await files.aopen(tmp_path / "none")

    asyncio.run(story())
    assert files.usage().in_use == 0


def test_a_cancelled_open_closes_what_it_got_and_leaves_no_lease(files, fifo):
    async def story():
        opening = asyncio.ensure_future(files.aopen(fifo)._open())
        await asyncio.to_thread(wait_until, lambda: files.usage().active)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert files.usage().in_use == 1  # the thread is still at it: not leaked, not hidden
        end_opening(fifo)

    asyncio.run(story())
    wait_until(lambda: files.usage().in_use == 0)
    assert descriptors_at(fifo) == 0
    assert files.usage().closed_total["released"] == 1


def test_a_cancelled_open_that_fails_leaves_no_lease(files, tmp_path):
    entered, gate = threading.Event(), threading.Event()

    def opener(path, flags):
        entered.set()
        assert gate.wait(10)
        return os.open(path, flags)

    async def story():
        opening = asyncio.ensure_future(files.aopen(tmp_path / "no", opener=opener)._open())
        await asyncio.to_thread(wait_until, entered.is_set)
        opening.cancel()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(story())
    assert files.usage().in_use == 0


def test_an_open_cancelled_before_its_thread_began_opens_nothing(files, tmp_path):
    async def story():
        loop = asyncio.get_running_loop()
        gate = threading.Event()
        busy = [loop.run_in_executor(None, gate.wait, 10) for _ in range(64)]
        opening = asyncio.ensure_future(files.aopen(tmp_path / "a", "w")._open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert files.usage().in_use == 0
        gate.set()
        await asyncio.gather(*busy)

    asyncio.run(story())
    assert not (tmp_path / "a").exists()


def test_a_cancelled_close_still_closes(files, tmp_path):
    async def story():
        loop = asyncio.get_running_loop()
        file = await files.aopen(tmp_path / "a", "w")
        gate = threading.Event()
        busy = [loop.run_in_executor(None, gate.wait, 10) for _ in range(64)]
        closing = asyncio.ensure_future(file.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        gate.set()
        await asyncio.gather(*busy)

    asyncio.run(story())
    assert files.usage().in_use == 0
    assert descriptors_at(tmp_path / "a") == 0


def test_use_after_a_cleanup_is_a_stale_handle(files, tmp_path, clock):
    async def story():
        file = await files.aopen(tmp_path / "a", "w")
        clock.advance(300)
        assert files.close_stale() == 1
        with pytest.raises(StaleHandle, match="test_files_async"):
            await file.write("late")

    asyncio.run(story())


def test_what_a_cleanup_closed_before_it_was_opened_is_a_stale_handle(files, tmp_path, clock):
    async def story():
        opening = files.aopen(tmp_path / "a", "w")
        clock.advance(300)
        assert files.close_stale() == 1
        with pytest.raises(StaleHandle, match="test_files_async"):
            await opening

    asyncio.run(story())
    assert not (tmp_path / "a").exists()
    assert (files.usage().in_use, files.usage().release_failures_total) == (0, 0)
