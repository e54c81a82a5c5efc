"""A histogram of fixed buckets that costs one bisect and two additions to observe.

Layers below the exporters may not import a metrics library, yet delivery and the
store must count durations where they happen. The sample is what a Prometheus
histogram needs: cumulative counts by upper bound, their sum, +Inf last.

It has no lock, which a fork would leave held, and a signal handler wait for in vain:
CPython changes threads and runs handlers only after calls and on backward jumps, and
between reading the cells and writing them stands neither.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """`buckets` are (upper bound, observations at or below it), cumulative, +Inf last."""

    buckets: tuple[tuple[float, int], ...]
    sum: float

    @property
    def count(self) -> int:
        """Every observation: the count of the +Inf bucket."""
        return self.buckets[-1][1]


class Histogram:
    """Counts observations by upper bound. Bounds ascend; +Inf is added by itself."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, inf)
        # A count for each bucket, and last the sum: one list, so that one C call copies it whole.
        self._cells: list[float] = [*(0 for _ in self._bounds), 0.0]

    def observe(self, value: float) -> None:
        """Count `value` (an int or float proper) in the first bucket whose bound is not below."""
        cells = self._cells
        index = bisect_left(self._bounds, value)
        # One statement without a call: see above.
        cells[index], cells[-1] = cells[index] + 1, cells[-1] + value

    def sample(self) -> HistogramSample:
        """The counts as of now; never torn, for the sum and the buckets are read together."""
        *counts, total = self._cells.copy()
        cumulative = accumulate(map(int, counts))
        return HistogramSample(tuple(zip(self._bounds, cumulative, strict=True)), total)
