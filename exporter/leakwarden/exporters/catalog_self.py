"""leakwarden about itself: what it is, what it costs, and where it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from leakwarden.exporters.catalog_family import Family, Label, Sample, single
from leakwarden.snapshot import Snapshot

# The exporter reports on itself under this name, beside the managers and monitors.
EXPORTER = "exporter"

_COLLECTOR = Label(
    "collector",
    meaning="each kind, `process`, `heap`, `messages`, `store`, and `exporter` for the page itself",
    open_ended=True,
)


def _build(snapshot: Snapshot) -> Iterable[Sample]:
    return [((snapshot.version, snapshot.revision, snapshot.python_version), 1)]


def _success(snapshot: Snapshot) -> Iterable[Sample]:
    return [((each.collector,), int(each.error is None)) for each in snapshot.collectors]


def _duration(snapshot: Snapshot) -> Iterable[Sample]:
    return [((each.collector,), each.duration_seconds) for each in snapshot.collectors]


def series_dropped(counts: Callable[[], Mapping[str, int]]) -> Family:
    """The family that counts what the cap on series left out; the counts are the exporter's own."""
    return Family(
        "leakwarden_series_dropped_total",
        "counter",
        "Series left out of pages that would have been too long, with all others of their kind.",
        lambda _snapshot: [((family,), count) for family, count in counts().items()],
        (Label("family", meaning="each metric that has the label `resource` or `collector`"),),
    )


SELF = (
    Family(
        "leakwarden_build_info",
        "info",
        "Build information about the running leakwarden.",
        _build,
        (
            Label("version", meaning="of leakwarden"),
            Label("revision", meaning="of its source, `unknown` where the build did not say"),
            Label("python_version", meaning="of the interpreter"),
        ),
    ),
    Family(
        "leakwarden_instance_info",
        "info",
        "Identity of this process; a service keeps its own in the service's data directory.",
        lambda snapshot: [((snapshot.instance_id,), 1)],
        (Label("instance_id", meaning="one value a process"),),
    ),
    Family(
        "leakwarden_self_cpu_seconds_total",
        "counter",
        "CPU time that leakwarden spent on snapshots, sampling and sweeping;"
        " rendering, messages and HTTP are not in it.",
        single(lambda snapshot: snapshot.self_cpu_seconds_total),
        absent="it is not measured",
    ),
)

# Read after all the others, whose failures and omissions they tell.
ON_THE_PAGE_ITSELF = (
    Family(
        "leakwarden_collector_success",
        "gauge",
        "Whether this source could be read for this page.",
        _success,
        (_COLLECTOR,),
    ),
    Family(
        "leakwarden_collector_duration_seconds",
        "gauge",
        "Time that reading this source for this page took.",
        _duration,
        (_COLLECTOR,),
    ),
    series_dropped(dict),
)
