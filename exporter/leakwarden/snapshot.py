"""Everything true at one instant, frozen. Whatever goes outward reads this and no manager.

So the exporters, the JSON and the command line cannot disagree, and being
scraped changes nothing. A part that could not be taken is None (or, for a
ledger, missing from `usages`) and its collector says success False: absent is
never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from leakwarden.core.histogram import HistogramSample
from leakwarden.core.resource import Usage
from leakwarden.monitors.samples import HeapSample, ProcessSample


@dataclass(frozen=True, slots=True)
class MessageSample:
    """Delivery since this process started, and the queue as it is now.

    `attempts_total` by transport, `failures_total` by (transport, reason), `duration_seconds` by
    transport, `queued` by priority name. `oldest_queued_at` is Unix time, None where none waits.
    """

    attempts_total: Mapping[str, int]
    failures_total: Mapping[tuple[str, str], int]
    duration_seconds: Mapping[str, HistogramSample]
    queued: Mapping[str, int]
    oldest_queued_at: float | None


@dataclass(frozen=True, slots=True)
class StoreSample:
    """The store: bytes of the database with its write-ahead log, and how long commits took."""

    bytes: int
    commit_duration_seconds: HistogramSample


@dataclass(frozen=True, slots=True)
class CollectorResult:
    """How one source fared: `error` is None on success, else the exception's type name."""

    collector: str
    duration_seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """One named thing to read for a snapshot, and the snapshot's field that it fills."""

    collector: str
    field: str
    read: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One instant. `at` is Unix time in seconds; usages are in the order of their kinds."""

    at: float
    instance_id: str
    version: str
    usages: tuple[Usage, ...] = ()
    process: ProcessSample | None = None
    heap: HeapSample | None = None
    messages: MessageSample | None = None
    store: StoreSample | None = None
    collectors: tuple[CollectorResult, ...] = ()
    self_cpu_seconds_total: float | None = None
