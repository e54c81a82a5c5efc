"""The page: its format as asked for, its families as named, whole whatever fails, and bounded."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Iterable
from dataclasses import replace

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

import snapshots
from leakwarden.exporters.catalog import FAMILIES, Family, Label, Sample
from leakwarden.exporters.prometheus import Exporter, prefers_openmetrics
from leakwarden.snapshot import Snapshot

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.fixture
def exporter() -> Exporter:
    return Exporter(snapshots.whole)


def values(exporter: Exporter, *names: str) -> dict[tuple[str, ...], float]:
    """Every sample of the page: (name, label values in order of label names) to value."""
    body = exporter.page("", names).body.decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def broken(_snapshot: Snapshot) -> Iterable[Sample]:
    raise RuntimeError("a bug")


def broken_late(_snapshot: Snapshot) -> Iterable[Sample]:
    yield ("released",), 1
    raise KeyError("a bug after the first sample")


def broken_labels(_snapshot: Snapshot) -> Iterable[Sample]:
    yield ("one", "too many"), 1


def broken_value(_snapshot: Snapshot) -> Iterable[Sample]:
    yield ("released",), None  # type: ignore[misc]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,*/*;q=0.8", TEXT),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=much", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4;q=0.5", TEXT),
        ("application/openmetrics-text;version=1.7.3", TEXT),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("text/plain;version=1.0.0", TEXT),
        (";;;,,q=1", TEXT),
    ],
)
def test_the_format_is_the_preferred_one_and_no_other_version_is_claimed(
    exporter: Exporter, accept: str | None, content_type: str
) -> None:
    page = exporter.page(accept)
    assert page.content_type == content_type
    assert page.body.endswith(b"# EOF\n") == (content_type == OPENMETRICS)


def test_equal_weights_prefer_openmetrics() -> None:
    assert prefers_openmetrics("text/plain,application/openmetrics-text")


def test_gzip_is_the_same_page_and_says_so() -> None:
    ticks = iter((0.0, 1.0, 0.0, 1.0))
    exporter = Exporter(snapshots.whole, clock=lambda: next(ticks))
    plain, packed = exporter.page(""), exporter.page("", gzip=True)
    assert plain.content_encoding is None
    assert packed.content_encoding == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3


@pytest.mark.parametrize(
    ("names", "families"),
    [
        (["leakwarden_resource_limit"], ["leakwarden_resource_limit"]),
        (["leakwarden_store_bytes", "process_open_fds"], None),
        (["leakwarden_resources_opened_total"], ["leakwarden_resources_opened"]),
        (["leakwarden_resources_opened"], ["leakwarden_resources_opened"]),
        (["leakwarden_build_info"], ["leakwarden_build_info"]),
        (
            ["leakwarden_store_commit_duration_seconds_bucket"],
            ["leakwarden_store_commit_duration_seconds"],
        ),
        (["leakwarden_collector_success"], ["leakwarden_collector_success"]),
        (["leakwarden_nothing"], []),
    ],
)
def test_names_select_families(
    exporter: Exporter, names: list[str], families: list[str] | None
) -> None:
    body = exporter.page("", names).body.decode()
    found = [family.name for family in text_string_to_metric_families(body)]
    assert found == (families if families is not None else names)


def test_families_that_were_not_named_are_not_even_read() -> None:
    exporter = Exporter(
        snapshots.whole, families=(*FAMILIES, Family("leakwarden_bad", "gauge", "Bad.", broken))
    )
    found = values(exporter, "leakwarden_store_bytes", "leakwarden_collector_success")
    assert found["leakwarden_collector_success", "exporter"] == 1


@pytest.mark.parametrize("read", [broken, broken_late, broken_labels, broken_value])
def test_a_family_that_raises_is_absent_and_counted_and_the_page_still_comes(
    read: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(read)
    bad = Family("leakwarden_bad_total", "counter", "Bad.", read, (Label("cause", ("released",)),))
    exporter = Exporter(snapshots.whole, families=(bad, *FAMILIES))
    with caplog.at_level(logging.WARNING):
        found = values(exporter)
    assert not any(name.startswith("leakwarden_bad") for name, *_ in found)
    assert found["leakwarden_collector_success", "exporter"] == 0
    assert found["leakwarden_resources", "file_handle"] == 7
    assert "leakwarden_bad_total" in caplog.text


def test_a_failure_that_stays_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    bad = Family("leakwarden_bad", "gauge", "Bad.", broken)
    exporter = Exporter(snapshots.whole, families=(bad, *FAMILIES))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            exporter.page("")
    assert len(caplog.records) == 1


def test_a_source_that_failed_is_told_by_its_own_name(exporter: Exporter) -> None:
    found = values(exporter)
    assert found["leakwarden_collector_success", "logging"] == 0
    assert found["leakwarden_collector_success", "process"] == 1
    assert found["leakwarden_collector_success", "exporter"] == 1


def test_a_snapshot_that_cannot_be_taken_makes_no_page() -> None:
    def fail() -> Snapshot:
        raise RuntimeError("no snapshot")

    with pytest.raises(RuntimeError, match="no snapshot"):
        Exporter(fail).page("")


def many_kinds(count: int) -> Snapshot:
    usages = tuple(snapshots.usage(f"kind_{index}") for index in range(count))
    return replace(snapshots.whole(), usages=usages)


def series(exporter: Exporter) -> dict[tuple[str, ...], float]:
    """The page without what it says of itself, which no cap touches."""
    itself = ("leakwarden_collector_", "leakwarden_series_dropped_total")
    return {key: value for key, value in values(exporter).items() if not key[0].startswith(itself)}


def test_a_page_is_never_longer_than_the_cap_and_what_was_left_out_is_counted() -> None:
    whole = len(series(Exporter(lambda: many_kinds(50))))
    capped = Exporter(lambda: many_kinds(50), max_series=whole - 70)
    assert len(series(capped)) == whole - 70
    dropped = {
        key[1]: value
        for key, value in values(capped).items()
        if key[0] == "leakwarden_series_dropped_total"
    }
    # Twice, for there were two pages.
    assert sum(dropped.values()) == 2 * 70
    # Families that come first keep theirs: three of 50 lost all or part.
    assert dropped["leakwarden_resources"] == 0
    assert dropped["leakwarden_resource_release_failures_total"] == 2 * 50
    assert dropped["leakwarden_resources_rejected_total"] == 2 * 20


def test_a_page_exactly_at_the_cap_is_whole() -> None:
    whole = len(series(Exporter(lambda: many_kinds(5))))
    exporter = Exporter(lambda: many_kinds(5), max_series=whole)
    assert len(series(exporter)) == whole
    assert not any(value for key, value in values(exporter).items() if "series_dropped" in key[0])


def test_families_of_a_fixed_size_are_never_cut() -> None:
    found = values(Exporter(snapshots.whole, max_series=1))
    assert ("leakwarden_resources", "file_handle") not in found
    assert found["leakwarden_heap_growth_bytes",] == 2_000_000
    assert found["leakwarden_store_commit_duration_seconds_count",] == 12


def test_every_drop_counter_is_there_from_the_start(exporter: Exporter) -> None:
    dropped = {
        key[1]: value
        for key, value in values(exporter).items()
        if key[0] == "leakwarden_series_dropped_total"
    }
    assert dropped == {family.name: 0 for family in FAMILIES if family.open_ended}


def test_no_created_series_and_nothing_in_the_global_registry(exporter: Exporter) -> None:
    before = prometheus_client.generate_latest()
    assert b"_created" not in exporter.page("").body
    assert b"_created" not in exporter.page("application/openmetrics-text").body
    assert b"leakwarden" not in prometheus_client.generate_latest()
    assert before.count(b"# TYPE") == prometheus_client.generate_latest().count(b"# TYPE")


def test_two_scrapers_at_once_get_whole_pages(exporter: Exporter) -> None:
    expected = len(values(exporter))
    counts: list[int] = []

    def scrape() -> None:
        counts.extend(len(values(exporter)) for _ in range(20))

    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [expected] * 80
