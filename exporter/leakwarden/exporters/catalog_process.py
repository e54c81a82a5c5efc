"""This process and its heap. `process_*` keep the names and meanings that Prometheus gave them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import get_args

from leakwarden.exporters.catalog_family import Family, Label, Read, Sample, single
from leakwarden.monitors.samples import Allocator, BookState, HeapSample, ProcessSample
from leakwarden.snapshot import Snapshot

ALLOCATORS: tuple[Allocator, ...] = get_args(Allocator)
BOOK_STATES: tuple[BookState, ...] = get_args(BookState)

_UNKNOWN = "the operating system does not tell"
_NO_BOOKS = (
    "the allocators' books cannot be read here (`leakwarden status` says why):"
    " not CPython, not glibc, not Linux, a preloaded allocator, or no 16 MiB left at the start"
)
_NO_BASELINE = f"not started, so that no baseline was taken; or {_NO_BOOKS}"


def _process(value: Callable[[ProcessSample], float | None]) -> Read:
    return single(lambda snapshot: None if snapshot.process is None else value(snapshot.process))


def _heap(value: Callable[[HeapSample], float | None]) -> Read:
    return single(lambda snapshot: None if snapshot.heap is None else value(snapshot.heap))


def _allocator_bytes(snapshot: Snapshot) -> Iterable[Sample]:
    return () if snapshot.heap is None else snapshot.heap.by_allocator.items()


HEADLINE = (
    Family(
        "leakwarden_heap_growth_bytes",
        "gauge",
        "Heap in use above the baseline taken when the process had warmed up; may be negative.",
        _heap(lambda heap: heap.growth_bytes),
        absent=_NO_BASELINE,
    ),
)

HEAP = (
    Family(
        "leakwarden_heap_in_use_bytes",
        "gauge",
        "Memory handed out by pymalloc and malloc and not given back.",
        _heap(lambda heap: heap.in_use_bytes),
        absent=_NO_BOOKS,
    ),
    Family(
        "leakwarden_heap_retained_bytes",
        "gauge",
        "Memory given back to pymalloc and malloc and kept by them for later use.",
        _heap(lambda heap: heap.retained_bytes),
        absent=_NO_BOOKS,
    ),
    Family(
        "leakwarden_heap_allocator_bytes",
        "gauge",
        "Memory by allocator: pymalloc for objects up to 512 bytes, malloc for all else.",
        _allocator_bytes,
        (Label("allocator", ALLOCATORS), Label("state", BOOK_STATES)),
        absent="the books of that allocator cannot be read here",
    ),
    Family(
        "leakwarden_heap_baseline_bytes",
        "gauge",
        "Heap in use when the process had warmed up; provisional until then.",
        _heap(lambda heap: heap.baseline_bytes),
        absent=_NO_BASELINE,
    ),
    Family(
        "leakwarden_python_allocated_blocks",
        "gauge",
        "Memory blocks that the Python allocators have handed out.",
        _heap(lambda heap: heap.allocated_blocks),
        absent="not CPython",
    ),
    Family(
        "leakwarden_memory_limit_bytes",
        "gauge",
        "Lowest memory limit that applies: control group or address space.",
        _heap(lambda heap: heap.memory_limit_bytes),
        absent="nothing limits it",
    ),
)

PROCESS = (
    Family(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        _process(lambda process: process.cpu_seconds_total),
        absent=_UNKNOWN,
    ),
    Family(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
        _process(lambda process: process.resident_memory_bytes),
        absent=_UNKNOWN,
    ),
    Family(
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory size in bytes.",
        _process(lambda process: process.virtual_memory_bytes),
        absent=_UNKNOWN,
    ),
    Family(
        "process_virtual_memory_max_bytes",
        "gauge",
        "Maximum amount of virtual memory available in bytes.",
        _process(lambda process: process.virtual_memory_max_bytes),
        absent="it is not limited, or the operating system does not tell",
    ),
    Family(
        "process_open_fds",
        "gauge",
        "Number of open file descriptors.",
        _process(lambda process: process.open_fds),
        absent=_UNKNOWN,
    ),
    Family(
        "process_max_fds",
        "gauge",
        "Maximum number of open file descriptors.",
        _process(lambda process: process.max_fds),
        absent="it is not limited, or the operating system does not tell",
    ),
    Family(
        "process_threads",
        "gauge",
        "Number of OS threads in the process.",
        _process(lambda process: process.threads),
        absent=_UNKNOWN,
    ),
    Family(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        _process(lambda process: process.start_time_seconds),
        absent=_UNKNOWN,
    ),
)
