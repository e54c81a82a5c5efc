"""What is held now, against its limits: kinds, queue, heap, process, store.

The bar is use of the nearer limit, in leases or in bytes; its marks stand at 75%
and 90%. A kind that bounds itself by eviction has none: full is its normal state.
Stale is past its time to live and closable, pinned past it and visibly in use.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from leakwarden.cli import DONE, client
from leakwarden.cli.status_parts import moment, part_lines
from leakwarden.cli.terminal import WIDTH, Look, age, look, show, size

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
    at = moment(snapshot["at"])
    yield style.loud(_sentence(snapshot["resources"]))
    yield f"leakwarden {snapshot['version']} at {url}, {at:%Y-%m-%d %H:%M:%S} UTC"
    yield ""
    yield from _resources(snapshot["resources"], style)
    yield ""
    yield from part_lines(snapshot)


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
