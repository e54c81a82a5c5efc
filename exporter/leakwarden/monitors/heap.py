"""The heap against its baseline: how much more is in use than when the program had warmed up.

A program that starts takes memory for good reasons: imports, pools, caches. So the baseline is
provisional at first, that the gauge is never missing, and fixed once, at the end of the warm-up,
as the 5th percentile of what was in use meanwhile: the trough that the program returns to, not
the peak that it passed through.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from leakwarden.core.series import Series
from leakwarden.monitors.allocator import AllocatorBooks, Books
from leakwarden.monitors.limits import memory_limit_bytes
from leakwarden.monitors.samples import HeapSample

Clock = Callable[[], float]

_WARM_UP_SECONDS = 300.0

# Of a core, for observing: a fifth of what the whole idle service may cost.
_OBSERVING_SHARE = 0.001

# One sample a second throughout the longest warm-up, and as many again for a caller that is
# twice as eager. Older ones fall out.
_MOST_WARM_UP_SAMPLES = 600


@dataclass(frozen=True, slots=True)
class Baseline:
    """What growth is measured from. `samples` are those it was taken from; 1 while provisional."""

    in_use_bytes: int
    samples: int
    final: bool


class HeapMonitor:
    """Observed by one thread at a time, once a second; sampled by any.

    `window_seconds` is the detection window: the warm-up is the smaller of 300 s and half of it.
    `clock` gives monotonic seconds, `cpu_clock` the CPU seconds of the calling thread.
    `memory_limit` gives the limit in bytes, or None where there is none.
    """

    def __init__(
        self,
        window_seconds: float,
        clock: Clock,
        *,
        memory_limit: Callable[[], int | None] = memory_limit_bytes,
        read_books: Callable[[], Books] | None = None,
        cpu_clock: Clock = time.thread_time,
    ) -> None:
        self.warm_up_seconds = min(_WARM_UP_SECONDS, window_seconds / 2)
        self.in_use = Series()
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._memory_limit = memory_limit
        self._read_books = AllocatorBooks().read if read_books is None else read_books
        self._warm_up: deque[int] = deque(maxlen=_MOST_WARM_UP_SAMPLES)
        self._warm_up_ends: float | None = None
        self._next_at = float("-inf")
        self._baseline: Baseline | None = None

    def ready(self) -> None:
        """The program has started: take the provisional baseline and begin the warm-up here.

        What was observed before, while it was still starting, is left out. Does nothing once the
        baseline is final.
        """
        if self._baseline is not None and self._baseline.final:
            return
        self._baseline, self._warm_up_ends = None, None
        self._warm_up.clear()
        self._next_at = float("-inf")
        self.observe()

    def observe(self) -> Baseline | None:
        """Take one sample; the baseline, once, by the call that fixes it, so that it can be told.

        The first call makes the provisional baseline. Where a reading is so dear (hundreds of
        thousands of free blocks in glibc's lists) that one a second would cost more than a
        thousandth of a core, a call that comes too early does nothing.
        """
        now = self._clock()
        if now < self._next_at:
            return None
        cpu_before = self._cpu_clock()
        in_use = self._read_books().in_use_bytes
        self._next_at = now + (self._cpu_clock() - cpu_before) / _OBSERVING_SHARE
        if in_use is None:
            return None
        self.in_use.append(now, in_use)
        if self._baseline is not None and self._baseline.final:
            return None
        self._warm_up.append(in_use)
        if self._warm_up_ends is None:
            self._warm_up_ends = now + self.warm_up_seconds
            self._baseline = Baseline(in_use, samples=1, final=False)
        if now < self._warm_up_ends:
            return None
        self._baseline = Baseline(trough(self._warm_up), len(self._warm_up), final=True)
        self._warm_up.clear()
        return self._baseline

    def sample(self) -> HeapSample:
        """The books now, and growth since the baseline. Changes nothing."""
        books, baseline = self._read_books(), self._baseline
        in_use = books.in_use_bytes
        growth = None
        if in_use is not None and baseline is not None:
            growth = in_use - baseline.in_use_bytes
        blocks = getattr(sys, "getallocatedblocks", None)
        return HeapSample(
            in_use_bytes=in_use,
            retained_bytes=books.retained_bytes,
            by_allocator=books.by_allocator,
            allocated_blocks=None if blocks is None else blocks(),
            baseline_bytes=None if baseline is None else baseline.in_use_bytes,
            baseline_final=baseline is not None and baseline.final,
            growth_bytes=growth,
            memory_limit_bytes=self._memory_limit(),
            unreadable_reason=books.unreadable_reason,
        )


def trough(samples: deque[int]) -> int:
    """The 5th percentile by nearest rank: of 1 to 20 samples the lowest, of 21 the second lowest.

    ValueError where there are none.
    """
    if not samples:
        raise ValueError("a percentile of no samples")
    rank = -(-len(samples) * 5 // 100)
    return sorted(samples)[rank - 1]
