"""The parts of a snapshot that are not resources, each in one line for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from leakwarden.cli.terminal import NOT_MEASURED, age, size


def part_lines(snapshot: dict[str, Any]) -> Iterator[str]:
    """A line for each part; one that was not measured says so with its reason."""
    reasons = {row["what"]: row["reason"] for row in snapshot["absent"]}
    for name, words in _PARTS.items():
        part, reason = snapshot[name], reasons.pop(name, None)
        if part is None:
            yield f"{name:<10}{NOT_MEASURED}: {reason or 'it has not been read yet'}"
        else:
            yield f"{name:<10}{words(part, snapshot['at'], reason)}"
    for name, reason in reasons.items():
        yield f"{name:<9} {NOT_MEASURED}: {reason}"


def moment(text: str) -> datetime:
    """The time that RFC 3339 `text` says."""
    # Python 3.10 reads an offset, not the Z that RFC 3339 allows.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _messages(part: dict[str, Any], at: str, _reason: str | None) -> str:
    queued = {name: count for name, count in part["queued"].items() if count}
    if queued:
        each = ", ".join(f"{count} {name}" for name, count in queued.items())
        waited = (moment(at) - moment(part["oldest_queued_at"])).total_seconds()
        first = f"{sum(queued.values())} queued ({each}), oldest {age(max(0.0, waited))}"
    else:
        first = "0 queued"
    attempts = sum(part["attempts_total"].values())
    failures = sum(row["count"] for row in part["failures_total"])
    return f"{first}; {attempts} attempts, {failures} failed"


def _heap(part: dict[str, Any], _at: str, reason: str | None) -> str:
    growth = part["growth_bytes"]
    if growth is None:
        return f"{NOT_MEASURED}: {reason or 'no baseline yet'}"
    sign = "+" if growth >= 0 else ""
    baseline = "the baseline" if part["baseline_final"] else "a baseline that still settles"
    return f"{sign}{size(growth)} against {baseline}; {size(part['in_use_bytes'])} in use"


def _process(part: dict[str, Any], _at: str, _reason: str | None) -> str:
    figures = (
        ("resident", size(part["resident_memory_bytes"])),
        ("descriptors", _of(part["open_fds"], part["max_fds"])),
        ("threads", _of(part["threads"], None)),
    )
    return ", ".join(
        f"{name} {words}" if words == NOT_MEASURED else f"{words} {name}" for name, words in figures
    )


def _store(part: dict[str, Any], _at: str, _reason: str | None) -> str:
    commits = part["commit_duration_seconds"]["count"]
    return f"{size(part['bytes'])}, {commits} commits since start"


def _of(count: int | None, most: int | None) -> str:
    if count is None:
        return NOT_MEASURED
    return f"{count}" if most is None else f"{count} of {most}"


_PARTS: Mapping[str, Callable[[dict[str, Any], str, str | None], str]] = MappingProxyType(
    {"messages": _messages, "heap": _heap, "process": _process, "store": _store}
)
