"""The catalog: names that follow the rules, and readings that are absent rather than 0."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import snapshots
from leakwarden.core.resource import ResourceSettings
from leakwarden.exporters.catalog import FAMILIES, Family, Value
from leakwarden.exporters.catalog_messages import PRIORITIES
from leakwarden.messaging.message import Priority
from leakwarden.snapshot import Snapshot

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
    assert oldest["file_handle",] == snapshots.AT - 312.5
    assert oldest["message_buffer",] == 0


def test_the_time_of_the_oldest_queued_message_is_0_when_none_is_queued() -> None:
    name = "leakwarden_message_oldest_queued_timestamp_seconds"
    snapshot = snapshots.whole()
    assert read(name, snapshot) == {(): snapshots.AT - 1.5}
    assert snapshot.messages is not None
    none_queued = replace(snapshot.messages, oldest_queued_at=None)
    assert read(name, replace(snapshot, messages=none_queued)) == {(): 0}


@pytest.mark.parametrize(
    ("in_use", "active", "stale", "expected"),
    [(6, 2, 1, (2, 3, 1)), (0, 0, 0, (0, 0, 0)), (2, 2, 0, (2, 0, 0)), (3, 0, 3, (0, 0, 3))],
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
    for family in FAMILIES:
        assert family.open_ended == ("resource" in family.label_names)
