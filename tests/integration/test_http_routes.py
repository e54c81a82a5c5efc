"""What the routes answer, over a real store on disk."""

from __future__ import annotations

import time

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from leakwarden.messaging.sending import Sender
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import Failure, Messages
from leakwarden.messaging.validator import Validator
from leakwarden.service.http import build_app
from leakwarden.service.routes.landing import LINKS, prefers_json
from leakwarden.service.routes.metrics import accepts_gzip
from leakwarden.settings import StoreSettings
from serving import AGENTS, LEASE, make_context, running

MESSAGE = {"from": "Agent-1", "to": "Agent-2", "body": "hello"}


@pytest.fixture
def messages(tmp_path):
    engine = Engine(tmp_path / "data", StoreSettings())
    engine.open()
    yield Messages(engine)
    engine.close()


@pytest.fixture
def context(tmp_path, messages):
    sender = Sender(messages, AGENTS, Validator(lambda record: None), time.time)
    return make_context(tmp_path, sender=sender, messages=messages)


@pytest.fixture
def service(context):
    with running(context) as service:
        yield service


def test_a_message_is_in_the_store_once_it_is_answered_202(service, messages):
    answer = service.call("POST", "/v1/messages", {**MESSAGE, "priority": "high", "type": "status"})
    assert answer.status == 202
    assert set(answer.json) == {"id"}
    stored = messages.get(answer.json["id"])
    assert (stored.sender, stored.recipient, stored.body) == ("Agent-1", "Agent-2", "hello")
    assert (stored.priority.label, stored.type.value) == ("high", "status")


def test_the_location_of_a_message_leads_to_it_with_its_history(service, messages):
    location = service.call("POST", "/v1/messages", MESSAGE).headers["Location"]
    (claimed,) = messages.claim(1, time.time(), 30)
    messages.retry([Failure(claimed.id, "disk_full", 5.0)], 1.0)
    messages.claim(1, time.time(), 30)
    messages.ack([claimed.id], 2.0, "inbox")
    shown = service.call("GET", location).json
    assert shown["id"] == claimed.id
    assert (shown["from"], shown["to"], shown["body"]) == ("Agent-1", "Agent-2", "hello")
    assert (shown["state"], shown["attempts"], shown["transport"]) == ("delivered", 2, "inbox")
    assert shown["finished_at"] == "1970-01-01T00:00:02.000Z"
    assert shown["history"] == [
        {"at": "1970-01-01T00:00:01.000Z", "outcome": "retry", "reason": "disk_full"},
        {"at": "1970-01-01T00:00:02.000Z", "outcome": "deliver", "reason": None},
    ]


def test_what_the_validator_cleaned_is_told(service, messages):
    answer = service.call("POST", "/v1/messages", {**MESSAGE, "body": "one\r\ntwo"})
    assert answer.json["cleaned"] == ["line_ends"]
    assert messages.get(answer.json["id"]).body == "one\ntwo"


@pytest.mark.parametrize("path", ["0" * 32, "x", "%00", "%F0%9F%98%80", "..%2F..%2Fetc"])
def test_a_message_that_is_not_there_is_404(service, path):
    answer = service.call("GET", f"/v1/messages/{path}")
    assert answer.status == 404
    assert answer.code in ("unknown_message", "not_found")


def test_pages_give_each_message_once_in_order_and_then_no_next(service):
    sent = [service.call("POST", "/v1/messages", MESSAGE).json["id"] for _ in range(5)]
    seen, path = [], "/v1/messages?limit=2"
    after = 0
    while after is not None:
        page = service.call("GET", f"{path}&after={after}").json
        assert set(page) == {"items", "next"}
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
    assert seen == sent


def test_a_full_last_page_has_no_next(service):
    for _ in range(2):
        service.call("POST", "/v1/messages", MESSAGE)
    assert service.call("GET", "/v1/messages?limit=2").json["next"] is None


def test_a_list_is_of_one_agent_and_one_state_where_that_is_asked(service, messages):
    one = service.call("POST", "/v1/messages", MESSAGE).json["id"]
    service.call("POST", "/v1/messages", {**MESSAGE, "to": "Agent-1"})
    assert [m["id"] for m in service.call("GET", "/v1/messages?to=Agent-2").json["items"]] == [one]
    messages.claim(1, time.time(), 30)
    for state, count in (("delivering", 1), ("queued", 1), ("failed", 0)):
        assert len(service.call("GET", f"/v1/messages?state={state}").json["items"]) == count
    assert service.call("GET", "/v1/messages?to=Agent-9").json == {"items": [], "next": None}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=%D9%A1",
        "limit=" + "9" * 5000,
        "after=-1",
        "after=1.5",
        "after=9223372036854775808",
        "state=lost",
        "stat=queued",
        "limit=1&limit=2",
        "to=a&to=b",
    ],
)
def test_a_wrong_query_is_400_and_names_the_parameter(service, query):
    answer = service.call("GET", f"/v1/messages?{query}")
    assert (answer.status, answer.code) == (400, "bad_query")
    assert query.split("=")[0] in answer.json["error"]["message"]
    assert len(answer.body) < 500


def test_the_highest_row_is_a_cursor_like_any_other(service):
    assert service.call("GET", "/v1/messages?after=9223372036854775807&limit=1000").status == 200


def test_a_broadcast_without_to_goes_to_every_active_agent_but_the_sender(service, messages):
    answer = service.call("POST", "/v1/broadcasts", {"from": "Agent-1", "body": "all"})
    assert answer.status == 202
    (stored,) = messages.page()
    assert answer.json == {"ids": [stored.id]}
    assert stored.recipient == "Agent-2"


def test_a_broadcast_gives_one_id_for_each_agent_in_the_order_asked(service, messages):
    body = {"from": "ops", "body": "x", "to": ["Agent-2", "Agent-1"], "priority": "low"}
    ids = service.call("POST", "/v1/broadcasts", body).json["ids"]
    assert [messages.get(one).recipient for one in ids] == ["Agent-2", "Agent-1"]
    assert {messages.get(one).priority.label for one in ids} == {"low"}


@pytest.mark.parametrize("to", [[], ["Agent-2", "Agent-9"], ["Agent-2", "Agent-2"]])
def test_a_broadcast_that_cannot_reach_all_reaches_none(service, messages, to):
    answer = service.call("POST", "/v1/broadcasts", {"from": "Agent-1", "body": "x", "to": to})
    assert answer.status == 422
    assert answer.code in ("no_recipient", "unknown_agent", "duplicate_recipient")
    assert messages.page() == []


@pytest.mark.parametrize("change", [{"to": "Agent-2"}, {"type": "text"}, {"to": [1]}])
def test_a_broadcast_that_does_not_fit_is_400(service, change):
    answer = service.call("POST", "/v1/broadcasts", {"from": "a", "body": "x", **change})
    assert (answer.status, answer.code) == (400, "bad_json")


def test_agents_are_shown_with_what_waits_for_each(service):
    for _ in range(3):
        service.call("POST", "/v1/messages", MESSAGE)
    items = service.call("GET", "/v1/agents").json["items"]
    told = [(one["id"], one["state"], one["queued"], one["transport"]) for one in items]
    assert told == [
        ("Agent-1", "active", 0, "inbox"),
        ("Agent-2", "active", 3, "inbox"),
        ("Agent-3", "inactive", 0, "inbox"),
    ]


def test_a_snapshot_names_what_is_absent_as_null(service):
    shown = service.call("GET", "/v1/snapshot", token=None).json
    assert shown["at"] == "2025-11-24T16:00:00.000Z"
    assert shown["resources"][0]["resource"] == "file_handle"
    assert shown["resources"][0]["oldest_idle_seconds"] is None
    assert shown["heap"] is None


def test_leases_are_shown_with_the_site_that_acquired_them(service):
    (lease,) = service.call("GET", "/v1/leases?resource=file_handle").json["items"]
    assert lease["site"] == {"file": LEASE.file, "line": LEASE.line, "function": LEASE.function}
    assert lease["id"] == LEASE.id
    answer = service.call("GET", "/v1/leases?resource=file_handel")
    assert (answer.status, answer.code) == (404, "unknown_resource")
    assert "file_handle" in answer.json["error"]["hint"]


def test_a_store_that_is_gone_is_503_for_reads_and_writes(service, messages):
    messages._engine.close()
    for method, path in (("POST", "/v1/messages"), ("GET", "/v1/messages"), ("GET", "/v1/agents")):
        answer = service.call(method, path, MESSAGE if method == "POST" else None)
        assert (answer.status, answer.code) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert service.call("GET", "/metrics").status == 200


def test_metrics_are_asked_for_by_accept_name_and_encoding(service):
    headers = {"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"}
    answer = service.call("GET", "/metrics?name[]=a&name%5B%5D=b&other=1", headers=headers)
    assert answer.body.startswith(b"# application/openmetrics-text a,b True")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("GZIP;q=1", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0, gzip;q=0.1", True),
        ("gzip;q=x", False),
        ("gzip;q=nan", False),
        ("gzipped", False),
        (";;,,;q=", False),
    ],
)
def test_gzip_is_accepted_where_it_has_a_weight_above_0(header, accepted):
    assert accepts_gzip(header) is accepted


def test_ready_gives_the_reason_why_it_is_not(tmp_path):
    with running(make_context(tmp_path, ready=lambda: "the disk is full")) as service:
        answer = service.call("GET", "/-/ready", token=None)
        assert (answer.status, answer.code) == (503, "not_ready")
        assert answer.json["error"]["message"] == "the disk is full"
        assert "Retry-After" in answer.headers
        assert service.call("GET", "/-/healthy", token=None).status == 200
        assert b"not ready: the disk is full" in service.call("GET", "/").body


def test_the_front_page_names_version_and_links_that_all_answer(service):
    page = service.call("GET", "/", token=None)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    text = page.body.decode()
    assert "1.2.3" in text
    for path, _, _ in LINKS:
        assert f'href="{path}"' in text
        assert service.call("GET", path).status == 200
    assert not [word for word in ("http://", "https://", "<script") if word in text]


def test_the_front_page_is_json_where_accept_asks_for_it(service):
    page = service.call("GET", "/", headers={"Accept": "application/json"}).json
    assert (page["name"], page["version"], page["instance_id"]) == ("leakwarden", "1.2.3", "i-1")
    assert {link["path"]: link["token"] for link in page["links"]} == {
        path: token for path, _, token in LINKS
    }


@pytest.mark.parametrize("path", [path for path, _, token in LINKS if token])
def test_the_links_that_are_marked_need_a_token(service, path):
    assert service.call("GET", path, token=None).status == 401


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/json", True),
        ("application/json, text/html", True),
        ("text/html, application/json", False),
    ],
)
def test_people_get_a_page_and_programs_json(accept, json):
    assert prefers_json(accept) is json


def test_the_app_serves_mounted_under_a_path_of_another(context):
    app = Starlette(routes=[Mount("/warden", app=build_app(context))])
    with running(context, app) as service:
        answer = service.call("POST", "/warden/v1/messages", MESSAGE)
        assert answer.status == 202
        assert answer.headers["Location"].startswith("/warden/v1/messages/")
        assert service.call("GET", answer.headers["Location"]).status == 200
        assert service.call("GET", "/warden/v1/messages", token=None).status == 401
        assert 'href="/warden/metrics"' in service.call("GET", "/warden/").body.decode()
