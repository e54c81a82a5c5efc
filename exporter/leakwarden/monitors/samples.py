"""What the monitors measured at one instant. A field that could not be measured is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Allocator = Literal["pymalloc", "malloc"]
BookState = Literal["in_use", "free"]


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """This process as the operating system sees it; bytes, seconds, counts.

    `start_time_seconds` is Unix time. The two limits are None where there is none.
    """

    cpu_seconds_total: float | None
    resident_memory_bytes: int | None
    virtual_memory_bytes: int | None
    virtual_memory_max_bytes: int | None
    open_fds: int | None
    max_fds: int | None
    threads: int | None
    start_time_seconds: float | None


@dataclass(frozen=True, slots=True)
class HeapSample:
    """The allocators' own books, in bytes, and growth against the baseline.

    `growth_bytes` is `in_use_bytes - baseline_bytes` and may be negative. The baseline is
    provisional until `baseline_final`. Where the books cannot be read every figure from them
    is None and `unreadable_reason` says why.
    """

    in_use_bytes: int | None
    retained_bytes: int | None
    by_allocator: Mapping[tuple[Allocator, BookState], int]
    allocated_blocks: int | None
    baseline_bytes: int | None
    baseline_final: bool
    growth_bytes: int | None
    memory_limit_bytes: int | None
    unreadable_reason: str | None
