"""Snapshots made by hand, every figure fixed, for what is compared byte for byte."""

from __future__ import annotations

from dataclasses import replace

from leakwarden.core.histogram import HistogramSample
from leakwarden.core.resource import CAUSES, ResourceSettings, Usage
from leakwarden.monitors.samples import HeapSample, ProcessSample
from leakwarden.snapshot import CollectorResult, MessageSample, Snapshot, StoreSample

AT = 1_700_000_000.0

INF = float("inf")


def usage(kind: str, settings: ResourceSettings | None = None, **figures: object) -> Usage:
    """The usage of an empty ledger, with `figures` in place of its zeros."""
    empty = Usage(
        kind=kind,
        settings=settings or ResourceSettings(),
        in_use=0,
        bytes=0,
        stale=0,
        pinned=0,
        active=0,
        oldest_idle_seconds=None,
        opened_total=0,
        closed_total=dict.fromkeys(CAUSES, 0),
        rejected_total=0,
        release_failures_total=0,
        without_finalizer=0,
    )
    return replace(empty, **figures)  # type: ignore[arg-type]


def whole() -> Snapshot:
    """A service at work: everything is measured, and one kind is the user's own."""
    ring = ResourceSettings(
        limit=1000, ttl_seconds=3600.0, limit_bytes=4_194_304, overflow="evict_oldest"
    )
    return Snapshot(
        at=AT,
        instance_id="0123456789abcdef",
        version="1.2.3",
        revision="abc1234",
        python_version="3.11.7",
        usages=(
            usage(
                "file_handle",
                ResourceSettings(limit=500, ttl_seconds=300.0),
                in_use=7,
                stale=2,
                pinned=1,
                active=3,
                oldest_idle_seconds=312.5,
                opened_total=40,
                closed_total={**dict.fromkeys(CAUSES, 0), "released": 30, "finalizer": 3},
                rejected_total=4,
                release_failures_total=1,
            ),
            usage(
                "pyautogui_session",
                ResourceSettings(limit=10, ttl_seconds=120.0),
                in_use=6,
                stale=1,
                active=2,
                oldest_idle_seconds=130.0,
                opened_total=6,
            ),
            usage("validation_record", ring, in_use=1000, bytes=250_000, opened_total=1234),
            usage("message_buffer", ring),
            usage("db_session", in_use=1, opened_total=1, oldest_idle_seconds=0.25),
        ),
        process=ProcessSample(
            cpu_seconds_total=12.34,
            resident_memory_bytes=50_000_000,
            virtual_memory_bytes=200_000_000,
            virtual_memory_max_bytes=8_589_934_592,
            open_fds=21,
            max_fds=1024,
            threads=5,
            start_time_seconds=AT - 3600,
        ),
        heap=HeapSample(
            in_use_bytes=20_000_000,
            retained_bytes=1_500_000,
            by_allocator={
                ("pymalloc", "in_use"): 12_000_000,
                ("pymalloc", "free"): 1_000_000,
                ("malloc", "in_use"): 8_000_000,
                ("malloc", "free"): 500_000,
            },
            allocated_blocks=123_456,
            baseline_bytes=18_000_000,
            baseline_final=True,
            growth_bytes=2_000_000,
            memory_limit_bytes=1_073_741_824,
            unreadable_reason=None,
        ),
        messages=MessageSample(
            attempts_total={"inbox": 9},
            failures_total={("inbox", "io"): 2, ("inbox", "no_space"): 0},
            duration_seconds={"inbox": HistogramSample(((0.005, 6), (0.1, 8), (INF, 9)), 0.375)},
            queued={"low": 0, "normal": 5, "high": 1, "urgent": 0},
            oldest_queued_at=AT - 1.5,
        ),
        store=StoreSample(65_536, HistogramSample(((0.001, 3), (0.01, 11), (INF, 12)), 0.0625)),
        collectors=(
            CollectorResult("file_handle", 0.0000625, None),
            CollectorResult("process", 0.00025, None),
            CollectorResult("logging", 0.5, "OSError"),
        ),
        self_cpu_seconds_total=0.125,
    )


def empty() -> Snapshot:
    """A process of which nothing could be measured."""
    return Snapshot(at=AT, instance_id="nothing", version="1.2.3", python_version="3.11.7")
