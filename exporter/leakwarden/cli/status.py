"""What is held now, against its limits: kinds, queue, heap, process, store.

The bar is use of the nearer limit, in leases or in bytes; its marks stand at 75%
and 90%. A kind that bounds itself by eviction has none: full is its normal state.
Stale is past its time to live and closable, pinned past it and visibly in use.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from leakwarden.cli import DONE, client
from leakwarden.cli.terminal import NOT_MEASURED, WIDTH, Look, age, look, show, size

_BAR_CELLS = 10
# What the columns beside the kind take of a line, gaps included.
_OTHER_COLUMNS = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `status`."""
    client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the service's snapshot."""
    service = client.find(args)
    answer = service.get("/v1/snapshot")
    if args.json:
        show(answer.text)
        return DONE
    show("\n".join(lines(answer.value, service.url, look())))
    return DONE


def lines(snapshot: dict[str, Any], url: str, style: Look) -> Iterator[str]:
    """The snapshot for a person: one sentence, what is held, then the rest in a line each."""
    yield style.loud(_sentence(snapshot["resources"]))
    yield f"leakwarden {snapshot['version']} at {url}, {_moment(snapshot['at'])}"
    yield ""
    yield from _resources(snapshot["resources"], style)
    yield ""
    reasons = {row["what"]: row["reason"] for row in snapshot["absent"]}
    for name, words in (
        ("messages", _messages),
        ("heap", _heap),
        ("process", _process),
        ("store", _store),
    ):
        part, reason = snapshot[name], reasons.pop(name, None)
        if part is None:
            yield f"{name:<10}{NOT_MEASURED}: {reason or 'it has not been read yet'}"
        else:
            yield f"{name:<10}{words(part, snapshot['at'], reason)}"
    for name, reason in reasons.items():
        yield f"{name:<9} {NOT_MEASURED}: {reason}"


def _sentence(resources: list[dict[str, Any]]) -> str:
    stale = [row for row in resources if row["stale"]]
    if not stale:
        return "Nothing that is held is stale."
    worst = max(stale, key=lambda row: row["oldest_idle_seconds"] or 0)
    count = sum(row["stale"] for row in stale)
    leases = "1 lease is" if count == 1 else f"{count} leases are"
    return (
        f"{leases} stale; the oldest, a {worst['resource']}, has been idle for"
        f" {age(worst['oldest_idle_seconds'])}.\n"
        f"Where it was acquired: leakwarden explain {worst['resource']}"
    )


def _resources(resources: list[dict[str, Any]], style: Look) -> Iterator[str]:
    width = WIDTH - _OTHER_COLUMNS
    yield (
        f"  {'kind':<{width - 2}} {'in use':>6} {'limit':>6}  {'use':<{_BAR_CELLS}}"
        f" {'stale':>5} {'pinned':>6} {'idle for':>9} {'bytes':>9}"
    )
    # What wants a look comes first; the rest keeps its order.
    for row in sorted(resources, key=lambda row: not row["stale"]):
        mark = style.attention() if row["stale"] else " "
        name = f"{mark} {row['resource']}"
        if len(name) > width:  # a long name gets a line of its own
            yield name
            name = ""
        limit = "-" if row["limit"] is None else f"{row['limit']}"
        yield (
            f"{name:<{width}} {row['in_use']:>6} {limit:>6}  {_use(row, style):<{_BAR_CELLS}}"
            f" {row['stale']:>5} {row['pinned']:>6} {age(row['oldest_idle_seconds']):>9}"
            f" {size(row['bytes']):>9}"
        )


def _use(row: dict[str, Any], style: Look) -> str:
    ratios = [
        row[used] / row[limit]
        for used, limit in (("in_use", "limit"), ("bytes", "limit_bytes"))
        if row[limit]
    ]
    if not ratios:
        return "no limit"
    return style.bar(max(ratios), _BAR_CELLS, marks=row["overflow"] == "reject")


def _messages(part: dict[str, Any], at: str, _reason: str | None) -> str:
    queued = {name: count for name, count in part["queued"].items() if count}
    if queued:
        each = ", ".join(f"{count} {name}" for name, count in queued.items())
        waited = (_time(at) - _time(part["oldest_queued_at"])).total_seconds()
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


def _time(text: str) -> datetime:
    # Python 3.10 reads an offset, not the Z that RFC 3339 allows.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _moment(text: str) -> str:
    return f"{_time(text):%Y-%m-%d %H:%M:%S} UTC"
