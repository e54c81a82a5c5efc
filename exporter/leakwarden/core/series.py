"""A bounded history of one measurement: min, mean and max at several resolutions.

Each resolution is a ring of points aligned to its own grid: the point of an
instant starts at `floor(now / seconds) * seconds`. A value is folded into the
newest point of every resolution, so an append costs the same whatever is kept,
and the whole never holds more points than it was built for. A time without a
value leaves no point: a gap is absent, never interpolated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

# Ten minutes by the second, two hours by 15 s (the usual scrape interval), a week by 5 minutes.
DEFAULT_RESOLUTIONS = ((1.0, 600), (15.0, 480), (300.0, 2016))


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured in one step of the grid; `at` is its start. `count` values, at least 1."""

    at: float
    min: float
    mean: float
    max: float
    count: int


class Series:
    """Values over time in bounded space. Not thread-safe: one thread appends and reads.

    `resolutions` are (seconds of one point, points kept), in any order.
    """

    def __init__(self, resolutions: Iterable[tuple[float, int]] = DEFAULT_RESOLUTIONS) -> None:
        self._rings: dict[float, deque[Point]] = {}
        for seconds, kept in resolutions:
            if not (seconds > 0 and kept > 0):
                raise ValueError(f"resolution ({seconds}, {kept}): both are above 0")
            self._rings[seconds] = deque(maxlen=kept)
        self._latest = float("-inf")

    def append(self, now: float, value: float) -> None:
        """Fold `value`, measured at `now` (seconds), into every resolution. O(1).

        A `now` before the latest one counts as the latest: time here never runs back.
        """
        self._latest = now = max(now, self._latest)
        for seconds, ring in self._rings.items():
            at = now // seconds * seconds
            if ring and ring[-1].at == at:
                ring[-1] = _folded(ring[-1], value)
            else:
                ring.append(Point(at, value, value, value, 1))

    def points(self, resolution_seconds: float) -> list[Point]:
        """The kept points of one resolution, oldest first. KeyError for one it was not built with.

        The last point may still be growing.
        """
        return list(self._rings[resolution_seconds])


def _folded(point: Point, value: float) -> Point:
    count = point.count + 1
    return Point(
        at=point.at,
        min=min(point.min, value),
        mean=point.mean + (value - point.mean) / count,
        max=max(point.max, value),
        count=count,
    )
