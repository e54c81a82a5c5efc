"""What a scrape costs with nothing held and with a million leases held in one ledger.

Each case is a process of its own, so that neither walks the other's heap; they take turns within
one run. A scrape is what the service does for one: read every source, render the page, pack it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings
from leakwarden.exporters.prometheus import Exporter
from leakwarden.monitors.allocator import AllocatorBooks
from leakwarden.monitors.heap import HeapMonitor
from leakwarden.monitors.process import ProcessMonitor
from leakwarden.snapshot import Snapshot
from table import Row, interleaved, report

LIVE = (0, 1_000_000)
ROUNDS = 40


class Held:
    """A resource that allows weak references, as most objects do."""

    __slots__ = ("__weakref__",)


def serve(live: int) -> None:
    """Hold `live` leases, then do on each line of stdin what it names, ROUNDS times."""
    ledger = Ledger("connection", ResourceSettings(limit=2_000_000, ttl_seconds=3600.0))
    held = [Held() for _ in range(live)]
    leases = [ledger.acquire(one, time.monotonic()) for one in held]
    heap, process, books = HeapMonitor(1800.0, time.monotonic), ProcessMonitor(), AllocatorBooks()
    heap.ready()

    def usage() -> Snapshot:
        return Snapshot(
            at=time.time(),
            instance_id="bench",
            version="0",
            usages=(ledger.usage(time.monotonic()),),
        )

    def everything() -> Snapshot:
        return Snapshot(
            at=time.time(),
            instance_id="bench",
            version="0",
            usages=(ledger.usage(time.monotonic()),),
            process=process.sample(),
            heap=heap.sample(),
        )

    full, accounts = Exporter(everything), Exporter(usage)
    work: dict[str, Callable[[], object]] = {
        "scrape": lambda: full.page("application/openmetrics-text", gzip=True),
        "accounts": lambda: accounts.page("application/openmetrics-text", gzip=True),
        "usage": lambda: ledger.usage(time.monotonic()),
        "books": books.read,
    }
    print("ready", flush=True)
    for line in sys.stdin:
        part = work[line.strip()]
        for _ in range(ROUNDS):
            part()
        print("done", flush=True)
    assert len(leases) == live


def main() -> bool:
    """Print and keep the table; whether every goal is reached."""
    workers = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(live)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for live in LIVE
    ]

    def asked(worker: subprocess.Popen[str], what: str) -> Callable[[], object]:
        assert worker.stdin is not None
        assert worker.stdout is not None
        write, read = worker.stdin.write, worker.stdout.readline

        def ask() -> None:
            write(what + "\n")
            assert read() == "done\n"

        return ask

    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    seconds = {}
    for what in ("scrape", "accounts", "usage", "books"):
        parts = {
            f"{what} {live}": asked(worker, what)
            for live, worker in zip(LIVE, workers, strict=True)
        }
        seconds |= interleaved(parts, repeats=15)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait()

    def row(what: str, name: str, goal: float | None, comment: str) -> Row:
        empty, full = (seconds[f"{what} {live}"] / ROUNDS * 1e6 for live in LIVE)
        return Row(name, full, empty, full / empty, goal, "us", comment)

    return report(
        "scrape",
        [
            row("scrape", "scrape, 1e6 against 0 live", 1.2, "every source, OpenMetrics, gzip"),
            row("accounts", "page of the accounts alone", 1.2, "no process, no heap"),
            row("usage", "usage() of the ledger", None, ""),
            row("books", "the allocators' books", None, "pymalloc walks its pools, GIL held"),
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(int(sys.argv[1]))
    else:
        sys.exit(0 if main() else 1)
