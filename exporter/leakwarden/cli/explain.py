"""What one kind holds, and where in the code it was acquired: sites first, then the oldest.

leakwarden explain file_handle
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from leakwarden.cli import DONE, CommandError, client
from leakwarden.cli.terminal import WIDTH, Look, age, clip, look, plain, show, size, table

# What one answer of the service holds at most.
_MOST_LEASES = 1000
_MOST_SITES = 10
_MOST_OLDEST = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `explain`."""
    parser.add_argument("kind", metavar="KIND", help="as `leakwarden status` lists them")
    client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print limit, use and leases of one kind; `--json` prints the leases as they came."""
    service = client.find(args)
    leases = service.get("/v1/leases", {"resource": args.kind, "limit": _MOST_LEASES})
    if args.json:
        show(leases.text)
        return DONE
    snapshot = service.get("/v1/snapshot").value
    for row in snapshot["resources"]:
        if row["resource"] == args.kind:
            show("\n".join(lines(row, leases.value["items"], look())))
            return DONE
    reasons = {row["what"]: row["reason"] for row in snapshot["absent"]}
    raise CommandError(
        f"{args.kind} is not measured: {reasons.get(args.kind, 'its account gave no answer')}",
        "the log of the service says more",
    )


def lines(row: dict[str, Any], leases: list[dict[str, Any]], style: Look) -> Iterator[str]:
    """The kind for a person. `leases` are the least recently touched first."""
    yield style.loud(_sentence(row))
    yield from wrap(_rules(row), WIDTH)
    if not leases:
        if row["in_use"]:  # closed between the two answers, or the accounts do not add up
            yield "The service listed none of them. If that stays so, it is a bug: report it."
        return
    sites: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for lease in leases:
        sites[_site(lease)].append(lease)
    ranked = sorted(sites.items(), key=lambda pair: -len(pair[1]))
    shown = "" if len(leases) >= row["in_use"] else f", of the {len(leases)} idle for longest"
    yield ""
    yield style.loud(f"Where it was acquired{shown}")
    yield from _beside_sites(
        ("count", "stale", "oldest", "bytes"),
        [
            (
                str(len(held)),
                str(sum(lease["stale"] for lease in held)),
                age(max(lease["age_seconds"] for lease in held)),
                size(sum(lease["size_bytes"] for lease in held)),
            )
            for _, held in ranked[:_MOST_SITES]
        ],
        [site for site, _ in ranked[:_MOST_SITES]],
    )
    if len(ranked) > _MOST_SITES:
        yield f"and {len(ranked) - _MOST_SITES} more sites: see --json"
    yield ""
    yield style.loud("Idle for longest")
    yield from _beside_sites(
        ("lease", "age", "idle for", "state"),
        [
            (
                str(lease["id"]),
                age(lease["age_seconds"]),
                age(lease["idle_seconds"]),
                _state(lease),
            )
            for lease in leases[:_MOST_OLDEST]
        ],
        [_site(lease) for lease in leases[:_MOST_OLDEST]],
    )


def _beside_sites(
    head: Sequence[str], rows: Sequence[Sequence[str]], sites: Sequence[str]
) -> Iterator[str]:
    """A table whose last column, the site, gets what is left of the line."""
    left = table(head, rows, ">" * len(head))
    width = max(map(len, left))
    for line, site in zip(left, ("site", *sites), strict=True):
        yield f"{line:<{width}}  {clip(site, WIDTH - width - 2)}"


def _sentence(row: dict[str, Any]) -> str:
    limit = "no limit" if row["limit"] is None else f"limit {row['limit']}"
    idle = row["oldest_idle_seconds"]
    oldest = "" if idle is None else f", one idle for {age(idle)}"
    return (
        f"{row['resource']}: {row['in_use']} in use ({limit}), {row['stale']} stale,"
        f" {row['pinned']} pinned{oldest}"
    )


def _rules(row: dict[str, Any]) -> str:
    ttl, most = row["ttl_seconds"], row["limit_bytes"]
    closed = ", ".join(f"{count} {cause}" for cause, count in row["closed_total"].items() if count)
    words = [
        "never stale" if ttl is None else f"stale after {age(ttl)}",
        f"{size(row['bytes'])} held" + ("" if most is None else f" of {size(most)}"),
        f"{row['opened_total']} opened since start",
        f"closed: {closed or 'none'}",
    ]
    if row["rejected_total"]:
        words.append(f"{row['rejected_total']} refused at the limit")
    if row["release_failures_total"]:
        words.append(f"{row['release_failures_total']} could not be closed")
    return "; ".join(words)


def _site(lease: dict[str, Any]) -> str:
    site = lease["site"]
    return plain(f"{site['file']}:{site['line']} {site['function']}")


def _state(lease: dict[str, Any]) -> str:
    for state in ("closing", "pinned", "stale"):
        if lease[state]:
            return state
    return "in use"
