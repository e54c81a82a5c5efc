"""The accounts: the headline gauges, and the backbone that every kind has alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from leakwarden.core.resource import CAUSES, Usage
from leakwarden.exporters.catalog_family import Family, Label, Read, Sample
from leakwarden.snapshot import Snapshot

RESOURCE = Label(
    "resource",
    meaning="each kind, your own included",
    open_ended=True,
)
SESSION_STATES = ("active", "idle", "stale")

_FAILED = "the ledger could not be read (`leakwarden_collector_success` is 0)"


def _each(value: Callable[[Usage], float | None]) -> Read:
    """Reads one sample a kind, none for the kinds where `value` gives None."""

    def read(snapshot: Snapshot) -> Iterable[Sample]:
        for usage in snapshot.usages:
            measured = value(usage)
            if measured is not None:
                yield (usage.kind,), measured

    return read


def _oldest_activity(snapshot: Snapshot) -> Iterable[Sample]:
    # An idle time counts from when its ledger was read. The snapshot is dated after its last
    # source, and one that is slow must not make every lease younger.
    read_before_seconds = {}
    since = 0.0
    for result in reversed(snapshot.collectors):
        read_before_seconds[result.collector] = since
        since += result.duration_seconds
    for usage in snapshot.usages:
        idle = usage.oldest_idle_seconds
        if idle is None:
            yield (usage.kind,), 0
        else:
            yield (usage.kind,), snapshot.at - read_before_seconds.get(usage.kind, 0.0) - idle


def _closed(snapshot: Snapshot) -> Iterable[Sample]:
    for usage in snapshot.usages:
        for cause in CAUSES:
            yield (usage.kind, cause), usage.closed_total.get(cause, 0)


def _file_handles(snapshot: Snapshot) -> Iterable[Sample]:
    return [((), usage.in_use) for usage in snapshot.usages if usage.kind == "file_handle"]


def _sessions(snapshot: Snapshot) -> Iterable[Sample]:
    for usage in snapshot.usages:
        if usage.kind == "pyautogui_session":
            idle = usage.in_use - usage.active - usage.stale
            counts = (usage.active, max(0, idle), usage.stale)
            yield from (
                ((state,), count) for state, count in zip(SESSION_STATES, counts, strict=True)
            )


HEADLINE = (
    Family(
        "leakwarden_file_handles_open",
        "gauge",
        "File handles that were opened through leakwarden and are not closed.",
        _file_handles,
        absent=_FAILED,
    ),
    Family(
        "leakwarden_pyautogui_sessions_open",
        "gauge",
        "Open PyAutoGUI sessions: in use now, idle, or idle past their time to live.",
        _sessions,
        (Label("state", SESSION_STATES),),
        absent=_FAILED,
    ),
)

BACKBONE = (
    Family(
        "leakwarden_resources",
        "gauge",
        "Live leases: what was acquired and not given back, those being closed included.",
        _each(lambda usage: usage.in_use),
        (RESOURCE,),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resource_limit",
        "gauge",
        "Most live leases allowed at once.",
        _each(lambda usage: usage.settings.limit),
        (RESOURCE,),
        absent="the kind has no limit on their number",
    ),
    Family(
        "leakwarden_resource_ttl_seconds",
        "gauge",
        "Idle time at which a lease becomes stale.",
        _each(lambda usage: usage.settings.ttl_seconds),
        (RESOURCE,),
        absent="the kind has no time to live",
    ),
    Family(
        "leakwarden_resource_stale",
        "gauge",
        "Live leases past their time to live and not visibly in use: what a cleanup may close.",
        _each(lambda usage: usage.stale),
        (RESOURCE,),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resource_pinned",
        "gauge",
        "Live leases past their time to live and visibly in use: never stale, never closed by us.",
        _each(lambda usage: usage.pinned),
        (RESOURCE,),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resource_bytes",
        "gauge",
        "Bytes that the live leases were declared to hold.",
        _each(lambda usage: usage.bytes),
        (RESOURCE,),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resource_oldest_activity_timestamp_seconds",
        "gauge",
        "Unix time at which the least recently touched lease that is not in use was touched;"
        " 0 when none is held, or all that are held are in use.",
        _oldest_activity,
        (RESOURCE,),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resource_bounded_by_eviction",
        "gauge",
        "1 for a ring, which closes its oldest lease to admit a new one: full is its normal state.",
        _each(lambda usage: int(usage.bounded_by_eviction)),
        (RESOURCE,),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resources_opened_total",
        "counter",
        "Leases acquired.",
        _each(lambda usage: usage.opened_total),
        (RESOURCE,),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resources_closed_total",
        "counter",
        "Leases closed, by cause; finalizer proves that an owner dropped one unreleased.",
        _closed,
        (RESOURCE, Label("cause", CAUSES)),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resources_rejected_total",
        "counter",
        "Acquisitions and resizes refused because the kind was at its limit.",
        _each(lambda usage: usage.rejected_total),
        (RESOURCE,),
        absent=_FAILED,
    ),
    Family(
        "leakwarden_resource_release_failures_total",
        "counter",
        "Attempts to close a stale lease that failed; it stays open and is tried three times.",
        _each(lambda usage: usage.release_failures_total),
        (RESOURCE,),
        absent=_FAILED,
    ),
)
