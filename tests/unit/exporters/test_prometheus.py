"""The page: its format as asked for, its families as named, whole whatever fails, and bounded."""

from __future__ import annotations

import gzip
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

import snapshots
from leakwarden.app import Warden
from leakwarden.core.resource import ResourceSettings
from leakwarden.exporters.catalog import FAMILIES, Family, Label, Sample
from leakwarden.exporters.prometheus import MAX_SERIES, Exporter, prefers_openmetrics
from leakwarden.snapshot import CollectorResult, Snapshot

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


def test_it_stays_logged_once_where_it_was_not_asked_for_in_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = Family("leakwarden_bad", "gauge", "Bad.", broken)
    exporter = Exporter(snapshots.whole, families=(bad, *FAMILIES))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            exporter.page("")
            exporter.page("", ["process_open_fds"])
            exporter.page("", ["leakwarden_bad"])
    assert len(caplog.records) == 1


def test_a_failure_that_went_away_and_came_back_is_logged_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    works: list[bool] = []

    def sometimes(snapshot: Snapshot) -> Iterable[Sample]:
        return [((), 1.0)] if works.pop() else broken(snapshot)

    bad = Family("leakwarden_bad", "gauge", "Bad.", sometimes)
    exporter = Exporter(snapshots.whole, families=(bad, *FAMILIES))
    works[:] = [False, True, False]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            exporter.page("")
    assert len(caplog.records) == 2


def test_another_error_of_the_same_family_is_logged_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[Exception] = [KeyError(), KeyError(), OSError()]

    def fail(_snapshot: Snapshot) -> Iterable[Sample]:
        raise errors.pop()

    exporter = Exporter(snapshots.whole, families=[Family("leakwarden_bad", "gauge", "Bad.", fail)])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            exporter.page("")
    messages = [record.getMessage() for record in caplog.records]
    assert ["OSError" in message for message in messages] == [True, False]
    assert ["KeyError" in message for message in messages] == [False, True]


def test_another_family_that_fails_is_logged_alone(caplog: pytest.LogCaptureFixture) -> None:
    both = [Family(f"leakwarden_bad_{name}", "gauge", "Bad.", broken) for name in ("one", "two")]
    exporter = Exporter(snapshots.whole, families=(*both, *FAMILIES))
    with caplog.at_level(logging.WARNING):
        exporter.page("", ["leakwarden_bad_one"])
        exporter.page("")
    messages = [record.getMessage() for record in caplog.records]
    assert ["leakwarden_bad_one" in message for message in messages] == [True, False]
    assert ["leakwarden_bad_two" in message for message in messages] == [False, True]


def test_a_failure_of_the_page_s_own_families_is_logged_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = CollectorResult("odd", None, None)  # type: ignore[arg-type]
    exporter = Exporter(lambda: replace(snapshots.whole(), collectors=(odd,)))
    with caplog.at_level(logging.WARNING):
        found = values(exporter)
    assert found["leakwarden_collector_success", "odd"] == 1
    assert "leakwarden_collector_duration_seconds" in caplog.text


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


BUILT_IN = ("file_handle", "pyautogui_session", "validation_record", "message_buffer")


def many_kinds(count: int, settings: ResourceSettings | None = None) -> Snapshot:
    """The built-in kinds, then `count` of a user, each with its collector, as a Warden has them."""
    names = (*BUILT_IN, *(f"kind_{index}" for index in range(count)))
    return replace(
        snapshots.whole(),
        usages=tuple(snapshots.usage(name, settings) for name in names),
        collectors=tuple(CollectorResult(name, 0.0, None) for name in ("process", "heap", *names)),
    )


def kinds_of(page: Iterable[tuple[str, ...]], name: str) -> list[str]:
    """The values of the last label of family `name`, in the order of the page."""
    return [key[-1] for key in page if key[0] == name]


def drops(page: dict[tuple[str, ...], float]) -> dict[str, float]:
    """What the page says was left out, by family; only where something was."""
    name = "leakwarden_series_dropped_total"
    return {key[1]: value for key, value in page.items() if key[0] == name and value}


def test_a_kind_is_nineteen_series_as_the_cap_reckons() -> None:
    limits = ResourceSettings(limit=1, ttl_seconds=1.0)
    one, two = many_kinds(1, limits), many_kinds(2, limits)
    assert len(values(Exporter(lambda: two))) - len(values(Exporter(lambda: one))) == 19


@pytest.mark.parametrize("cut", [1, 16, 17, 18, 170, 850])
def test_a_page_is_never_longer_than_the_cap_and_what_was_left_out_is_counted(cut: int) -> None:
    whole = values(Exporter(lambda: many_kinds(50)))
    capped = values(Exporter(lambda: many_kinds(50), max_series=len(whole) - cut))
    # Seventeen series a kind, that has neither a limit nor a time to live; kinds go whole.
    gone = -(-cut // 17)
    assert len(capped) == len(whole) - 17 * gone
    assert sum(drops(capped).values()) == 17 * gone
    assert drops(capped)["leakwarden_resources_closed_total"] == 6 * gone
    assert drops(capped)["leakwarden_collector_duration_seconds"] == gone


def test_a_kind_is_on_the_page_everywhere_or_nowhere() -> None:
    found = values(Exporter(lambda: many_kinds(50), max_series=600))
    kept = kinds_of(found, "leakwarden_resources")
    assert kept == [*BUILT_IN, *(f"kind_{index}" for index in range(len(kept) - 4))]
    assert 4 < len(kept) < 54
    for family in FAMILIES:
        if "resource" in family.label_names and family.absent.startswith("the ledger"):
            assert sorted(set(kinds_of(found, family.name))) == sorted(kept), family.name
    for name in ("leakwarden_collector_success", "leakwarden_collector_duration_seconds"):
        assert kinds_of(found, name) == ["process", "heap", *kept, "exporter"]


def test_two_thousand_kinds_of_a_real_warden_keep_to_the_cap() -> None:
    warden = Warden()
    for index in range(2000):
        warden.track(f"kind_{index}", limit=1, ttl=1.0)
    found = values(Exporter(warden.snapshot))
    assert MAX_SERIES - 19 < len(found) <= MAX_SERIES
    kept = kinds_of(found, "leakwarden_resources")
    assert kept[:4] == list(BUILT_IN)
    assert kinds_of(found, "leakwarden_collector_success") == ["process", "heap", *kept, "exporter"]
    assert sum(drops(found).values()) == 19 * (2004 - len(kept))


def test_ledgers_that_cannot_be_read_keep_to_the_cap_too() -> None:
    failed = tuple(CollectorResult(f"kind_{index}", 0.0, "OSError") for index in range(500))
    snapshot = replace(many_kinds(0), collectors=(*many_kinds(0).collectors, *failed))
    found = values(Exporter(lambda: snapshot, max_series=400))
    assert 398 < len(found) <= 400
    assert kinds_of(found, "leakwarden_resources") == list(BUILT_IN)
    assert found["leakwarden_collector_success", "exporter"] == 1


def test_the_cap_holds_for_the_metrics_that_were_asked_for() -> None:
    exporter = Exporter(lambda: many_kinds(50), max_series=20)
    found = values(exporter, "leakwarden_resources")
    assert kinds_of(found, "leakwarden_resources") == [
        *BUILT_IN,
        *(f"kind_{index}" for index in range(16)),
    ]
    # Only what would have been on that page was left out of it.
    assert drops(values(exporter, "leakwarden_series_dropped_total")) == {
        "leakwarden_resources": 34
    }


def test_a_kind_named_by_its_collector_and_its_ledger_is_reckoned_once() -> None:
    whole = replace(many_kinds(5), collectors=(CollectorResult("kind_0", 0.0, None),))
    # Only the last kind does not fit: fifteen series, for it has no collector here.
    fits = len(values(Exporter(lambda: whole))) - 15
    found = values(Exporter(lambda: whole, max_series=fits))
    assert len(found) == fits
    assert "kind_4" not in kinds_of(found, "leakwarden_resources")
    assert "kind_3" in kinds_of(found, "leakwarden_resources")


def test_a_page_exactly_at_the_cap_is_whole() -> None:
    whole = len(values(Exporter(lambda: many_kinds(5))))
    found = values(Exporter(lambda: many_kinds(5), max_series=whole))
    assert len(found) == whole
    assert not drops(found)


def test_families_of_a_fixed_size_are_never_cut() -> None:
    found = values(Exporter(snapshots.whole, max_series=1))
    assert not kinds_of(found, "leakwarden_resources")
    assert kinds_of(found, "leakwarden_collector_success") == ["exporter"]
    assert found["leakwarden_heap_growth_bytes",] == 2_000_000
    assert found["leakwarden_store_commit_duration_seconds_count",] == 12


def test_every_drop_counter_is_there_from_the_start(exporter: Exporter) -> None:
    dropped = {
        key[1]: value
        for key, value in values(exporter).items()
        if key[0] == "leakwarden_series_dropped_total"
    }
    assert dropped == {family.name: 0 for family in FAMILIES if family.subject_at is not None}


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


def at_once(work: Callable[[], object], threads: int = 4) -> None:
    """Run `work` on several threads that change places as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(interval)


def test_scrapes_at_once_count_every_series_that_they_left_out() -> None:
    exporter = Exporter(lambda: many_kinds(10), max_series=1)
    at_once(lambda: [exporter.page("", ["leakwarden_resources"]) for _ in range(50)])
    found = drops(values(exporter, "leakwarden_series_dropped_total"))
    assert found == {"leakwarden_resources": 4 * 50 * 13}


def test_scrapes_at_once_log_a_failure_once(caplog: pytest.LogCaptureFixture) -> None:
    bad = [Family(f"leakwarden_bad_{index}", "gauge", "Bad.", broken) for index in range(20)]
    exporter = Exporter(snapshots.whole, families=bad)
    together = threading.Barrier(4)

    def scrape() -> None:
        for family in bad:
            together.wait(10)
            exporter.page("", [family.name])

    with caplog.at_level(logging.WARNING):
        at_once(scrape)
    assert len(caplog.records) == len(bad)
