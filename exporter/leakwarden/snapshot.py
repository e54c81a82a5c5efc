"""Everything true at one instant, frozen. Whatever goes outward reads this and no manager.

So the exporters, the JSON and the command line cannot disagree, and being
scraped changes nothing. A part that could not be taken is None (or, for a
ledger, missing from `usages`) and its collector says success False: absent is
never 0.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import isinf
from typing import Any

from leakwarden.core.histogram import HistogramSample
from leakwarden.core.resource import Usage
from leakwarden.core.rfc3339 import rfc3339
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
    """One instant. `at` is Unix time in seconds; usages are in the order of their kinds.

    `revision` is that of leakwarden's source, `python_version` the interpreter's.
    """

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
    revision: str = "unknown"
    python_version: str = field(default_factory=platform.python_version)


def to_dict(snapshot: Snapshot) -> dict[str, Any]:
    """`snapshot` as JSON has it: plain values, RFC 3339 times, units in the names.

    A part or a figure that is null was not measured. `absent` then says why, one
    `{"what", "reason"}` for each source that failed or cannot be read on this system.
    """
    return {
        "at": rfc3339(snapshot.at),
        "instance_id": snapshot.instance_id,
        "version": snapshot.version,
        "resources": [_usage(usage) for usage in snapshot.usages],
        "process": None if snapshot.process is None else _process(snapshot.process),
        "heap": None if snapshot.heap is None else _heap(snapshot.heap),
        "messages": None if snapshot.messages is None else _messages(snapshot.messages),
        "store": None if snapshot.store is None else _store(snapshot.store),
        "self_cpu_seconds_total": snapshot.self_cpu_seconds_total,
        "collectors": [
            {
                "collector": result.collector,
                "duration_seconds": result.duration_seconds,
                "success": result.error is None,
            }
            for result in snapshot.collectors
        ],
        "absent": _absent(snapshot),
    }


def _absent(snapshot: Snapshot) -> list[dict[str, str]]:
    reasons = [
        {"what": result.collector, "reason": f"reading it raised {result.error}"}
        for result in snapshot.collectors
        if result.error is not None
    ]
    if snapshot.heap is not None and snapshot.heap.unreadable_reason is not None:
        reasons.append({"what": "heap", "reason": snapshot.heap.unreadable_reason})
    return reasons


def _usage(usage: Usage) -> dict[str, Any]:
    settings = usage.settings
    return {
        "resource": usage.kind,
        "in_use": usage.in_use,
        "limit": settings.limit,
        "bytes": usage.bytes,
        "limit_bytes": settings.limit_bytes,
        "ttl_seconds": settings.ttl_seconds,
        "overflow": settings.overflow,
        "stale": usage.stale,
        "pinned": usage.pinned,
        "active": usage.active,
        "oldest_idle_seconds": usage.oldest_idle_seconds,
        "opened_total": usage.opened_total,
        "closed_total": dict(usage.closed_total),
        "rejected_total": usage.rejected_total,
        "release_failures_total": usage.release_failures_total,
        "without_finalizer": usage.without_finalizer,
    }


def _process(process: ProcessSample) -> dict[str, Any]:
    plain = asdict(process)
    started = plain.pop("start_time_seconds")
    return {**plain, "started_at": None if started is None else rfc3339(started)}


def _heap(heap: HeapSample) -> dict[str, Any]:
    books = [
        {"allocator": allocator, "state": state, "bytes": size}
        for (allocator, state), size in heap.by_allocator.items()
    ]
    plain = {name: getattr(heap, name) for name in HeapSample.__slots__ if name != "by_allocator"}
    return {**plain, "by_allocator": books}


def _messages(messages: MessageSample) -> dict[str, Any]:
    oldest = messages.oldest_queued_at
    return {
        "queued": dict(messages.queued),
        "oldest_queued_at": None if oldest is None else rfc3339(oldest),
        "attempts_total": dict(messages.attempts_total),
        "failures_total": [
            {"transport": transport, "reason": reason, "count": count}
            for (transport, reason), count in messages.failures_total.items()
        ],
        "duration_seconds": {
            transport: _histogram(sample) for transport, sample in messages.duration_seconds.items()
        },
    }


def _store(store: StoreSample) -> dict[str, Any]:
    return {
        "bytes": store.bytes,
        "commit_duration_seconds": _histogram(store.commit_duration_seconds),
    }


def _histogram(sample: HistogramSample) -> dict[str, Any]:
    # JSON has no infinity: the last bound is written as Prometheus writes it.
    buckets = [
        {"le": "+Inf" if isinf(bound) else bound, "count": count} for bound, count in sample.buckets
    ]
    return {"count": sample.count, "sum": sample.sum, "buckets": buckets}
