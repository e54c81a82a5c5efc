"""Ending stale leases without trusting the code that ends them.

`on_release` is a user's: it may raise, and it may hang for ever on a dead peer. So it
runs outside every lock, on a daemon thread with a time limit. One thread serves a whole
run as long as its callbacks are quick; one that hangs keeps its thread, and the run goes
on with a fresh one. After a few that hang the run ends: what it had not taken stays
stale, is seen as such, and waits for the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from leakwarden.core.errors import ConfigError
from leakwarden.core.forked import call_in_forked_children
from leakwarden.core.lease import Lease
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import Cause, ResourceSettings

OnRelease = Callable[[Any], None]

# A polite close of one peer is one round trip; Python's own sqlite3 waits 5 s for a lock too.
LIMIT_SECONDS = 5.0
# Threads that may hang at once: a dead database with a hundred sessions costs eight, and 40 s.
_MOST_HANGING = 8


class _Job:
    """One lease to end: `done` is set when its callback returned, and then `closed` is final.

    `late`: the run waits for it no more, and has counted that as its failure.
    """

    __slots__ = ("closed", "done", "late", "lease")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.closed = False
        self.late = False
        self.done = threading.Event()


class Closer:
    """Ends what is stale in one ledger by `on_release(object)`.

    `limit_seconds` is how long a run waits for one callback. `last_error` is the newest failure
    as text, None before the first; their number is the ledger's `release_failures_total`.
    """

    def __init__(
        self, ledger: Ledger, on_release: OnRelease, limit_seconds: float = LIMIT_SECONDS
    ) -> None:
        self._ledger = ledger
        self._on_release = on_release
        self._limit_seconds = limit_seconds
        self.last_error: str | None
        self._running: set[_Job]
        self._start_empty()
        call_in_forked_children(self, Closer._start_empty)

    def close_stale(self, now: float, cause: Cause = "cleanup") -> int:
        """How many leases, stale at `now`, were closed with `cause`.

        One whose callback raises is open again at once. One whose callback has not returned in
        time stays `closing` until it does: it may be half closed, so nobody gets to use it. Each
        counts as one failure. RuntimeError where no thread can be started.
        """
        run: dict[Lease, _Job] = {}
        jobs: SimpleQueue[_Job | None] | None = None
        try:
            while len(self._running) < _MOST_HANGING:
                # One at a time: what is not tried yet may still come into use.
                taken = self._ledger.take_stale(now, 1)
                if not taken:
                    break
                lease = taken[0]
                if lease in run:
                    # What failed stands behind all the others: nothing untried is left.
                    self._ledger.keep(lease, failed=False)
                    break
                if jobs is None:
                    jobs = self._start_worker(lease, cause)
                job = run[lease] = _Job(lease)
                self._running.add(job)
                jobs.put(job)
                if not job.done.wait(self._limit_seconds):
                    self._ledger.keep(lease, closing=True)
                    job.late = True
                    self.last_error = f"on_release did not return within {self._limit_seconds} s"
                    jobs.put(None)
                    jobs = None
        finally:
            if jobs is not None:
                jobs.put(None)
        return sum(job.closed for job in run.values())

    def _start_empty(self) -> None:
        """Also in a forked child: the threads, and what they are at, stay with the parent."""
        self.last_error = None
        self._running = set()

    def _start_worker(self, first: Lease, cause: Cause) -> SimpleQueue[_Job | None]:
        jobs: SimpleQueue[_Job | None] = SimpleQueue()
        try:
            threading.Thread(
                target=self._work, args=(jobs, cause), name="leakwarden-closing", daemon=True
            ).start()
        except BaseException:
            self._ledger.keep(first, failed=False)
            raise
        return jobs

    def _work(self, jobs: SimpleQueue[_Job | None], cause: Cause) -> None:
        while (job := jobs.get()) is not None:
            try:
                job.closed = self._end(job.lease, cause)
            except BaseException as error:  # noqa: BLE001 - not even SystemExit may end the worker
                self.last_error = f"{type(error).__name__}: {error}"
                self._ledger.keep(job.lease, failed=not job.late)
            self._running.discard(job)
            job.done.set()

    def _end(self, lease: Lease, cause: Cause) -> bool:
        target = lease.target()
        if target is None:
            # Dropped since it was taken: there is nothing left to end.
            return self._ledger.release(lease, "finalizer")
        self._on_release(target)
        return self._ledger.release(lease, cause)


def forget_stale(ledger: Ledger, now: float, cause: Cause) -> int:
    """How many leases, stale at `now`, were closed with `cause`: nothing has to be run for them."""
    return sum(ledger.release(lease, cause) for lease in ledger.take_stale(now))


def refuse_eviction(kind: str, settings: ResourceSettings) -> None:
    """ConfigError where `settings` would evict what only a cleanup, off its user's thread, ends."""
    if settings.overflow == "evict_oldest":
        raise ConfigError(
            f"resources.{kind}.overflow is evict_oldest",
            f"a {kind} is ended by a cleanup alone and cannot be evicted: use reject",
        )
