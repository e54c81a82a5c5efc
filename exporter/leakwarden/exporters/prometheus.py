"""The page that Prometheus scrapes: the catalog read from one snapshot, in either text format.

client_python's encoders write it; its registry and its instruments are not used, for every
family is built anew from the snapshot, and nothing is registered with anybody. A family whose
reading raises is absent and the collector `exporter` says so: one bug must not blank the page.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from gzip import compress
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from leakwarden.core.histogram import HistogramSample
from leakwarden.exporters.catalog import FAMILIES
from leakwarden.exporters.catalog_family import Family, Value
from leakwarden.exporters.catalog_self import EXPORTER, ON_THE_PAGE_ITSELF, series_dropped
from leakwarden.exporters.series_cap import Reading, leave_out, that_fit
from leakwarden.snapshot import CollectorResult, Snapshot

# 5,000 series take 50 ms of the GIL and 330 KB; 19 a kind leave room for some 255 kinds.
MAX_SERIES = 5000

# Level 1 costs 0.8 ms at 10,000 series and level 9 9.3 ms, for a page a third larger.
_GZIP_LEVEL = 1

_OPENMETRICS = "application/openmetrics-text"
_TEXT_RANGES = frozenset({"text/plain", "text/*", "*/*"})

_log = logging.getLogger(__name__)


class Page(NamedTuple):
    """One answer to a scrape; `content_encoding` is None where the body is not compressed."""

    body: bytes
    content_type: str
    content_encoding: str | None


class Exporter:
    """Renders snapshots. Any thread may ask for a page; being asked changes no measurement.

    No page has more than `max_series`: past it, the kinds that come last are left out of every
    family, those of their collectors included, and counted. What the code alone decides, some
    90 series of a whole page, is always there; where even that is over the cap, no kind is.
    """

    def __init__(
        self,
        take_snapshot: Callable[[], Snapshot],
        *,
        max_series: int = MAX_SERIES,
        families: Sequence[Family] = FAMILIES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._take_snapshot = take_snapshot
        self._max_series = max_series
        self._clock = clock
        self._measured = [family for family in families if family not in ON_THE_PAGE_ITSELF]
        self._lock = threading.Lock()
        self._failed: dict[str, str] = {}
        self._page_itself = [*ON_THE_PAGE_ITSELF[:-1], series_dropped(self._dropped_so_far)]
        self._dropped = {
            family.name: 0
            for family in (*self._measured, *ON_THE_PAGE_ITSELF)
            if family.subject_at is not None
        }

    def page(
        self,
        accept: str | None,
        names: Sequence[str] = (),
        gzip: bool = False,  # noqa: FBT001, FBT002 - a thread pool calls it by position
    ) -> Page:
        """The page as the Accept header prefers it; with `names`, those families alone.

        Text 0.0.4 unless OpenMetrics 1.0.0 is preferred; no other version is ever claimed. A
        name is a family's or one of its samples'; one that is unknown selects nothing. Whatever
        `take_snapshot` raises goes through: without a snapshot there is no page.
        """
        metrics = self._collect(self._take_snapshot(), frozenset(names))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Scrape(metrics))
        if prefers_openmetrics(accept or ""):
            body = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
            content_type = CONTENT_TYPE_OPENMETRICS
        else:
            body, content_type = generate_text(registry), CONTENT_TYPE_PLAIN_0_0_4
        if gzip:
            return Page(compress(body, _GZIP_LEVEL), content_type, "gzip")
        return Page(body, content_type, None)

    def _collect(self, snapshot: Snapshot, names: frozenset[str]) -> list[Metric]:
        began = self._clock()
        failed: dict[str, str] = {}
        measured, itself = _named(self._measured, names), _named(self._page_itself, names)
        readings = _read(measured, snapshot, failed)
        kept = self._cut(readings, _read(itself, _told(snapshot, 0.0, failed), failed), snapshot)
        metrics = _metrics(readings, failed)
        told = _told(snapshot, self._clock() - began, failed)
        own = _read(itself, told, failed)
        if kept is not None:
            leave_out(own, kept)
        metrics += _metrics(own, failed)
        self._tell({family.name: failed.get(family.name) for family in (*measured, *itself)})
        return metrics

    def _cut(
        self, readings: list[Reading], foreseen: list[Reading], snapshot: Snapshot
    ) -> frozenset[str] | None:
        """Bring `readings` under the cap; the kinds and collectors that stay, None for all.

        `foreseen` is as long as what the page will say of itself, which is read only later.
        """
        collectors = (result.collector for result in snapshot.collectors)
        kinds = (usage.kind for usage in snapshot.usages)
        together = [*readings, *foreseen]
        kept = that_fit(together, (EXPORTER, *collectors, *kinds), self._max_series)
        if kept is not None:
            kept |= {EXPORTER}
            dropped = leave_out(together, kept)
            with self._lock:
                for name, count in dropped.items():
                    self._dropped[name] += count
        return kept

    def _dropped_so_far(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._dropped)

    def _tell(self, outcomes: Mapping[str, str | None]) -> None:
        """Log the families that fail now and did not, or otherwise, when they were last read.

        `outcomes` has the error of each family that was read, None where there was none.
        """
        failed = {name: error for name, error in outcomes.items() if error is not None}
        with self._lock:
            new = {name: error for name, error in failed.items() if self._failed.get(name) != error}
            for name in outcomes.keys() - failed.keys():
                self._failed.pop(name, None)
            self._failed.update(new)
        if new:
            _log.warning("exporter.families_failed %s", new)


class _Scrape(Collector):
    """The collector that one page's registry holds."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def prefers_openmetrics(accept: str) -> bool:
    """Whether an Accept header (RFC 9110 section 12.5.1) puts OpenMetrics 1.0 at or above text.

    A range of another version of OpenMetrics is passed over, as is one whose weight is no number;
    an empty header wants text.
    """
    openmetrics = text = 0.0
    for entry in accept.split(","):
        media, *rest = (part.strip().lower() for part in entry.split(";"))
        parameters = dict(part.partition("=")[::2] for part in rest)
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            continue
        if media == _OPENMETRICS and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, weight)
        elif media in _TEXT_RANGES:
            text = max(text, weight)
    return openmetrics > 0 and openmetrics >= text


def _named(families: Iterable[Family], names: frozenset[str]) -> list[Family]:
    return [family for family in families if not names or names & family.sample_names]


def _told(snapshot: Snapshot, seconds: float, failed: Mapping[str, str]) -> Snapshot:
    """`snapshot` with what the exporter says of itself: how long it took and what went wrong."""
    error = ", ".join(sorted(set(failed.values()))) or None
    own = CollectorResult(EXPORTER, seconds, error)
    return replace(snapshot, collectors=(*snapshot.collectors, own))


def _read(families: Iterable[Family], snapshot: Snapshot, failed: dict[str, str]) -> list[Reading]:
    """Every family's samples; one that raises goes into `failed` and is left out."""
    readings = []
    for family in families:
        try:
            readings.append((family, list(family.read(snapshot))))
        except Exception as error:  # noqa: BLE001, PERF203 - isolated, counted and logged
            failed[family.name] = type(error).__name__
    return readings


def _metrics(readings: Iterable[Reading], failed: dict[str, str]) -> list[Metric]:
    """client_python's form of each reading that has samples; one that has none is absent."""
    metrics = []
    for family, samples in readings:
        metric = Metric(family.base_name, family.help, family.type, family.unit)
        try:
            for values, value in samples:
                _add(metric, family, dict(zip(family.label_names, values, strict=True)), value)
        except Exception as error:  # noqa: BLE001 - isolated, counted and logged
            failed[family.name] = type(error).__name__
        else:
            if metric.samples:
                metrics.append(metric)
    return metrics


def _add(metric: Metric, family: Family, labels: dict[str, str], value: Value) -> None:
    if isinstance(value, HistogramSample):
        for bound, count in value.buckets:
            le = {"le": floatToGoString(bound)}  # type: ignore[no-untyped-call]
            metric.add_sample(family.name + "_bucket", {**labels, **le}, count)
        metric.add_sample(family.name + "_count", labels, value.count)
        metric.add_sample(family.name + "_sum", labels, value.sum)
    else:
        metric.add_sample(family.name, labels, float(value))
