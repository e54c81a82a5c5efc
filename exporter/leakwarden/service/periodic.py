"""Named jobs at fixed intervals, all on one thread that sleeps in between."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from leakwarden.core.errors import ConfigError

_SAME_FAILURE_EVERY_SECONDS = 60.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """`work` is called each `interval_seconds`; `at_start` also as soon as the thread runs."""

    name: str
    interval_seconds: float
    work: Callable[[], object]
    at_start: bool = False


class Periodic:
    """The thread `leakwarden-periodic`. A job that raises is counted, and the others go on.

    One job runs at a time, so each must be short; one that is late does not make up for the
    times it missed.
    """

    def __init__(self, jobs: Sequence[Job], clock: Callable[[], float] = monotonic) -> None:
        names = [job.name for job in jobs]
        wrong = [job.name for job in jobs if not 0 < job.interval_seconds < math.inf]
        if wrong or len(set(names)) != len(names):
            raise ConfigError(
                f"the periodic jobs {', '.join(wrong or names)} cannot run",
                "each has a name of its own and an interval above 0",
            )
        self._jobs = tuple(jobs)
        self._clock = clock
        self._failures = dict.fromkeys(names, 0)
        self._logged_at: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leakwarden-periodic", daemon=True)

    def start(self) -> None:
        """Begin; the first runs come one interval from now, or now where the job says so."""
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> bool:
        """True once the thread has ended: the job that runs now is finished, no other begins.

        False where it did not end within `seconds`; it is a daemon and cannot hold the process.
        A job that calls this ends the thread after itself, and gets False.
        """
        self._stopping.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def failures(self) -> Mapping[str, int]:
        """How often each job raised since the start."""
        return dict(self._failures)

    def _run(self) -> None:
        began = self._clock()
        due = {
            job.name: began if job.at_start else began + job.interval_seconds for job in self._jobs
        }
        while due and not self._stopping.wait(max(0.0, min(due.values()) - self._clock())):
            for job in self._jobs:
                if self._stopping.is_set():
                    return
                if due[job.name] <= self._clock():
                    self._call(job)
                    due[job.name] = next_due(due[job.name], job.interval_seconds, self._clock())

    def _call(self, job: Job) -> None:
        try:
            job.work()
        except Exception:
            self._failures[job.name] += 1
            now = self._clock()
            last = self._logged_at.get(job.name)
            if last is None or now - last >= _SAME_FAILURE_EVERY_SECONDS:
                self._logged_at[job.name] = now
                count = self._failures[job.name]
                _logger.exception("periodic.job_failed job=%s failures=%d", job.name, count)


def next_due(due: float, interval_seconds: float, now: float) -> float:
    """The first time after `now` that is a whole number of intervals after `due`.

    So a run that begins late does not push the later ones, and those missed are not made up for.
    """
    missed = max(0, math.floor((now - due) / interval_seconds))
    return due + (missed + 1) * interval_seconds
