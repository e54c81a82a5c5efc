"""The store's engine: one writer, many callers, one fdatasync for all who ask at once.

Callers hand in work and wait until it is durable. The daemon thread
"leakwarden-store" takes all that has gathered, commits it as one transaction
(batch.py) and wakes its callers. Two shortcuts were measured to pay
(benchmarks/bench_store.py):

- Where nobody else waits, the caller commits on its own thread, which saves two
  switches between threads. `_turn` is held by whoever writes, so there is one
  writer at a time all the same.
- After a batch of n the writer waits up to a millisecond for n callers to come
  back, else two halves would take turns, each paying for a whole fdatasync.
  Coroutines that ask in one turn of their loop arrive together.

Work must not call the engine: it already runs inside the writer's transaction.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from leakwarden.core.errors import Unavailable
from leakwarden.core.histogram import Histogram
from leakwarden.messaging.store.batch import run_batch
from leakwarden.messaging.store.bursts import Bursts
from leakwarden.messaging.store.connect import DATABASE, connect_writer, open_database
from leakwarden.messaging.store.datadir import DataDir
from leakwarden.messaging.store.housekeeping import back_up, probe, tidy
from leakwarden.messaging.store.items import Item, Row, Work, settle
from leakwarden.messaging.store.leases import put_back
from leakwarden.messaging.store.readers import Readers
from leakwarden.messaging.store.trouble import Trouble
from leakwarden.settings import StoreSettings
from leakwarden.snapshot import StoreSample

T = TypeVar("T")

_log = logging.getLogger(__name__)

# How long the writer waits for as many callers as the last batch had. A fdatasync takes 0.2 ms on
# a virtual disk and 2 to 10 on a real one, so this is never the larger part of a commit for long:
# a wait that brings fewer lowers what the next one expects.
_GATHER_SECONDS = 0.001
# An idle service wakes at most once a second, and only while there is something to tidy or mend.
_TIDY_SECONDS = 1.0
# Bounds what one transaction holds in memory and how long the first of its callers waits.
_MOST_ITEMS = 1000

# From a fast disk's fdatasync to one that is dying.
COMMIT_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)


class Engine:
    """The store of one data directory. Any thread may call it once it is open.

    Where the disk cannot commit, each caller of that batch gets Unavailable and nothing of it is
    kept; the writer goes on, tries by itself every second, and is healthy again with the first
    commit that succeeds. A forked child gets Unavailable: the store stays the parent's.
    """

    def __init__(self, directory: Path, settings: StoreSettings) -> None:
        self.path = directory / DATABASE
        self._settings = settings
        self._directory = DataDir(directory)
        self._readers = Readers(self.path)
        self._durations = Histogram(COMMIT_BOUNDS)
        self._bursts = Bursts(self._put)
        self._queue: deque[Item] = deque()
        self._turn = threading.Lock()
        # Held while nothing rings: the writer sleeps by acquiring it.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._expected = 1
        self._accepting = False
        self._commits = 0
        self._seen_commits = 0
        self._tidied_commits = 0
        self._trouble: Trouble | None = None
        self._pid = 0
        self._file_id: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Own the directory, check and migrate the database, put back leases, start the writer.

        ConfigError, and nothing is held, where another process has the directory, the file system
        is not local, or the database is damaged, newer, or not leakwarden's.
        """
        self._directory.acquire()
        try:
            self._connection = open_database(
                self.path,
                self._settings.synchronous,
                check=not self._directory.was_clean,
                prepare=lambda connection: put_back(connection, time.time()),
            )
        except BaseException:
            self._directory.release(clean=False)
            raise
        self._pid = os.getpid()
        self._file_id = _file_id(self.path)
        self._readers = Readers(self.path)
        self._accepting = True
        self._thread = threading.Thread(target=self._write, name="leakwarden-store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commit what was handed in, empty the log, and give the directory free. Twice is once."""
        thread, self._thread = self._thread, None
        if thread is None or os.getpid() != self._pid:
            return
        self._accepting = False
        self._ring()
        thread.join()
        self._refuse_left_over()
        with self._turn:
            connection, self._connection = self._connection, None
        self._readers.close()
        clean = False
        if connection is not None:
            clean = self._trouble is None and tidy(connection)
            connection.close()
        self._directory.release(clean=clean)

    def submit(self, work: Work[T]) -> T:
        """What `work(connection)` returned, once it is durable.

        Raises what it raised, and then nothing of it is kept; Unavailable where the disk cannot
        commit or the store is not open.
        """
        item = Item(work=work)
        self._run(item)
        result: T = item.result
        return result

    def append(self, sql: str, rows: Sequence[Row]) -> None:
        """As submit, for one statement that ends in the VALUES of a row, over `rows`."""
        self._run(Item(sql=sql, rows=rows))

    async def submit_async(self, work: Work[T]) -> T:
        """As submit, for a coroutine. Cancelling it does not take the work back."""
        self._check()
        result: T = await self._bursts.add(Item(work=work))
        return result

    async def append_async(self, sql: str, rows: Sequence[Row]) -> None:
        """As append, for a coroutine. Cancelling it does not take the rows back."""
        self._check()
        await self._bursts.add(Item(sql=sql, rows=rows))

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns of the last commit; it returns plain values, never a cursor."""
        self._check()
        return self._readers.read(query)

    def healthy(self) -> str | None:
        """None, or one sentence why the store cannot commit now."""
        if not self._accepting:
            return "the store is not open"
        trouble = self._trouble
        if trouble is not None:
            return str(trouble)
        # What is committed to a file that was removed is lost, and SQLite does not notice.
        return None if _file_id(self.path) == self._file_id else f"{self.path} was removed"

    def sample(self) -> StoreSample:
        """Bytes of the database with its write-ahead log, and how long commits took."""
        total = self.path.stat().st_size
        # There is no log before the first commit and after the last.
        with suppress(FileNotFoundError):
            total += self.path.with_name(f"{DATABASE}-wal").stat().st_size
        return StoreSample(total, self._durations.sample())

    def backup(self, target: Path) -> None:
        """A compact copy of the last commit in `target`, which must not exist; writing goes on.

        ConfigError where `target` exists or cannot be written.
        """
        self._check()
        back_up(self._readers, target)

    def _check(self) -> None:
        if not self._accepting:
            raise Unavailable("the store is not open", "the service is starting or stopping")
        if os.getpid() != self._pid:
            raise Unavailable(
                f"the store belongs to process {self._pid}", "open it in that process alone"
            )

    def _run(self, item: Item) -> None:
        self._check()
        if self._expected == 1 and not self._queue and self._turn.acquire(blocking=False):
            try:
                self._commit([item])
            finally:
                self._turn.release()
        else:
            item.gate = gate = threading.Lock()
            gate.acquire()
            self._put((item,))
            gate.acquire()
        if item.error is not None:
            raise item.error

    def _put(self, items: Iterable[Item]) -> None:
        self._queue.extend(items)
        if len(self._queue) >= self._expected:
            self._ring()
        if not self._accepting:
            # Closing may have looked at the queue before these came: nobody else would wake them.
            self._refuse_left_over()

    def _ring(self) -> None:
        # RuntimeError: it rings already.
        with suppress(RuntimeError):
            self._bell.release()

    def _refuse_left_over(self) -> None:
        if self._thread is not None:
            return  # the writer is still there and takes what is queued
        for item in self._take():
            item.error = Unavailable("the store is closed", "the service is stopping")
            settle([item])

    def _take(self) -> list[Item]:
        items: list[Item] = []
        try:
            while len(items) < _MOST_ITEMS:
                items.append(self._queue.popleft())
        except IndexError:
            pass  # another thread may take too: the last item is known only by its absence
        return items

    def _write(self) -> None:
        """The writer thread: until closed, and then until the queue is empty."""
        while self._accepting or self._queue:
            rang = self._bell.acquire(timeout=self._patience())
            with self._turn:
                items = self._take()
                if items:
                    self._commit_here(items)
                    self._expected = len(items) + len(self._queue)
                elif not rang:
                    self._idle()
            if not items:
                self._expected = 1
            settle(items)
            if len(self._queue) >= self._expected:
                # Came while the expectation was higher than it is now, so did not ring.
                self._ring()

    def _patience(self) -> float:
        """Seconds to wait for the bell; -1 is for ever."""
        if self._queue or self._expected > 1:
            return _GATHER_SECONDS
        if self._trouble is not None or self._commits != self._tidied_commits:
            return _TIDY_SECONDS
        return -1.0

    def _commit(self, items: list[Item]) -> None:
        """Run one batch; the caller holds `_turn`."""
        connection = self._connection
        if connection is None:
            for item in items:
                item.error = Unavailable("the store is closed", "the service is stopping")
            return
        trouble = run_batch(connection, items, self.path, self._durations.observe)
        if self._commits == self._tidied_commits or (trouble is not None and self._trouble is None):
            self._ring()  # there is now something to tidy or mend: the writer may sleep for ever
        self._commits += 1
        before, self._trouble = self._trouble, trouble
        if trouble is not None and (before is None or before.reason != trouble.reason):
            _log.error("store.cannot_commit reason=%s error=%s", trouble.reason, trouble.detail)
        elif trouble is None and before is not None:
            _log.warning("store.recovered after=%s", before.reason)

    def _commit_here(self, items: list[Item]) -> None:
        """As _commit, and nothing rises: without its thread the store would be silent for ever."""
        try:
            self._commit(items)
        except Exception as error:  # noqa: BLE001 - the edge of the writer's loop
            _log.exception("store.writer_failed")
            for item in items:
                item.error = error

    def _idle(self) -> None:
        """Nobody wants anything: mend what is broken, else empty the log. Holds `_turn`."""
        connection = self._connection
        if connection is None or self._expected > 1:
            return
        trouble = self._trouble
        if trouble is not None:
            if trouble.needs_new_connection:
                self._connection = self._reconnect(connection)
            self._commit_here([Item(work=probe)])
        elif self._commits != self._seen_commits:
            self._seen_commits = self._commits  # callers commit on their own threads: not idle yet
        elif tidy(connection):
            self._tidied_commits = self._commits

    def _reconnect(self, broken: sqlite3.Connection) -> sqlite3.Connection:
        try:
            fresh = connect_writer(self.path, self._settings.synchronous)
        except sqlite3.Error:
            return broken  # the next probe tries again
        broken.close()
        return fresh


def _file_id(path: Path) -> tuple[int, int] | None:
    """Which file stands at `path`; None where none does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
