from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from forking import in_forked_child
from leakwarden.core.errors import ConfigError, LimitExceeded
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.files import Files, StaleHandle
from reentering import work_inside_the_ledger
from waiting import wait_until

TTL = 300.0


@pytest.fixture
def files(clock):
    return Files(ResourceSettings(limit=5, ttl_seconds=TTL), clock)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    return path


def open_descriptors(path):
    """How many descriptors of this process stand at `path`, as the kernel tells."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += entry.readlink() == path
        except FileNotFoundError:
            continue
    return found


def test_two_opens_of_one_path_are_two_leases(files, path):
    with files.open(path), files.open(path):
        assert files.usage().in_use == 2
    assert files.usage().in_use == 0


def test_at_the_limit_nothing_is_opened_created_or_truncated(files, path, tmp_path):
    held = [files.open(path) for _ in range(5)]
    with pytest.raises(LimitExceeded):
        files.open(path, "w")
    with pytest.raises(LimitExceeded):
        files.open(tmp_path / "new", "x")
    assert path.read_text(encoding="utf-8") == "one\ntwo\n"
    assert not (tmp_path / "new").exists()
    assert open_descriptors(path) == 5
    assert (files.usage().in_use, files.usage().rejected_total) == (5, 2)
    for file in held:
        file.close()


@pytest.mark.parametrize(
    ("name", "mode", "error"), [("none", "r", FileNotFoundError), ("a.txt", "zz", ValueError)]
)
def test_an_open_that_fails_leaves_no_lease(files, path, name, mode, error):
    with pytest.raises(error):
        files.open(path.parent / name, mode)
    usage = files.usage()
    assert (usage.in_use, usage.closed_total["released"]) == (0, 1)


def test_close_gives_back_the_lease_once_and_is_harmless_again(files, path):
    file = files.open(path)
    file.close()
    file.close()
    assert file.closed
    usage = files.usage()
    assert (usage.in_use, usage.closed_total["released"]) == (0, 1)
    with pytest.raises(ValueError, match="closed file"):
        file.read()


def test_a_text_file_offers_what_pythons_own_does(files, path):
    with files.open(path, "r+", encoding="utf-8", newline="\n") as file:
        assert (file.name, file.mode, file.encoding, file.closed) == (
            str(path),
            "r+",
            "utf-8",
            False,
        )
        assert file.readline() == "one\n"
        assert file.readable()
        assert file.writable()
        assert file.seek(0) == 0
        assert list(file) == ["one\n", "two\n"]
        assert file.seek(0, io.SEEK_END) == 8
        assert file.write("three\n") == 6
        file.writelines(["four\n"])
        file.flush()
        assert file.tell() == 19
        assert file.truncate(3) == 3
        file.seek(0)
        assert file.readlines() == ["one"]


@pytest.mark.parametrize("buffering", [0, -1, 64])
def test_a_binary_file_is_read_with_any_buffering(files, path, buffering):
    with files.open(path, "rb", buffering=buffering) as file:
        into = bytearray(3)
        assert file.readinto(into) == 3
        assert bytes(into) + file.read() == b"one\ntwo\n"


def test_the_standard_library_takes_it_for_a_file(files, tmp_path):
    with files.open(tmp_path / "j", "w") as file:
        json.dump({"a": 1}, file)
    with files.open(tmp_path / "j") as file:
        assert json.load(file) == {"a": 1}
    with files.open(tmp_path / "c", "w", newline="") as file:
        csv.writer(file).writerows([["a", "b"], ["1", "2"]])
    with files.open(tmp_path / "c", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["1", "2"]]
    with files.open(tmp_path / "p", "wb") as file:
        pickle.dump({"b": [2]}, file)
    with files.open(tmp_path / "p", "rb") as file:
        assert pickle.load(file) == {"b": [2]}
    with files.open(tmp_path / "p", "rb") as source, files.open(tmp_path / "q", "wb") as target:
        shutil.copyfileobj(source, target)
    assert (tmp_path / "q").read_bytes() == (tmp_path / "p").read_bytes()
    with files.open(tmp_path / "o", "w") as file:
        print("from print", file=file)
        file.flush()
        subprocess.run([sys.executable, "-c", "print('from a child')"], stdout=file, check=True)
    assert (tmp_path / "o").read_text(encoding="utf-8") == "from print\nfrom a child\n"


def test_an_idle_file_is_flushed_and_closed_exactly_at_its_ttl(files, tmp_path, clock):
    file = files.open(tmp_path / "b", "w")
    file.write("kept")
    clock.advance(TTL - 0.001)
    assert files.close_stale() == 0
    clock.advance(0.001)
    assert files.close_stale() == 1
    assert (tmp_path / "b").read_text(encoding="utf-8") == "kept"
    assert open_descriptors(tmp_path / "b") == 0
    assert file.closed
    assert files.usage().closed_total["cleanup"] == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda file: file.read(),
        lambda file: file.write("x"),
        next,
        lambda file: file.fileno(),
        lambda file: file.__enter__(),
        lambda file: file.buffer,
        lambda file: file.detach(),
    ],
)
def test_use_after_a_cleanup_names_the_users_line_and_the_age(files, path, clock, use):
    file = files.open(path, "r+")
    line = sys._getframe().f_lineno - 1
    clock.advance(TTL)
    files.close_stale()
    clock.advance(50)
    with pytest.raises(StaleHandle, match=rf"300\.0 s; .*test_files\.py:{line} in ") as caught:
        use(file)
    assert caught.value.age_seconds == TTL
    assert "with statement" in caught.value.hint


def test_closing_what_a_cleanup_has_closed_is_harmless(files, path, clock):
    file = files.open(path)
    clock.advance(TTL)
    files.close_stale()
    file.close()
    assert files.usage().closed_total["released"] == 0


@pytest.mark.parametrize(
    "use",
    [lambda file: file.read(1), lambda file: file.write("x"), next, lambda file: file.seek(0)],
)
def test_each_io_call_begins_the_time_to_live_again(files, path, clock, use):
    file = files.open(path, "r+")
    clock.advance(TTL - 1)
    use(file)
    clock.advance(TTL - 1)
    assert files.close_stale() == 0
    assert files.leases()[0].idle_seconds == TTL - 1
    file.close()


def test_inside_a_with_it_is_pinned_at_any_age_and_touched_by_its_io(files, path, clock):
    with files.open(path) as file:
        clock.advance(10 * TTL)
        usage = files.usage()
        assert (usage.stale, usage.pinned, usage.oldest_idle_seconds) == (0, 1, None)
        assert files.close_stale() == 0
        assert file.read() == "one\ntwo\n"
        assert files.leases()[0].idle_seconds == 0


@pytest.mark.parametrize("give", [lambda file: file.fileno(), lambda file: file.buffer])
def test_a_file_whose_descriptor_was_given_out_is_pinned_until_it_is_closed(
    files, path, clock, give
):
    file = files.open(path)
    give(file)
    clock.advance(10 * TTL)
    assert (files.usage().pinned, files.close_stale()) == (1, 0)
    file.close()
    assert files.usage().in_use == 0


def test_detach_hands_the_buffer_over_and_ends_the_lease(files, path):
    file = files.open(path)
    with file.detach() as buffer:
        assert files.usage().in_use == 0
        assert buffer.read() == b"one\ntwo\n"


def test_a_file_inside_an_io_call_is_never_closed(files, tmp_path, clock):
    os.mkfifo(tmp_path / "fifo")
    opener = threading.Thread(
        target=lambda: writers.append(os.open(tmp_path / "fifo", os.O_WRONLY))
    )
    writers = []
    opener.start()
    file = files.open(tmp_path / "fifo", "rb", buffering=0)
    opener.join(10)
    got = []
    reader = threading.Thread(target=lambda: got.append(file.read(4)))
    reader.start()
    wait_until(lambda: files.usage().active == 1)
    clock.advance(10 * TTL)
    assert (files.usage().stale, files.close_stale()) == (0, 0)
    os.write(writers[0], b"data")
    reader.join(10)
    assert got == [b"data"]
    assert files.usage().active == 0
    os.close(writers[0])
    file.close()


def test_a_blocked_read_does_not_keep_another_thread_from_the_file(files, clock):
    ours, theirs = os.openpty()
    file = files.open(theirs, "r+b", buffering=0)
    reader = threading.Thread(target=lambda: file.read(10))
    reader.start()
    wait_until(lambda: files.usage().active == 1)
    assert file.write(b"x") == 1
    os.write(ours, b"line\n")
    reader.join(10)
    assert not reader.is_alive()
    os.close(ours)
    file.close()


def test_a_failing_flush_keeps_the_file_open_and_is_counted(files, clock):
    file = files.open("/dev/full", "w")
    file.write("lost?")
    clock.advance(TTL)
    assert files.close_stale() == 0
    usage = files.usage()
    assert (usage.in_use, usage.stale, usage.release_failures_total) == (1, 1, 1)
    assert not file.closed
    with pytest.raises(OSError, match="No space"):
        file.close()
    assert (file.closed, files.usage().in_use) == (True, 0)


@pytest.mark.parametrize(
    "use",
    [
        lambda file: file.read(),
        lambda file: file.__enter__(),
        lambda file: file.fileno(),
        lambda file: file.buffer,
    ],
)
def test_what_a_cleanup_has_taken_is_refused_and_closed_without_a_failure(files, path, clock, use):
    file = files.open(path)
    clock.advance(TTL)
    (lease,) = files.ledger.take_stale(clock())  # as a cleanup does, just before the use
    with pytest.raises(StaleHandle):
        use(file)
    file.close_idle()
    files.ledger.release(lease, "cleanup")
    usage = files.usage()
    assert (file.closed, usage.in_use, usage.pinned, usage.release_failures_total) == (
        True,
        0,
        0,
        0,
    )


def test_a_file_whose_flush_failed_can_be_used_and_is_counted_right_afterwards(files, clock):
    file = files.open("/dev/full", "w")
    file.write("lost?")
    clock.advance(TTL)
    files.close_stale()
    assert file.write("!") == 1
    assert (file.lease.pins, files.usage().stale, files.usage().active) == (0, 0, 0)
    with pytest.raises(OSError, match="No space"):
        file.close()


def test_a_thread_that_uses_a_file_blocks_no_one_who_holds_the_ledger(files, tmp_path):
    file = files.open(tmp_path / "a", "w")
    work_inside_the_ledger(
        files.ledger,
        lambda: file.write("thread"),
        lambda: (file.write("handler"), file.fileno()),
    )
    file.close()
    assert (tmp_path / "a").stat().st_size == len("threadhandler")


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("number", range(4))
def test_a_handler_that_raises_as_a_pin_begins_or_ends_leaves_nothing_pinned(
    files, path, clock, number
):
    file = files.open(path)
    events = []

    def interrupt(frame, event, _):
        if frame.f_code is not Ledger.pin.__code__:
            return None
        if event != "line":
            events.append(event)
            if len(events) == number + 1:
                raise Interrupted
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        file.read()
    except Interrupted:
        pass
    finally:
        sys.settrace(before)
    assert len(events) > number
    assert (file.lease.pins, files.usage().active) == (0, 0)
    clock.advance(TTL)
    assert files.close_stale() == 1


def test_an_io_call_that_raises_leaves_nothing_pinned(files, path):
    file = files.open(path)
    with pytest.raises(OSError, match="not writable"):
        file.write("x")
    assert (file.lease.pins, files.usage().active) == (0, 0)
    file.close()


def test_a_forked_child_uses_its_parents_file_unaccounted(files, tmp_path):
    file = files.open(tmp_path / "a", "w")

    def story():
        file.write("child")
        with file:
            pass
        return file.closed, files.usage().in_use

    assert in_forked_child(story) == (True, 0)
    file.close()
    assert (tmp_path / "a").read_text(encoding="utf-8") == "child"


def test_a_file_dropped_unreleased_is_closed_by_python_and_counted_as_finalizer(files, path):
    file = files.open(path)
    with pytest.warns(ResourceWarning):
        del file
    usage = files.usage()
    assert (usage.in_use, usage.closed_total["finalizer"]) == (0, 1)
    assert open_descriptors(path) == 0


def test_the_site_is_the_line_that_opened_it(files, path):
    with files.open(path):
        line = sys._getframe().f_lineno - 1
        (info,) = files.leases()
    assert (Path(info.file).name, info.line) == ("test_files.py", line)
    assert info.function.endswith("test_the_site_is_the_line_that_opened_it")


def test_a_signal_handler_may_write_the_file_that_it_interrupts(files, tmp_path):
    written = []
    with files.open(tmp_path / "log", "ab", buffering=0) as file:

        def handler(*_):
            written.append(file.write(b"handler\n"))

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            for _ in range(200):
                signal.raise_signal(signal.SIGUSR1)
                file.write(b"main\n")
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert written == [8] * 200
    assert (tmp_path / "log").read_bytes().count(b"\n") == 400


def test_threads_that_open_use_and_drop_leave_the_accounts_at_nothing(clock, tmp_path):
    files = Files(ResourceSettings(limit=20, ttl_seconds=TTL), clock)

    def work(number):
        for _ in range(100):
            with files.open(tmp_path / str(number), "a") as file:
                file.write("x")
            file = files.open(tmp_path / str(number), "rb")
            file.read(1)
            file.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    usage = files.usage()
    assert (usage.in_use, usage.active, usage.opened_total) == (0, 0, 1600)
    assert usage.closed_total["released"] == 1600


def test_a_name_it_does_not_know_is_an_attribute_error_of_the_file(files, path):
    with files.open(path) as file:
        assert not hasattr(file, "nothing")
        assert not hasattr(file, "_private")
        assert "a.txt" in repr(file)


def test_evict_oldest_is_refused_for_files(clock):
    with pytest.raises(ConfigError, match="file_handle"):
        Files(ResourceSettings(limit=1, overflow="evict_oldest"), clock)


def test_a_cleanup_racing_with_its_users_loses_no_write_and_closes_nothing_in_use(tmp_path):
    # Everything is stale at once, so that each use may meet a cleanup at any point of it.
    files = Files(ResourceSettings(limit=20, ttl_seconds=1e-9), time.monotonic)
    done, failures, written = threading.Event(), [], [0] * 4

    def use(number):
        try:
            while not done.is_set():
                file = files.open(tmp_path / str(number), "ab")
                try:
                    for _ in range(5):
                        file.write(b"x")
                        written[number] += 1
                        done.wait(1e-4)  # idle for a moment, for the cleanup to find
                    with file:
                        file.write(b"x")
                        written[number] += 1
                except StaleHandle:
                    pass
                file.close()
        except BaseException as error:
            failures.append(error)

    users = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for user in users:
        user.start()

    def enough():
        files.close_stale()
        return failures or files.usage().closed_total["cleanup"] >= 300

    wait_until(enough, every=0)
    done.set()
    for user in users:
        user.join(10)
    assert failures == []
    assert [(tmp_path / str(number)).stat().st_size for number in range(4)] == written
    usage = files.usage()
    assert (usage.in_use, usage.active) == (0, 0)
