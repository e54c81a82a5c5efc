"""What the allocators say of themselves: bytes in use and bytes kept free, exact.

Two allocators hold a CPython heap on Linux. pymalloc serves objects of 512 bytes and less from
arenas that it maps itself; glibc's malloc serves everything else. Neither sees the other's
memory, so their figures add up. RSS is no substitute: it keeps what was freed and counts files.

pymalloc prints its books to a C stream and offers no other door. The text is read by label, so
that a line more or less in another Python does no harm, and a label that is gone is a reason,
never a zero. A new Python has to be shown to work here before its figures are believed.

Freed C blocks of about 1 KiB and less stay in a per-thread cache of glibc (at most seven of each
size) and count as in use until they are used again: that, some 200 KiB for a thread that has
freed every size, is the only slack in the figures.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from leakwarden.monitors.samples import Allocator, BookState

_PYMALLOC_LABELS: Mapping[str, re.Pattern[bytes]] = {
    label: re.compile(label.encode() + rb"[^\n=]*=\s*([\d,]+)")
    for label in ("bytes in allocated blocks", "bytes in available blocks", "unused pools")
}

# malloc(3)'s struct mallinfo2; struct mallinfo has the same fields as int.
_MALLINFO_FIELDS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)

# Large enough to stand out from what another thread frees meanwhile; never written to, so free.
_PROBE_BYTES = 16 * 2**20


class _Unreadable(Exception):
    """These books cannot be had; the argument says why, as one clause for people."""


@dataclass(frozen=True, slots=True)
class Books:
    """Bytes by allocator and state at one instant.

    `unreadable_reason` is None where both allocators could be read. Where one could not, its
    figures are missing from `by_allocator` and the two sums are None: a part is not the whole.
    """

    by_allocator: Mapping[tuple[Allocator, BookState], int]
    unreadable_reason: str | None

    @property
    def in_use_bytes(self) -> int | None:
        """Bytes handed out and not yet given back."""
        return self._sum("in_use")

    @property
    def retained_bytes(self) -> int | None:
        """Bytes given back and kept by the allocators, free to be used again."""
        return self._sum("free")

    def _sum(self, wanted: BookState) -> int | None:
        if self.unreadable_reason is not None:
            return None
        return sum(size for (_, state), size in self.by_allocator.items() if state == wanted)


class AllocatorBooks:
    """Finds the C functions once; any thread may then read, and a fork changes nothing.

    Keeps no file descriptor and no memory of its own. On PyPy, without glibc, without ctypes or
    off Linux it reads nothing, and each `Books` says so.
    """

    def __init__(self) -> None:
        self._read_pymalloc = _or_reason(_open_pymalloc)
        self._read_malloc = _or_reason(_open_malloc)

    def read(self) -> Books:
        """The books now. Takes 30 us in a small process.

        Both walk: pymalloc its pools (0.3 ms at five million objects, under the GIL), glibc its
        free blocks (7 ms at 500,000 of them, without the GIL). benchmarks/bench_scrape.py
        prints the figures of a machine.
        """
        by_allocator: dict[tuple[Allocator, BookState], int] = {}
        reasons = []
        # malloc comes last: the stream that pymalloc prints into was itself malloc's.
        readers: tuple[tuple[Allocator, Callable[[], tuple[int, int]]], ...] = (
            ("pymalloc", self._read_pymalloc),
            ("malloc", self._read_malloc),
        )
        for allocator, read in readers:
            try:
                in_use, free = read()
            except _Unreadable as problem:  # noqa: PERF203 - two rounds
                reasons.append(f"{allocator}: {problem}")
            else:
                by_allocator[allocator, "in_use"] = in_use
                by_allocator[allocator, "free"] = free
        return Books(by_allocator, "; ".join(reasons) or None)


def parse_pymalloc(text: bytes) -> tuple[int, int]:
    """Bytes in use and bytes free from pymalloc's own report; `_Unreadable` names a lost label.

    Free are the unused blocks of pools that have a size and the pools that have none yet.
    """
    figures = {}
    for label, pattern in _PYMALLOC_LABELS.items():
        found = pattern.search(text)
        if found is None:
            raise _Unreadable(f"its report has no line {label!r}")
        figures[label] = int(found.group(1).replace(b",", b""))
    in_use, available, unused = figures.values()
    return in_use, available + unused


def _or_reason(opening: Callable[[], Callable[[], tuple[int, int]]]) -> Callable[[], Any]:
    """The reader that `opening` makes, or one that raises the reason why there is none."""
    try:
        return opening()
    except _Unreadable as problem:
        reason = str(problem)

    def refuse() -> tuple[int, int]:
        raise _Unreadable(reason)

    return refuse


def _load() -> Any:
    """ctypes, where it is worth asking at all."""
    if sys.platform != "linux":
        raise _Unreadable(f"not shown to work on {sys.platform}")
    if sys.implementation.name != "cpython":
        raise _Unreadable(f"{sys.implementation.name} has an allocator of its own")
    try:
        import ctypes  # noqa: PLC0415 - a Python built without libffi has no ctypes
    except ImportError as error:
        raise _Unreadable(f"this Python has no ctypes ({error})") from None
    return ctypes


def _open_pymalloc() -> Callable[[], tuple[int, int]]:
    ctypes = _load()
    # A PyDLL keeps the GIL, which pymalloc's walk needs. One of our own, for argtypes set on the
    # shared ctypes.pythonapi would be everybody's.
    library = ctypes.PyDLL(None)
    try:
        report = library._PyObject_DebugMallocStats  # noqa: SLF001 - the only door there is
        open_memstream, fclose, free = library.open_memstream, library.fclose, library.free
    except AttributeError as error:
        raise _Unreadable(str(error)) from None
    pointer = ctypes.c_void_p
    report.argtypes, report.restype = [pointer], ctypes.c_int
    open_memstream.argtypes, open_memstream.restype = [pointer, pointer], pointer
    fclose.argtypes, fclose.restype = [pointer], ctypes.c_int
    free.argtypes, free.restype = [pointer], None

    def read() -> tuple[int, int]:
        buffer, size = pointer(), ctypes.c_size_t()
        stream = open_memstream(ctypes.byref(buffer), ctypes.byref(size))
        if not stream:
            raise MemoryError("open_memstream has no memory for pymalloc's report")
        try:
            enabled = report(stream)
            closed = fclose(stream)  # only now are buffer and size valid
            if closed != 0:
                raise OSError("pymalloc's report could not be written out")
            # Without pymalloc (PYTHONMALLOC=malloc) it holds nothing: zero bytes, a measurement.
            return parse_pymalloc(ctypes.string_at(buffer, size.value)) if enabled else (0, 0)
        finally:
            free(buffer)

    return read


def _open_malloc() -> Callable[[], tuple[int, int]]:
    ctypes = _load()
    # A CDLL lets the GIL go: glibc's walk over a fragmented heap must not stop other threads.
    library = ctypes.CDLL(None)
    if hasattr(library, "mallinfo2"):
        read = _mallinfo_reader(ctypes, library.mallinfo2, ctypes.c_size_t)
    elif hasattr(library, "mallinfo"):
        # glibc before 2.33. Its int fields pass 2 GiB as negative numbers; read as unsigned they
        # are right up to 4 GiB and then start again at 0, which nothing here can tell.
        read = _mallinfo_reader(ctypes, library.mallinfo, ctypes.c_uint)
    else:
        raise _Unreadable("this C library has no mallinfo")
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
    check_books_follow(read, library.malloc, library.free)
    return read


def _mallinfo_reader(ctypes: Any, function: Any, number: Any) -> Callable[[], tuple[int, int]]:
    fields = [(name, number) for name in _MALLINFO_FIELDS]
    function.argtypes = []
    function.restype = type("Mallinfo", (ctypes.Structure,), {"_fields_": fields})

    def read() -> tuple[int, int]:
        info = function()
        return info.uordblks + info.hblkhd, info.fordblks

    return read


def check_books_follow(
    read: Callable[[], tuple[int, int]],
    malloc: Callable[[int], int | None],
    free: Callable[[int | None], None],
) -> None:
    """`_Unreadable` unless the books rise by what is allocated.

    A preloaded jemalloc or tcmalloc takes malloc's place but not mallinfo's, whose figures then
    stand near 0 and would look healthy. Three tries, for another thread may free meanwhile.
    Where a limit leaves no room for the probe, nothing is known of the books, and that is the
    reason.
    """
    for _ in range(3):
        before, _free = read()
        block = malloc(_PROBE_BYTES)
        if block is None:
            raise _Unreadable("its books could not be checked: no 16 MiB to be had for a moment")
        after, _free = read()
        free(block)
        if after - before >= _PROBE_BYTES // 2:
            return
    raise _Unreadable("malloc is not glibc's own (a preloaded allocator): its books are idle")
