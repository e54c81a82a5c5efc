"""What a lease costs: against a dict, against a metric, and against how many are live.

python benchmarks/bench_ledger.py
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.custom import Pool
from locked_ledger import LockedLedger
from table import Row, report

PAIRS = 2_000
REPEATS = 101
LIVE = (1_000, 1_000_000)
EXPIRED = 100
EXPIRY_REPEATS = 15


class Resource:
    """Something that allows a weak reference."""


def pairs() -> list[Row]:
    """Acquire plus release, in ns, the baselines timed in turns with it. Lower is better."""
    rows = []
    for live in LIVE:
        held = [Resource() for _ in range(live)]
        settings = ResourceSettings(limit=live + 10, ttl_seconds=300.0)
        ledger, pool = Ledger("bench", settings), Pool("bench_pool", settings, time.monotonic)
        locked = LockedLedger("bench_locked", live + 10)
        numbers = dict.fromkeys(range(live))
        kept: list[Any] = [[ledger.acquire(obj, 0.0) for obj in held]]
        kept.append([pool.acquire(obj) for obj in held])
        kept.append([locked.acquire(obj, 0.0) for obj in held])
        gc.freeze()  # a million leases of one's own are not what a pair is charged for
        ns = _in_turns(
            {
                "dict": lambda numbers=numbers: _dict_pairs(numbers),
                "gauge": _gauge_pairs(),
                "locked": lambda locked=locked: _ledger_pairs(locked),
                "ledger": lambda ledger=ledger: _ledger_pairs(ledger),
                "fresh": lambda ledger=ledger: _ledger_pairs_of_new(ledger),
                "new": _new_objects,
                "pool": lambda pool=pool: _pool_pairs(pool),
            },
            REPEATS,
        )
        name, at = "acquire + release", f"{live:,} live"
        ledger_ns, pool_ns, gauge, plain = (ns[x] for x in ("ledger", "pool", "gauge", "dict"))
        new = ns["fresh"] - ns["new"]
        rows += [
            Row(
                f"{name}, ledger / Gauge inc + dec, {at}", ledger_ns, gauge, ledger_ns / gauge, 1.0
            ),
            Row(
                f"{name}, Pool with its clock / Gauge inc + dec, {at}",
                pool_ns,
                gauge,
                pool_ns / gauge,
                1.0,
            ),
            Row(
                f"{name}, ledger / dict set + del, {at}", ledger_ns, plain, ledger_ns / plain, 12.0
            ),
            Row(
                f"{name}, Pool with its clock / dict set + del, {at}",
                pool_ns,
                plain,
                pool_ns / plain,
                12.0,
            ),
            Row(
                f"{name}, ledger, a new object each / Gauge inc + dec, {at}",
                new,
                gauge,
                new / gauge,
                comment="making and dropping the object deducted",
            ),
            Row(
                f"{name}, one lock around all / dict set + del, {at}",
                ns["locked"],
                plain,
                ns["locked"] / plain,
                comment="the plain way, to compare with",
            ),
        ]
        gc.unfreeze()
        del kept, held, ledger, pool, locked, numbers
        gc.collect()
    return rows


def expiry() -> Row:
    """Taking and closing 100 stale leases, in us, of 1e6 live against of 1e4."""
    many, few = _Expiry(1_000_000), _Expiry(10_000)
    gc.freeze()
    ns = _in_turns({"many": many.expire, "few": few.expire}, EXPIRY_REPEATS, per=1)
    gc.unfreeze()
    many_us, few_us = ns["many"] / 1e3, ns["few"] / 1e3
    name = f"expire {EXPIRED} of 1,000,000 / of 10,000"
    return Row(name, many_us, few_us, many_us / few_us, 1.2, unit="us")


def usage() -> Row:
    """Usage with 1e6 live against with none, in us."""
    settings = ResourceSettings(ttl_seconds=300.0)
    empty, full = Ledger("bench_empty", settings), Ledger("bench_full", settings)
    held = [Resource() for _ in range(1_000_000)]
    kept = [full.acquire(obj, 0.0) for obj in held]
    gc.freeze()
    ns = _in_turns(
        {"full": lambda: _usages(full), "empty": lambda: _usages(empty)}, REPEATS, per=200
    )
    gc.unfreeze()
    full_us, empty_us = ns["full"] / 1e3, ns["empty"] / 1e3
    assert len(kept) == full.usage(1.0).in_use
    return Row("usage of 1,000,000 / of 0", full_us, empty_us, full_us / empty_us, 1.2, unit="us")


class _Expiry:
    """A ledger in which each second 100 leases grow stale."""

    def __init__(self, live: int) -> None:
        self.ledger = Ledger("bench_expiry", ResourceSettings(ttl_seconds=1_000_000.0))
        self.held = [Resource() for _ in range(live)]
        self.kept = [
            self.ledger.acquire(obj, float(index // EXPIRED)) for index, obj in enumerate(self.held)
        ]
        self.now = 1_000_000.0

    def expire(self) -> None:
        taken = self.ledger.take_stale(self.now)
        for lease in taken:
            self.ledger.release(lease, "expired")
        assert len(taken) == EXPIRED
        self.now += 1.0


def _in_turns(
    parts: dict[str, Callable[[], object]], repeats: int, per: int = PAIRS
) -> dict[str, float]:
    """Median ns of one of the `per` operations of each part. The parts take turns, in short
    rounds, so that what else runs on the machine hits all alike.
    """
    taken: dict[str, list[int]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, part in parts.items():
            started = time.perf_counter_ns()
            part()
            taken[name].append(time.perf_counter_ns() - started)
    return {name: median(nanoseconds) / per for name, nanoseconds in taken.items()}


def _dict_pairs(numbers: dict[int, None]) -> None:
    for index in range(-PAIRS, 0):
        numbers[index] = None
        del numbers[index]


def _gauge_pairs() -> Callable[[], None]:
    gauge = Gauge(
        "bench", "What a service pays today to count one thing.", registry=CollectorRegistry()
    )

    def run() -> None:
        for _ in range(PAIRS):
            gauge.inc()
            gauge.dec()

    return run


def _ledger_pairs(ledger: Ledger | LockedLedger) -> None:
    obj = Resource()
    for _ in range(PAIRS):
        ledger.release(ledger.acquire(obj, 1.0))


def _ledger_pairs_of_new(ledger: Ledger) -> None:
    for _ in range(PAIRS):
        obj = Resource()
        ledger.release(ledger.acquire(obj, 1.0))


def _new_objects() -> None:
    for _ in range(PAIRS):
        obj = Resource()  # noqa: F841 - made and dropped


def _pool_pairs(pool: Pool) -> None:
    obj = Resource()
    for _ in range(PAIRS):
        pool.release(pool.acquire(obj))


def _usages(ledger: Ledger) -> None:
    for _ in range(200):
        ledger.usage(1.0)


def run() -> list[Row]:
    return [*pairs(), expiry(), usage()]


if __name__ == "__main__":
    sys.exit(0 if report("ledger", run()) else 1)
