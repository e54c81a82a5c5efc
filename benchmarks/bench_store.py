"""Durable sends in this process against bare sqlite3 inserts in the same mode.

The baseline is one thread that inserts into the same table with the same indexes, each row
its own transaction. The parts take turns, a fresh database each time, so that what else the
machine does hits all alike; each figure is the median of its rounds.

    python benchmarks/bench_store.py [--rounds 5] [--seconds 1] [--directory DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median

from leakwarden.messaging.message import MessageType, NewMessage, Priority
from leakwarden.messaging.message_ids import MessageIds
from leakwarden.messaging.store.connect import DATABASE, connect_writer
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import INSERT, Messages
from leakwarden.messaging.store.rows import values_of
from leakwarden.messaging.store.schema import migrate
from leakwarden.settings import StoreSettings, Synchronous
from table import Row, report

BODY = "x" * 256
SENDERS = 16
IDS = MessageIds()

Part = Callable[[Path, Synchronous, float], float]


def new_message() -> NewMessage:
    now = time.time()
    return NewMessage(
        IDS.new(now), "Agent-1", "Agent-2", BODY, MessageType.TEXT, Priority.NORMAL, now
    )


def bare(directory: Path, synchronous: Synchronous, seconds: float) -> float:
    connection = connect_writer(directory / DATABASE, synchronous)
    migrate(connection, directory / DATABASE)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        connection.execute(INSERT, values_of(new_message()))
        done += 1
    rate = done / (time.perf_counter() - started)
    connection.close()
    return rate


def threads(senders: int) -> Part:
    def part(directory: Path, synchronous: Synchronous, seconds: float) -> float:
        engine = Engine(directory, StoreSettings(synchronous=synchronous))
        engine.open()
        messages, done = Messages(engine), [0] * senders
        started = time.perf_counter()

        def send(number: int) -> None:
            while time.perf_counter() - started < seconds:
                messages.enqueue([new_message()])
                done[number] += 1

        workers = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        rate = sum(done) / (time.perf_counter() - started)
        engine.close()
        return rate

    return part


def coroutines(directory: Path, synchronous: Synchronous, seconds: float) -> float:
    engine = Engine(directory, StoreSettings(synchronous=synchronous))
    engine.open()
    messages, done = Messages(engine), count()
    started = time.perf_counter()

    async def send() -> None:
        while time.perf_counter() - started < seconds:
            await messages.enqueue_async([new_message()])
            next(done)

    async def all_of_them() -> None:
        await asyncio.gather(*(send() for _ in range(SENDERS)))

    asyncio.run(all_of_them())
    rate = next(done) / (time.perf_counter() - started)
    engine.close()
    return rate


PARTS: dict[str, Part] = {
    "bare": bare,
    "1 thread": threads(1),
    f"{SENDERS} threads": threads(SENDERS),
    f"{SENDERS} asyncio senders": coroutines,
}
# Of the bare rate, in FULL; NORMAL is shown beside it.
GOALS = {"1 thread": 0.7, f"{SENDERS} threads": 4.0, f"{SENDERS} asyncio senders": 4.0}


def measure(synchronous: Synchronous, rounds: int, seconds: float, parent: Path) -> list[Row]:
    rates: dict[str, list[float]] = {name: [] for name in PARTS}
    for _ in range(rounds):
        for name, part in PARTS.items():
            with tempfile.TemporaryDirectory(dir=parent) as folder:
                rates[name].append(part(Path(folder), synchronous, seconds))
    baseline = median(rates["bare"])
    # Of each round by itself: the parts of one round met the same neighbours.
    ratios = {
        name: median(rate / bare for rate, bare in zip(found, rates["bare"], strict=True))
        for name, found in rates.items()
    }
    return [
        Row(
            name=f"durable sends, {name}, {synchronous.upper()}",
            measured=median(rates[name]),
            baseline=baseline,
            ratio=ratios[name],
            goal=GOALS[name] if synchronous == "full" else None,
            unit="sends/s",
            comment="median ratio of the rounds; baseline: bare inserts, one thread",
            goal_is_floor=True,
        )
        for name in PARTS
        if name != "bare"
    ]


def depths_cost(queued: int, parent: Path) -> Row:
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        engine = Engine(Path(folder), StoreSettings(synchronous="normal"))
        engine.open()
        messages = Messages(engine)
        for _ in range(0, queued, 1000):
            messages.enqueue([new_message() for _ in range(1000)])
        taken = []
        for _ in range(20):
            started = time.perf_counter()
            messages.depths()
            taken.append((time.perf_counter() - started) * 1e6)
        engine.close()
    return Row(f"depths at a scrape, {queued:,} queued", median(taken), unit="us")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    given = parser.parse_args()
    parent = given.directory or Path(tempfile.gettempdir())
    rows = [
        *measure("full", given.rounds, given.seconds, parent),
        *measure("normal", given.rounds, given.seconds, parent),
        depths_cost(10_000, parent),
        depths_cost(100_000, parent),
    ]
    print(f"SQLite {sqlite3.sqlite_version}")
    return 0 if report("store", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
