"""The catalog: names that follow the rules, and readings that are absent rather than 0."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

import snapshots
from leakwarden.app import Warden
from leakwarden.core.errors import LimitExceeded
from leakwarden.core.resource import ResourceSettings
from leakwarden.exporters.catalog import FAMILIES, Family, Value
from leakwarden.exporters.catalog_messages import PRIORITIES
from leakwarden.messaging.message import Priority
from leakwarden.snapshot import Snapshot, Source
from waiting import wait_until

BY_NAME = {family.name: family for family in FAMILIES}


def read(name: str, snapshot: Snapshot) -> dict[tuple[str, ...], Value]:
    return dict(BY_NAME[name].read(snapshot))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_follows_the_naming_rules(family: Family) -> None:
    assert re.fullmatch(r"(leakwarden|process)_[a-z_]+", family.name)
    assert family.name.endswith("_total") == (family.type == "counter")
    assert family.name.endswith("_info") == (family.type == "info")
    assert family.help.endswith(".")
    assert family.base_name.endswith(family.unit)
    for label in family.labels:
        assert re.fullmatch(r"[a-z_]+", label.name)
        assert label.values or label.meaning


def test_no_two_families_share_a_sample_name() -> None:
    names = [name for family in FAMILIES for name in family.sample_names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_sample_keeps_to_the_labels_and_their_closed_values(family: Family) -> None:
    for values, _ in family.read(snapshots.whole()):
        for label, value in zip(family.labels, values, strict=True):
            assert not label.values or value in label.values


def test_what_was_not_measured_has_no_sample() -> None:
    measured = [family.name for family in FAMILIES if list(family.read(snapshots.empty()))]
    assert measured == ["leakwarden_build_info", "leakwarden_instance_info"]


def test_every_kind_has_the_backbone() -> None:
    snapshot = snapshots.whole()
    kinds = {(usage.kind,) for usage in snapshot.usages}
    for name in (
        "leakwarden_resources",
        "leakwarden_resource_stale",
        "leakwarden_resource_pinned",
        "leakwarden_resource_bytes",
        "leakwarden_resource_oldest_activity_timestamp_seconds",
        "leakwarden_resource_bounded_by_eviction",
        "leakwarden_resources_opened_total",
        "leakwarden_resources_rejected_total",
        "leakwarden_resource_release_failures_total",
    ):
        assert read(name, snapshot).keys() == kinds


def test_a_kind_without_a_limit_has_no_limit_and_no_time_to_live() -> None:
    snapshot = snapshots.whole()
    assert ("db_session",) not in read("leakwarden_resource_limit", snapshot)
    assert ("db_session",) not in read("leakwarden_resource_ttl_seconds", snapshot)


def test_every_cause_is_there_from_the_start() -> None:
    usage = replace(snapshots.usage("db_session"), closed_total={})
    closed = read("leakwarden_resources_closed_total", replace(snapshots.empty(), usages=(usage,)))
    causes = ("released", "expired", "evicted", "cleanup", "finalizer", "owner_died")
    assert closed == {("db_session", cause): 0 for cause in causes}


def test_the_oldest_activity_is_unix_time_and_0_when_none_is_held() -> None:
    oldest = read("leakwarden_resource_oldest_activity_timestamp_seconds", snapshots.whole())
    assert oldest["db_session",] == snapshots.AT - 0.25
    assert oldest["message_buffer",] == 0


def test_the_oldest_activity_counts_from_when_its_ledger_was_read() -> None:
    # The snapshot is dated after its last source: here 0.25 ms and 500 ms after the files'.
    oldest = read("leakwarden_resource_oldest_activity_timestamp_seconds", snapshots.whole())
    assert oldest["file_handle",] == pytest.approx(snapshots.AT - 0.50025 - 312.5, abs=1e-5)


def test_a_slow_source_after_the_ledgers_makes_no_lease_younger() -> None:
    warden = Warden()
    pool, held = warden.track("db_session"), Family
    began: list[float] = []

    def slow() -> None:
        began.append(time.time())
        wait_until(lambda: time.time() > began[0] + 1)

    warden.add_source(Source("slow", "store", slow))
    pool.acquire(held)
    name = "leakwarden_resource_oldest_activity_timestamp_seconds"
    assert read(name, warden.snapshot())["db_session",] < began[0] + 0.5


def test_where_all_that_is_held_is_in_use_there_is_no_oldest_activity() -> None:
    warden = Warden()
    pool, held = warden.track("db_session"), Family
    pool.pin(pool.acquire(held))
    name = "leakwarden_resource_oldest_activity_timestamp_seconds"
    snapshot = warden.snapshot()
    assert read("leakwarden_resources", snapshot)["db_session",] == 1
    assert read(name, snapshot)["db_session",] == 0
    assert "none is held, or all that are held are in use" in BY_NAME[name].help


@pytest.mark.parametrize("name", ["leakwarden_heap_growth_bytes", "leakwarden_heap_baseline_bytes"])
def test_before_the_start_there_is_no_baseline_and_the_reference_says_so(name: str) -> None:
    assert read(name, Warden().snapshot()) == {}
    assert "not started" in BY_NAME[name].absent


def test_a_refused_resize_is_a_rejection_and_the_reference_says_so() -> None:
    warden = Warden()
    pool, held = warden.track("blob", limit_bytes=10), Family
    lease = pool.acquire(held, size_bytes=10)
    with pytest.raises(LimitExceeded):
        pool.ledger.resize(lease, 11)
    name = "leakwarden_resources_rejected_total"
    assert read(name, warden.snapshot())["blob",] == 1
    assert "resizes" in BY_NAME[name].help


def test_no_text_promises_what_is_not_there() -> None:
    assert "setting" not in BY_NAME["leakwarden_memory_limit_bytes"].help
    assert "service" in BY_NAME["leakwarden_instance_info"].help


def test_the_time_of_the_oldest_queued_message_is_0_when_none_is_queued() -> None:
    name = "leakwarden_message_oldest_queued_timestamp_seconds"
    snapshot = snapshots.whole()
    assert read(name, snapshot) == {(): snapshots.AT - 1.5}
    assert snapshot.messages is not None
    none_queued = replace(snapshot.messages, oldest_queued_at=None)
    assert read(name, replace(snapshot, messages=none_queued)) == {(): 0}


@pytest.mark.parametrize(
    ("in_use", "active", "stale", "expected"),
    [
        (6, 2, 1, (2, 3, 1)),
        (0, 0, 0, (0, 0, 0)),
        (2, 2, 0, (2, 0, 0)),
        (3, 0, 3, (0, 0, 3)),
        (1, 2, 0, (2, 0, 0)),
    ],
)
def test_sessions_are_active_or_stale_and_the_rest_is_idle(
    in_use: int, active: int, stale: int, expected: tuple[int, int, int]
) -> None:
    usage = snapshots.usage(
        "pyautogui_session", ResourceSettings(limit=10), in_use=in_use, active=active, stale=stale
    )
    states = read("leakwarden_pyautogui_sessions_open", replace(snapshots.empty(), usages=(usage,)))
    assert tuple(states.values()) == expected


def test_every_priority_is_there_under_its_own_name() -> None:
    assert set(PRIORITIES) == {priority.label for priority in Priority}
    snapshot = snapshots.whole()
    assert snapshot.messages is not None
    only_high = replace(snapshot, messages=replace(snapshot.messages, queued={"high": 3}))
    queued = read("leakwarden_messages_queued", only_high)
    assert queued == {("low",): 0, ("normal",): 0, ("high",): 3, ("urgent",): 0}


def test_only_the_number_of_kinds_is_for_users_to_decide() -> None:
    of_kinds = {"resource", "collector"}
    for family in FAMILIES:
        assert (family.subject_at is not None) == bool(of_kinds & set(family.label_names))
