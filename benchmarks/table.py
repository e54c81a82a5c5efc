"""Benchmark results as a Markdown table, printed and kept in `results/`."""

from __future__ import annotations

import datetime as dt
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One comparison made within one run.

    `measured` and `baseline` are in `unit`. `ratio` is measured / baseline, unless the benchmark
    says otherwise in `comment`. `goal` bounds the ratio, or `measured` where there is no ratio:
    from above, or from below with `goal_is_floor`. None: shown, not judged.
    """

    name: str
    measured: float
    baseline: float | None = None
    ratio: float | None = None
    goal: float | None = None
    unit: str = "ns"
    comment: str = ""
    goal_is_floor: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        judged = self.measured if self.ratio is None else self.ratio
        return judged >= self.goal if self.goal_is_floor else judged <= self.goal


def interleaved(parts: dict[str, Callable[[], object]], repeats: int = 9) -> dict[str, float]:
    """Median seconds of each part, the parts taking turns so that other load hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(taken) for name, taken in seconds.items()}


def report(name: str, rows: Iterable[Row]) -> bool:
    """Print the table and write `results/NAME.md`. True where every goal is reached."""
    rows = list(rows)
    text = f"# {name}\n\n{machine()}\n\n{markdown(rows)}\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
    return all(row.reached is not False for row in rows)


def markdown(rows: Iterable[Row]) -> str:
    """The rows as an aligned Markdown table."""
    header = ("what", "measured", "baseline", "unit", "ratio", "goal", "reached", "comment")
    lines = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    ruled = [lines[0], tuple("-" * width for width in widths), *lines[1:]]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in ruled
    )


def machine() -> str:
    """One line: processor, Python, day, load. Figures of two machines are never compared.

    A load above 1 before the benchmark's own is a reason to run again: it slows the quick
    baselines more than what is measured, and so flatters the ratios.
    """
    today = dt.datetime.now(tz=dt.timezone.utc).date()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return f"{_processor()}, Python {platform.python_version()}, {today}, load at the end {load}"


def _cells(row: Row) -> tuple[str, ...]:
    goal = "" if row.goal is None else ("at least " if row.goal_is_floor else "") + f"{row.goal:g}"
    reached = {None: "", True: "yes", False: "no"}[row.reached]
    return (
        row.name,
        _number(row.measured),
        _number(row.baseline),
        row.unit,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        goal,
        reached,
        row.comment,
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()
