"""What each verb asks of the service, and what it prints of the answer."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from leakwarden.__main__ import main
from leakwarden.core.histogram import Histogram
from leakwarden.core.resource import CAUSES, LeaseInfo, ResourceSettings, Usage
from leakwarden.messaging.agents import Agent
from leakwarden.messaging.message import (
    Attempt,
    Message,
    MessageType,
    Priority,
    attempt_to_dict,
    message_to_dict,
)
from leakwarden.messaging.states import MessageState
from leakwarden.monitors.samples import HeapSample, ProcessSample
from leakwarden.service.page import agent_to_dict, lease_to_dict
from leakwarden.snapshot import CollectorResult, MessageSample, Snapshot, StoreSample, to_dict

if TYPE_CHECKING:
    from conftest import FarSide

Capture = pytest.CaptureFixture[str]
AT = 1_795_600_800.0  # 2026-11-25T10:00:00Z


def usage(kind: str, settings: ResourceSettings, **numbers: Any) -> Usage:
    plain = {
        "in_use": 0,
        "bytes": 0,
        "stale": 0,
        "pinned": 0,
        "active": 0,
        "oldest_idle_seconds": None,
        "opened_total": 0,
        "closed_total": dict.fromkeys(CAUSES, 0),
        "rejected_total": 0,
        "release_failures_total": 0,
        "without_finalizer": 0,
    }
    return Usage(kind=kind, settings=settings, **{**plain, **numbers})


HANDLES = usage(
    "file_handle",
    ResourceSettings(limit=500, ttl_seconds=300.0),
    in_use=120,
    bytes=1_258_291,
    stale=3,
    pinned=1,
    active=2,
    oldest_idle_seconds=671.0,
    opened_total=130,
    closed_total={**dict.fromkeys(CAUSES, 0), "released": 8, "finalizer": 2},
    rejected_total=4,
)
USAGES = (
    usage("pyautogui_session", ResourceSettings(limit=10, ttl_seconds=120.0)),
    HANDLES,
    usage(
        "message_buffer",
        ResourceSettings(limit=256, ttl_seconds=600.0, limit_bytes=100, overflow="evict_oldest"),
        in_use=2,
        bytes=90,
        oldest_idle_seconds=0.5,
    ),
    usage("a_kind_with_a_rather_long_name", ResourceSettings(), in_use=7, oldest_idle_seconds=7200),
)
HEAP = HeapSample(
    in_use_bytes=22_000_000,
    retained_bytes=2_000_000,
    by_allocator={},
    allocated_blocks=1,
    baseline_bytes=21_000_000,
    baseline_final=False,
    growth_bytes=1_000_000,
    memory_limit_bytes=None,
    unreadable_reason=None,
)


def snapshot(**parts: Any) -> dict[str, Any]:
    return to_dict(Snapshot(at=AT, instance_id="i", version="0.1.0", **parts))


def whole_snapshot() -> dict[str, Any]:
    none = Histogram((1.0,)).sample()
    return snapshot(
        usages=USAGES,
        process=ProcessSample(1.0, 42_000_000, None, None, 24, 1024, 9, AT - 60),
        heap=HEAP,
        messages=MessageSample(
            {"inbox": 120},
            {("inbox", "disk_full"): 2},
            {"inbox": none},
            {"low": 0, "normal": 11, "high": 0, "urgent": 1},
            AT - 3,
        ),
        store=StoreSample(1_363_149, none),
    )


def printed(capsys: Capture, *argv: str) -> str:
    code = main(list(argv))
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert "--json" in argv or all(len(line) <= 80 for line in captured.out.splitlines())
    return captured.out


def test_status_says_first_what_is_stale_and_then_all_that_is_held(
    service: FarSide, capsys: Capture
) -> None:
    service.answers["GET /v1/snapshot"] = (200, whole_snapshot())
    assert (
        printed(capsys, "status")
        == f"""\
3 leases are stale; the oldest, a file_handle, has been idle for 11 min.
Where it was acquired: leakwarden explain file_handle
leakwarden 0.1.0 at {service.url}, 2026-11-25 10:00:00 UTC

  kind               in use  limit  use        stale pinned  idle for     bytes
○ file_handle           120    500  ██▍····│·│     3      1    11 min   1.2 MiB
  pyautogui_session       0     10  ·······│·│     0      0         -       0 B
  message_buffer          2    256  █████████·     0      0       0 s      90 B
  a_kind_with_a_rather_long_name
                          7      -  no limit       0      0       2 h       0 B

messages  12 queued (11 normal, 1 urgent), oldest 3 s; 120 attempts, 2 failed
heap      +976.6 KiB against a baseline that still settles; 21.0 MiB in use
process   40.1 MiB resident, 24 of 1024 descriptors, 9 threads
store     1.3 MiB, 0 commits since start
"""
    )


def test_status_says_what_was_not_measured_and_why(service: FarSide, capsys: Capture) -> None:
    unreadable = "this interpreter has no pymalloc"
    value = snapshot(
        heap=replace(HEAP, growth_bytes=None, unreadable_reason=unreadable),
        process=ProcessSample(None, None, None, None, 24, None, None, None),
        collectors=(
            CollectorResult("store", 0.1, "OSError"),
            CollectorResult("file_handle", 0.1, "KeyError"),
        ),
    )
    service.answers["GET /v1/snapshot"] = (200, value)
    text = printed(capsys, "status")
    assert text.startswith("Nothing that is held is stale.\n")
    assert text.splitlines()[-5:] == [
        "messages  not measured: it has not been read yet",
        "heap      not measured: this interpreter has no pymalloc",
        "process   resident not measured, 24 descriptors, threads not measured",
        "store     not measured: reading it raised OSError",
        "file_handle not measured: reading it raised KeyError",
    ]


def test_json_is_the_answer_as_it_came(service: FarSide, capsys: Capture) -> None:
    value = whole_snapshot()
    service.answers["GET /v1/snapshot"] = (200, value)
    assert printed(capsys, "status", "--json") == json.dumps(value) + "\n"


def lease(number: int, line: int, **more: Any) -> dict[str, Any]:
    plain = {
        "id": number,
        "kind": "file_handle",
        "file": "package/deep/below/another/folder/module.py",
        "line": line,
        "function": "open_inbox",
        "age_seconds": 900.0 - number,
        "idle_seconds": 700.0 - number,
        "size_bytes": 512,
        "stale": False,
        "pinned": False,
        "closing": False,
        "finalizer_proof": True,
    }
    return lease_to_dict(LeaseInfo(**{**plain, **more}))


def test_explain_groups_by_the_site_that_acquired_and_then_lists_the_oldest(
    service: FarSide, capsys: Capture
) -> None:
    leases = [
        lease(1, 9, stale=True),
        lease(2, 9, pinned=True),
        lease(3, 7, closing=True, stale=True),
        lease(4, 9),
    ]
    service.answers |= {
        "GET /v1/leases": (200, {"items": leases, "next": None}),
        "GET /v1/snapshot": (200, snapshot(usages=USAGES)),
    }
    assert (
        printed(capsys, "explain", "file_handle")
        == """\
file_handle: 120 in use (limit 500), 3 stale, 1 pinned, one idle for 11 min
stale after 5 min; 1.2 MiB held; 130 opened since start; closed: 8 released, 2
finalizer; 4 refused at the limit

Where it was acquired, of the 4 idle for longest
count  stale  oldest    bytes  site
    3      1  15 min  1.5 KiB  …deep/below/another/folder/module.py:9 open_inbox
    1      1  15 min    512 B  …deep/below/another/folder/module.py:7 open_inbox

Idle for longest
lease     age  idle for    state  site
    1  15 min    12 min    stale  …p/below/another/folder/module.py:9 open_inbox
    2  15 min    12 min   pinned  …p/below/another/folder/module.py:9 open_inbox
    3  15 min    12 min  closing  …p/below/another/folder/module.py:7 open_inbox
    4  15 min    12 min   in use  …p/below/another/folder/module.py:9 open_inbox
"""
    )
    assert service.requests[0].path == "/v1/leases?resource=file_handle&limit=1000"


def test_explain_of_a_kind_that_holds_nothing_ends_with_its_rules(
    service: FarSide, capsys: Capture
) -> None:
    service.answers |= {
        "GET /v1/leases": (200, {"items": [], "next": None}),
        "GET /v1/snapshot": (200, snapshot(usages=USAGES)),
    }
    assert printed(capsys, "explain", "pyautogui_session") == (
        "pyautogui_session: 0 in use (limit 10), 0 stale, 0 pinned\n"
        "stale after 2 min; 0 B held; 0 opened since start; closed: none\n"
    )


def test_explain_does_not_pass_over_leases_that_are_counted_and_not_listed(
    service: FarSide, capsys: Capture
) -> None:
    service.answers |= {
        "GET /v1/leases": (200, {"items": [], "next": None}),
        "GET /v1/snapshot": (200, snapshot(usages=USAGES)),
    }
    assert "The service listed none of them." in printed(capsys, "explain", "file_handle")


def test_explain_of_a_kind_that_could_not_be_read_fails_with_the_reason(
    service: FarSide, capsys: Capture
) -> None:
    broken = snapshot(collectors=(CollectorResult("file_handle", 0.1, "KeyError"),))
    service.answers |= {
        "GET /v1/leases": (200, {"items": [], "next": None}),
        "GET /v1/snapshot": (200, broken),
    }
    assert main(["explain", "file_handle"]) == 1
    assert "file_handle is not measured: reading it raised KeyError" in capsys.readouterr().err


def test_a_refusal_is_one_line_whatever_it_says(service: FarSide, capsys: Capture) -> None:
    error = {"code": "x", "message": "two\nlines \x1b[2J", "hint": "try\tagain"}
    service.answers["GET /v1/agents"] = (422, {"error": error})
    assert main(["agents"]) == 1
    assert capsys.readouterr().err == "leakwarden: two lines  [2J; try again\n"


def test_send_posts_what_was_given_and_prints_the_id(service: FarSide, capsys: Capture) -> None:
    service.answers["POST /v1/messages"] = (202, {"id": "0193"})
    words = ("send", "--from", "A", "--to", "B", "--priority", "urgent", "--type", "status", "hé")
    assert printed(capsys, *words) == "0193\n"
    assert service.requests[0].body == {
        "from": "A",
        "to": "B",
        "body": "hé",
        "priority": "urgent",
        "type": "status",
    }


def test_send_leaves_defaults_to_the_service_and_tells_what_was_cleaned(
    service: FarSide, capsys: Capture
) -> None:
    service.answers["POST /v1/messages"] = (202, {"id": "0193", "cleaned": ["line_ends", "c1"]})
    assert main(["send", "--from", "A", "--to", "B", "x"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "0193\n"
    assert captured.err == "leakwarden: the body was cleaned: line_ends, c1\n"
    assert service.requests[0].body == {"from": "A", "to": "B", "body": "x"}


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_a_body_of_a_dash_is_standard_input_as_it_is(
    service: FarSide, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answers["POST /v1/messages"] = (202, {"id": "0193"})
    standard_input(monkeypatch, "two\r\nlines ö\n".encode())
    printed(capsys, "send", "--from", "A", "--to", "B", "-")
    assert service.requests[0].body["body"] == "two\r\nlines ö\n"


def test_a_body_that_is_no_text_is_refused_before_it_is_sent(
    service: FarSide, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(monkeypatch, b"\xff")
    assert main(["send", "--from", "A", "--to", "B", "-"]) == 64
    assert main(["send", "--from", "A", "--to", "B", "\udcff"]) == 64
    assert capsys.readouterr().err == "leakwarden: the body is not UTF-8; send text\n" * 2
    assert service.requests == []


def test_broadcast_prints_an_id_a_line_and_without_to_names_nobody(
    service: FarSide, capsys: Capture
) -> None:
    service.answers["POST /v1/broadcasts"] = (202, {"ids": ["1", "2"]})
    assert printed(capsys, "broadcast", "--from", "A", "x") == "1\n2\n"
    printed(capsys, "broadcast", "--from", "A", "--to", "B", "--to", "C", "x")
    first, second = service.requests
    assert first.body == {"from": "A", "body": "x"}
    assert second.body == {"from": "A", "to": ["B", "C"], "body": "x"}


MESSAGE = Message(
    id="0193a1f2c4d87e3f9b1c2d3e4f5a6b7c",
    sender="A",
    recipient="B",
    body="one\ntwo \x1b[2J",
    type=MessageType.TEXT,
    priority=Priority.NORMAL,
    accepted_at=AT,
    row=1,
    state=MessageState.QUEUED,
    attempts=1,
    due_at=AT + 5,
    last_error="disk full",
)


def test_messages_lists_and_tells_how_to_go_on(service: FarSide, capsys: Capture) -> None:
    service.answers["GET /v1/messages"] = (200, {"items": [message_to_dict(MESSAGE)], "next": 1})
    assert main(["messages", "--to", "B", "--state", "queued"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "id                                state   priority  to  accepted (UTC)\n"
        "0193a1f2c4d87e3f9b1c2d3e4f5a6b7c  queued  normal    B   11-25 10:00\n"
    )
    assert captured.err == "leakwarden: there are more: --after 1\n"
    assert service.requests[0].path == "/v1/messages?to=B&state=queued&limit=20"


def test_messages_with_an_id_shows_it_with_history_and_body(
    service: FarSide, capsys: Capture
) -> None:
    history = [attempt_to_dict(Attempt(AT + 1, "retry", "disk full"))]
    value = {**message_to_dict(MESSAGE), "history": history}
    service.answers[f"GET /v1/messages/{MESSAGE.id}"] = (200, value)
    assert (
        printed(capsys, "messages", MESSAGE.id)
        == """\
id          0193a1f2c4d87e3f9b1c2d3e4f5a6b7c
from        A
to          B
type        text
priority    normal
state       queued
attempts    1
accepted_at 2026-11-25T10:00:00.000Z
due_at      2026-11-25T10:00:05.000Z
last_error  disk full
attempt     2026-11-25T10:00:01.000Z retry: disk full

one
two �[2J
"""
    )


def test_an_id_cannot_reach_another_route(service: FarSide, capsys: Capture) -> None:
    assert main(["messages", "../snapshot?x"]) == 69
    assert service.requests[0].path == "/v1/messages/..%2Fsnapshot%3Fx"


def test_agents_are_listed_with_what_waits_for_them(service: FarSide, capsys: Capture) -> None:
    agents = [
        Agent("Agent-1", description="Writes\nthe " + "very " * 20 + "long"),
        Agent("B", active=False),
    ]
    items = [agent_to_dict(agent, queued) for agent, queued in zip(agents, (12, 0), strict=True)]
    service.answers["GET /v1/agents"] = (200, {"items": items, "next": None})
    lines = printed(capsys, "agents").splitlines()
    assert lines[0] == "agent    state     queued  transport  description"
    assert lines[1].startswith("Agent-1  active        12  inbox      Writes the very")
    assert lines[2] == "B        inactive       0  inbox"
    assert max(map(len, lines)) == 80
