"""Rounds of SIGKILL at random moments under load: nothing is lost, nothing stands twice.

    python tests/torture/sigkill.py --rounds 100 [--target service] [--seed 1]

Each round starts the target over the same data directory, lets several senders send
through it while agents move finished messages into `done/`, and kills it. What was
acknowledged must then be in the database, and no message in two places. At the end
the target delivers the rest, is stopped in order, and everything is counted from
outside. Exits 1 where a count is not what it must be.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from service_target import serve

HERE = Path(__file__).parent
DATABASE = "leakwarden.db"
SENDERS = 6
# From before the first message to well into the load.
KILL_AFTER_SECONDS = (0.0, 0.6)


@dataclass
class Target:
    """One way to run what is tortured; `process` is what gets killed.

    `start` is called with the data directory, the number of senders (0: deliver what is queued,
    then exit 0), and what to call with each acknowledged id. It returns once the target is ready;
    `join` waits for its senders to notice that it is gone.
    """

    process: subprocess.Popen[bytes]
    senders: list[threading.Thread]

    def join(self) -> None:
        self.process.wait()
        for sender in self.senders:
            sender.join()


Start = Callable[[Path, int, Callable[[str], None]], Target]


def start_store(data_dir: Path, senders: int, acknowledged: Callable[[str], None]) -> Target:
    """The store and delivery in a process of their own, which sends to itself."""
    command = [sys.executable, str(HERE / "store_child.py"), str(data_dir), str(senders)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if not line.endswith(b"\n"):
                    break
                if line == b"ready\n":
                    ready.set()
                else:
                    acknowledged(line.decode().strip())
        ready.set()  # it ended before it was ready: its exit code says why

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(60), "the target does not start"
    return Target(process, [reader])


def start_service(data_dir: Path, senders: int, acknowledged: Callable[[str], None]) -> Target:
    """`leakwarden serve`, sent to over HTTP."""
    service, threads = serve(data_dir, senders, acknowledged)
    return Target(service.served.process, threads)


TARGETS: dict[str, Start] = {"service": start_service, "store": start_store}


@dataclass
class Counts:
    """What a recount from outside found, and what of it must not be."""

    acknowledged: int = 0
    stored: int = 0
    in_inbox: int = 0
    in_done: int = 0
    undelivered: int = 0
    temporary: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def bad(self) -> bool:
        return bool(self.lost or self.twice or self.unknown)


def recount(data_dir: Path, acknowledged: set[str]) -> Counts:
    """Count the database and the folders while nobody writes to them."""
    # In a copy: whoever opens the log after a crash mends it, and that is the target's own task.
    with tempfile.TemporaryDirectory() as copy:
        for path in data_dir.glob(f"{DATABASE}*"):
            shutil.copy(path, copy)
        with closing(sqlite3.connect(Path(copy) / DATABASE)) as outside:
            states = dict(outside.execute("SELECT id, state FROM messages"))
    inbox = [path.stem for path in data_dir.glob("agents/*/inbox/*.md")]
    done = [path.stem for path in data_dir.glob("agents/*/done/*.md")]
    files = Counter(inbox + done)
    return Counts(
        acknowledged=len(acknowledged),
        stored=len(states),
        in_inbox=len(inbox),
        in_done=len(done),
        undelivered=sum(state != "delivered" for state in states.values()),
        temporary=len(list(data_dir.glob("agents/*/inbox/.*.tmp"))),
        lost=sorted(
            one
            for one in acknowledged
            # Delivered without a file is as lost as never stored.
            if one not in states or (states[one] == "delivered" and not files[one])
        ),
        twice=sorted(one for one, count in files.items() if count > 1),
        unknown=sorted(files.keys() - states.keys()),
    )


def finish_some(data_dir: Path, until: threading.Event, seed: int) -> None:
    """Be the agents: move messages into `done/` as they come, about one in two."""
    choice = random.Random(seed)
    while not until.wait(0.005):
        for path in list(data_dir.glob("agents/*/inbox/*.md")):
            if choice.random() < 0.5:
                path.rename(path.parent.parent / "done" / path.name)


def torture(start: Start, rounds: int, data_dir: Path, seed: int = 1) -> list[Counts]:
    """A recount for each round, and one after all is delivered; ends early where one is bad."""
    chance = random.Random(seed)
    acknowledged: set[str] = set()
    counts: list[Counts] = []
    for number in range(rounds):
        until = threading.Event()
        agents = threading.Thread(target=finish_some, args=(data_dir, until, seed + number))
        target = start(data_dir, SENDERS, acknowledged.add)
        agents.start()
        time.sleep(chance.uniform(*KILL_AFTER_SECONDS))
        target.process.send_signal(signal.SIGKILL)
        target.join()
        until.set()
        agents.join()
        counts.append(recount(data_dir, acknowledged))
        if counts[-1].bad() or target.process.returncode != -signal.SIGKILL:
            return counts
    target = start(data_dir, 0, acknowledged.add)
    target.join()
    assert target.process.returncode == 0, "the last, orderly run failed"
    counts.append(recount(data_dir, acknowledged))
    return counts


def table(counts: list[Counts]) -> str:
    names = ("acknowledged", "stored", "in_inbox", "in_done", "undelivered", "temporary")
    bad = ("lost", "twice", "unknown")
    lines = ["| round | " + " | ".join((*names, *bad)) + " |", "|---" * (len(names) + 4) + "|"]
    for number, one in enumerate(counts, 1):
        cells = [str(getattr(one, name)) for name in names]
        cells += [str(len(getattr(one, name))) for name in bad]
        label = "after the last" if number == len(counts) else str(number)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--target", choices=TARGETS, default="service")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        counts = torture(TARGETS[given.target], given.rounds, data_dir, given.seed)
    print(table(counts))
    last = counts[-1]
    whole = len(counts) == given.rounds + 1 and not last.bad() and last.undelivered == 0
    print("no acknowledged message was lost, none stands twice" if whole else "FAILED")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
