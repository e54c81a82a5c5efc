"""The allocators' books: exact, steady, honest about what they cannot say."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import leakwarden
from leakwarden.monitors.allocator import (
    AllocatorBooks,
    Books,
    _mallinfo_reader,
    check_books_follow,
    parse_pymalloc,
)

SOURCE = Path(leakwarden.__file__).parents[1]

REPORT = b"""Small block threshold = 512, in 32 size classes.

class   size   num pools   blocks in use  avail blocks
-----   ----   ---------   -------------  ------------
    0     16           4            3800           280

# arenas allocated current         =                    2
2 arenas * 1048576 bytes/arena     =            2,097,152

# bytes in allocated blocks        =            1,354,864
# bytes in available blocks        =              287,440
25 unused pools * 16384 bytes      =              409,600
# bytes lost to pool headers       =                4,848
"""

# A known size, allocated and given back by Python objects and by C, in a process of its own.
# `slack` is what pool and page rounding may add; the expected size is the objects' own.
GROWTH = """
import ctypes, gc, sys
from leakwarden.monitors.allocator import AllocatorBooks

books = AllocatorBooks()

def measure(allocate, give_back, expected, slack=65536):
    books.read()  # whatever a first reading keeps, it keeps now
    gc.collect()
    before = books.read().in_use_bytes
    held = allocate()
    grown = books.read().in_use_bytes - before
    give_back(held)
    del held
    gc.collect()
    left = books.read().in_use_bytes - before
    assert abs(grown - expected) <= slack, (grown, expected)
    assert abs(left) <= slack, left

count = 500_000
rounded = 16 * -(-sys.getsizeof(object()) // 16)
measure(lambda: [None] * count, lambda held: held.clear(), 8 * count)
def objects():
    held = [None] * count
    for index in range(count):
        held[index] = object()
    return held
measure(objects, lambda held: held.clear(), count * rounded + 8 * count)
measure(lambda: bytearray(50 * 2**20), lambda held: held.clear(), 50 * 2**20)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def blocks():
    held = [None] * 1000
    for index in range(1000):
        held[index] = libc.malloc(20_000)
    return held
def free(held):
    for block in held:
        libc.free(block)
measure(blocks, free, 1000 * (20_000 + 16) + 8000)
print("measured")
"""


def in_a_fresh_process(program: str, **environment: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_memory_of_a_known_size_is_seen_to_come_and_to_go() -> None:
    assert in_a_fresh_process(GROWTH) == "measured"


def test_it_is_seen_without_pymalloc_too() -> None:
    program = """
from leakwarden.monitors.allocator import AllocatorBooks
read_books = AllocatorBooks().read
books = read_books()
assert books.unreadable_reason is None, books
assert books.by_allocator["pymalloc", "in_use"] == books.by_allocator["pymalloc", "free"] == 0
before = books.in_use_bytes
held = [object() for _ in range(200_000)]
grown = read_books().in_use_bytes - before
# glibc's smallest block is 32 bytes; the list over-allocates by an eighth.
assert 200_000 * 40 <= grown <= 200_000 * 42, grown
print("measured")
"""
    assert in_a_fresh_process(program, PYTHONMALLOC="malloc") == "measured"


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="mimalloc is another allocator from Python 3.13 on"
)
def test_an_allocator_with_books_of_another_form_is_absent_with_a_reason() -> None:
    program = """
from leakwarden.monitors.allocator import AllocatorBooks
print(AllocatorBooks().read())
"""
    assert "no line 'bytes in allocated blocks'" in in_a_fresh_process(
        program, PYTHONMALLOC="mimalloc"
    )


def test_ten_thousand_readings_keep_nothing() -> None:
    books = AllocatorBooks()
    for _ in range(100):
        books.read()
    before = books.read().in_use_bytes
    for _ in range(10_000):
        books.read()
    after = books.read().in_use_bytes
    assert before is not None
    assert after is not None
    # One lost stream is 9 KiB: ten thousand would be 85 MiB.
    assert abs(after - before) < 32_768


def test_threads_read_at_once_and_each_gets_whole_books() -> None:
    books = AllocatorBooks()
    seen: list[Books] = []

    def read_many() -> None:
        seen.extend(books.read() for _ in range(300))

    threads = [threading.Thread(target=read_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1200
    assert all(one.unreadable_reason is None for one in seen)
    assert all((one.in_use_bytes or 0) > 2**20 for one in seen)


def test_both_allocators_say_what_they_hold_and_what_they_keep() -> None:
    books = AllocatorBooks().read()
    assert set(books.by_allocator) == {
        (allocator, state) for allocator in ("pymalloc", "malloc") for state in ("in_use", "free")
    }
    assert books.in_use_bytes == (
        books.by_allocator["pymalloc", "in_use"] + books.by_allocator["malloc", "in_use"]
    )
    assert books.retained_bytes == (
        books.by_allocator["pymalloc", "free"] + books.by_allocator["malloc", "free"]
    )


def test_pymalloc_is_read_by_label_wherever_the_line_stands() -> None:
    expected = (1_354_864, 287_440 + 409_600)
    assert parse_pymalloc(REPORT) == expected
    upside_down = b"\n".join(reversed(REPORT.splitlines()))
    assert parse_pymalloc(upside_down) == expected


@pytest.mark.parametrize(
    "label", ["bytes in allocated blocks", "bytes in available blocks", "unused pools"]
)
def test_a_lost_label_is_a_reason_and_no_zero(label: str) -> None:
    with pytest.raises(Exception, match=f"no line '{label}'"):
        parse_pymalloc(REPORT.replace(label.encode(), b"something else"))


def test_one_allocator_unread_makes_no_sum() -> None:
    books = Books({("pymalloc", "in_use"): 5, ("pymalloc", "free"): 1}, "malloc: no mallinfo")
    assert books.in_use_bytes is None
    assert books.retained_bytes is None


def test_the_older_mallinfo_gives_the_same_figures() -> None:
    library = ctypes.PyDLL(None)
    wide = _mallinfo_reader(ctypes, library.mallinfo2, ctypes.c_size_t)
    narrow = _mallinfo_reader(ctypes, library.mallinfo, ctypes.c_uint)
    (in_use, free), (narrow_in_use, narrow_free) = wide(), narrow()
    assert abs(in_use - narrow_in_use) < 65_536
    assert abs(free - narrow_free) < 65_536


def test_books_that_do_not_follow_malloc_are_refused() -> None:
    with pytest.raises(Exception, match="not glibc's own"):
        check_books_follow(lambda: (1000, 0), lambda size: 4096, lambda block: None)


def test_a_probe_that_finds_no_memory_blames_no_allocator() -> None:
    with pytest.raises(Exception, match="no 16 MiB to be had"):
        check_books_follow(lambda: (1000, 0), lambda size: None, lambda block: None)


def test_a_process_at_its_memory_limit_says_that_this_is_why() -> None:
    program = """
import ctypes, resource
from pathlib import Path
from leakwarden.monitors.allocator import AllocatorBooks
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 8 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
print(AllocatorBooks().read().unreadable_reason)
"""
    reason = in_a_fresh_process(program)
    assert "no 16 MiB to be had" in reason
    assert "preloaded" not in reason


def test_other_threads_run_while_glibc_walks_its_free_blocks() -> None:
    program = """
import ctypes, sys, threading
from leakwarden.monitors.allocator import _open_malloc
read = _open_malloc()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(2000) for _ in range(200_000)]
for block in blocks[::2]:
    libc.free(block)
gate, ran = threading.Lock(), []
gate.acquire()
def other():
    with gate:
        ran.append(True)
thread = threading.Thread(target=other)
thread.start()
# From here on nobody is made to let the GIL go: the other thread runs if a reading lets it.
sys.setswitchinterval(3600)
gate.release()
assert not ran
for _ in range(100):
    read()
print("ran" if ran else "waited")
"""
    assert in_a_fresh_process(program) == "ran"
