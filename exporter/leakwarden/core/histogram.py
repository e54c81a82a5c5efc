"""A histogram of fixed buckets that costs one bisect and two additions to observe.

Layers below the exporters may not import a metrics library, yet delivery and the
store must count durations where they happen. The sample is what a Prometheus
histogram needs: cumulative counts by upper bound, their sum, +Inf last.
"""

from __future__ import annotations

import threading
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
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Count `value` in the first bucket whose bound is at or above it."""
        index = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[index] += 1
            self._sum += value

    def sample(self) -> HistogramSample:
        """The counts as of now; never torn, for the sum and the buckets are read together."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        return HistogramSample(tuple(zip(self._bounds, accumulate(counts), strict=True)), total)
