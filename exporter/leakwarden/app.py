"""The Warden: builds every account and monitor once, and hands out the snapshot of them all.

This is what a user of the library holds. It opens no port, reads no environment
and starts no thread before `start()`. The messaging service is put together in
`serving.py` around one of these.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

from leakwarden.core.errors import ConfigError, Refused
from leakwarden.core.resource import LeaseInfo, Overflow, ResourceSettings, Usage, check_kind
from leakwarden.managers.custom import Pool
from leakwarden.managers.files import Files
from leakwarden.managers.gui_sessions import GuiSessions
from leakwarden.managers.message_buffers import MessageBuffers
from leakwarden.managers.validation_history import ValidationHistory
from leakwarden.monitors.heap import HeapMonitor
from leakwarden.monitors.process import ProcessMonitor
from leakwarden.service.cleanup import Cleanup
from leakwarden.service.periodic import Job, Periodic
from leakwarden.settings import Settings
from leakwarden.snapshot import CollectorResult, Snapshot, Source
from leakwarden.version import __version__

Manager = Files | GuiSessions | MessageBuffers | ValidationHistory | Pool

SAMPLE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Warden:
    """The accounts of one process, its monitors, and the loop that keeps them true.

    `instance_id` tells this process from others for as long as it lives; the service passes the
    one it keeps in its data directory. A Warden that was not started accounts and measures all
    the same, but sweeps nothing by itself. In a forked child it has an id of its own, holds
    nothing, and is not started.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        instance_id: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or Settings()
        self.instance_id = instance_id or uuid.uuid4().hex
        resources = self.settings.resources
        self._clock = clock
        self.files = Files(resources["file_handle"], clock)
        self.gui_sessions = GuiSessions(resources["pyautogui_session"], clock)
        self.validation_history = ValidationHistory(resources["validation_record"], clock)
        self.message_buffers = MessageBuffers(resources["message_buffer"], clock)
        self._managers: dict[str, Manager] = {}
        self._sources: list[Source] = []
        self._pid = os.getpid()
        self._cpu_seconds = 0.0
        self._cpu_lock = threading.Lock()
        self._heap = HeapMonitor(self.settings.detection_window_seconds, clock)
        self.add_source(Source("process", "process", ProcessMonitor().sample))
        self.add_source(Source("heap", "heap", self._heap.sample))
        self.cleanup = Cleanup()
        self._periodic: Periodic | None = None
        self._jobs = [
            Job("sample", SAMPLE_SECONDS, self._sample),
            Job("cleanup", self.settings.cleanup.interval_seconds, self._sweep, at_start=True),
        ]
        for manager in (
            self.files,
            self.gui_sessions,
            self.validation_history,
            self.message_buffers,
        ):
            self._manage(manager)

    def track(
        self,
        kind: str,
        *,
        limit: int | None = None,
        ttl: float | None = None,
        limit_bytes: int | None = None,
        overflow: Overflow = "reject",
        on_release: Callable[[Any], None] | None = None,
    ) -> Pool:
        """The pool of a kind of your own; `ttl` in seconds.

        Where the settings name the kind under `resources`, they win over the arguments, so that
        an operator can change a limit without changing code. ConfigError where `kind` cannot
        name one or is tracked already.
        """
        check_kind(kind)
        asked = ResourceSettings(limit, ttl, limit_bytes, overflow)
        settings = self.settings.resources.get(kind, asked)
        pool = Pool(kind, settings, self._clock, on_release)
        self._manage(pool)
        return pool

    def add_source(self, source: Source) -> None:
        """Read `source` for each snapshot from now on."""
        self._sources.append(source)

    def add_job(self, job: Job) -> None:
        """Run `job` too on the periodic thread, from the next `start()` on."""
        self._jobs.append(job)

    def snapshot(self) -> Snapshot:
        """Everything true now. A source that raises is absent, and its collector says why."""
        self._renew_after_fork()
        began = time.thread_time()
        values: dict[str, Any] = {}
        usages: list[Usage] = []
        results: list[CollectorResult] = []
        for source in list(self._sources):
            started = time.perf_counter()
            error = None
            try:
                value = source.read()
            except Exception as raised:  # noqa: BLE001 - isolated: reported as success 0
                error = type(raised).__name__
            else:
                if source.field == "usages":
                    usages.append(value)
                else:
                    values[source.field] = value
            results.append(CollectorResult(source.collector, time.perf_counter() - started, error))
        return Snapshot(
            at=time.time(),
            instance_id=self.instance_id,
            version=__version__,
            usages=tuple(usages),
            collectors=tuple(results),
            self_cpu_seconds_total=self._spend(time.thread_time() - began),
            **values,
        )

    def kinds(self) -> tuple[str, ...]:
        """Every kind that has a ledger, leakwarden's own first."""
        return tuple(self._managers)

    def leases(self, kind: str | None = None, most: int = 100) -> list[LeaseInfo]:
        """At most `most` live leases of `kind`, or of every kind; least recently touched first.

        Refused (`unknown_resource`) for a kind that has no ledger.
        """
        if kind is None:
            managers = tuple(self._managers.values())
            every = [lease for each in managers for lease in each.leases(most)]
            return sorted(every, key=lambda lease: -lease.idle_seconds)[:most]
        if kind not in self._managers:
            raise Refused(
                "unknown_resource",
                f"no resource is called {kind!r}",
                f"the kinds here are {', '.join(self._managers)}",
                "resource",
            )
        return self._managers[kind].leases(most)

    def start(self) -> None:
        """Take the provisional baseline, sweep once, and go on sampling and sweeping.

        Does nothing where it was started already. It is stopped at exit: a thread that still ran
        then would keep the program's files from being closed, and so from being flushed.
        """
        self._renew_after_fork()
        if self._periodic is not None:
            return
        self._heap.ready()
        self._periodic = Periodic(self._jobs)
        self._periodic.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Stop sampling and sweeping; what is held stays held."""
        atexit.unregister(self.stop)
        self._renew_after_fork()
        periodic, self._periodic = self._periodic, None
        if periodic is not None:
            periodic.stop()

    def __enter__(self) -> Warden:  # noqa: PYI034 - typing.Self is not in 3.10
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _manage(self, manager: Manager) -> None:
        kind = manager.ledger.kind
        # One atomic step, for two threads may track a kind at once.
        if self._managers.setdefault(kind, manager) is not manager:
            raise ConfigError(
                f"{kind} is tracked already", "keep the pool that the first call returned"
            )
        self.add_source(Source(kind, "usages", manager.usage))
        self.cleanup.add(f"{kind}.close_stale", lambda: _close_stale(manager))

    def _sample(self) -> None:
        began = time.thread_time()
        fixed = self._heap.observe()
        self.gui_sessions.reap()
        for manager in tuple(self._managers.values()):
            # Reading the usage closes what was dropped unreleased, so the totals rise in time.
            manager.usage()
        self._spend(time.thread_time() - began)
        if fixed is not None:
            _log.info("heap.baseline_fixed bytes=%d samples=%d", fixed.in_use_bytes, fixed.samples)

    def _sweep(self) -> None:
        began = time.thread_time()
        self.cleanup.run()
        self._spend(time.thread_time() - began)

    def _renew_after_fork(self) -> None:
        """In a child, forget the parent's thread, its lock and its identity."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._cpu_lock = threading.Lock()
        self._periodic = None
        self.instance_id = uuid.uuid4().hex

    def _spend(self, cpu_seconds: float) -> float:
        """What measuring has cost so far, with `cpu_seconds` more."""
        with self._cpu_lock:
            self._cpu_seconds += cpu_seconds
            return self._cpu_seconds


def _close_stale(manager: Manager) -> int:
    """How many leases were closed. What could not be is logged here, for managers never log."""
    failed_before = manager.usage().release_failures_total
    closed = manager.close_stale()
    failed = manager.usage().release_failures_total - failed_before
    if failed:
        closer = getattr(manager, "closer", None)
        _log.warning(
            "cleanup.close_failed kind=%s count=%d last_error=%r",
            manager.ledger.kind,
            failed,
            closer and closer.last_error,
        )
    return closed
