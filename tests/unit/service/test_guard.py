"""The guard, called as an ASGI app where a real connection cannot bring the case about."""

from __future__ import annotations

import asyncio
import json

import pytest

from leakwarden.service.http import MOST_CALLS, build_app
from serving import TOKEN, ListStore, make_context

HOST = (b"host", b"127.0.0.1:9877")
AUTHORIZATION = (b"authorization", f"Bearer {TOKEN}".encode())
JSON = (b"content-type", b"application/json")
MESSAGE = b'{"from":"Agent-1","to":"Agent-2","body":"hello"}'


async def call(app, method, path, *headers, server=("127.0.0.1", 9877), body=(b"",), kind="http"):
    """(status, JSON or None) of one request; `body` comes piece by piece, None: the client left."""
    pieces = list(body)
    sent = []

    async def receive():
        piece = pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(event):
        sent.append(event)

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": list(headers),
        "server": server,
        "scheme": "http",
    }
    await app(scope, receive, send)
    if not sent:
        return None, None
    if kind != "http":
        return sent[0]["type"], None
    text = b"".join(event.get("body", b"") for event in sent[1:])
    return sent[0]["status"], json.loads(text) if text.startswith(b"{") else None


def test_loopback_gives_no_right_where_the_connection_came_to_another_address(tmp_path):
    app = build_app(make_context(tmp_path))
    here, there = (b"host", b"127.0.0.1:9877"), (b"host", b"192.0.2.5:9877")

    async def both():
        assert (await call(app, "GET", "/v1/snapshot", here))[0] == 200
        other = await call(app, "GET", "/v1/snapshot", there, server=("192.0.2.5", 9877))
        assert other[0] == 401

    asyncio.run(both())


@pytest.mark.parametrize("pieces", [(None,), (b"{", None), (MESSAGE, None)])
def test_a_client_that_left_gets_no_answer_and_stores_nothing(tmp_path, pieces):
    store = ListStore()
    app = build_app(make_context(tmp_path, store=store))
    answer = asyncio.run(call(app, "POST", "/v1/messages", HOST, AUTHORIZATION, JSON, body=pieces))
    assert answer == (None, None)
    assert store.messages == []


def test_a_body_may_come_in_any_pieces(tmp_path):
    store = ListStore()
    app = build_app(make_context(tmp_path, store=store))
    pieces = [MESSAGE[at : at + 1] for at in range(len(MESSAGE))]
    headers = (HOST, AUTHORIZATION, JSON)
    assert asyncio.run(call(app, "POST", "/v1/messages", *headers, body=pieces))[0] == 202
    assert store.messages[0].body == "hello"


@pytest.mark.parametrize("headers", [[HOST], [HOST, AUTHORIZATION, JSON]])
def test_a_body_without_end_is_kept_to_its_limit_and_dropped_to_its_bound(tmp_path, headers):
    context = make_context(tmp_path)
    app = build_app(context)
    piece = b"x" * context.settings.http.body_limit_bytes
    pieces = [piece] * 200
    taken = iter(pieces)

    async def receive():
        return {"type": "http.request", "body": next(taken), "more_body": True}

    async def send(event):
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/messages",
        "headers": headers,
        "server": ("127.0.0.1", 9877),
    }
    asyncio.run(app(scope, receive, send))
    left = len(list(taken))
    assert 0 < left < 200


class Held(ListStore):
    """Commits once it is told to."""

    def __init__(self):
        super().__init__()
        self.go = asyncio.Event()

    async def enqueue_async(self, messages):
        await self.go.wait()
        await super().enqueue_async(messages)


def test_more_calls_than_can_be_answered_are_503_and_probes_still_answer(tmp_path):
    async def scenario():
        store = Held()
        app = build_app(make_context(tmp_path, store=store))

        def post():
            headers = (HOST, AUTHORIZATION, JSON)
            return call(app, "POST", "/v1/messages", *headers, body=[MESSAGE])

        waiting = [asyncio.create_task(post()) for _ in range(MOST_CALLS)]
        await asyncio.sleep(0)
        refused = await asyncio.wait_for(post(), 20)
        assert refused[0] == 503
        assert refused[1]["error"]["code"] == "overloaded"
        assert (await call(app, "GET", "/-/healthy", HOST))[0] == 200
        store.go.set()
        assert {status for status, _ in await asyncio.gather(*waiting)} == {202}
        assert (await post())[0] == 202, "those that were answered make room"

    asyncio.run(scenario())


def test_a_call_that_fails_makes_room_too(tmp_path):
    async def scenario():
        store = ListStore()
        store.error = ZeroDivisionError()
        app = build_app(make_context(tmp_path, store=store))
        headers = (HOST, AUTHORIZATION, JSON)
        for _ in range(MOST_CALLS + 1):
            status, _ = await call(app, "POST", "/v1/messages", *headers, body=[MESSAGE])
            assert status == 500

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["/v1/messages", "/nowhere"])
def test_a_websocket_is_closed_and_not_answered_as_http(tmp_path, path):
    app = build_app(make_context(tmp_path))
    assert asyncio.run(call(app, "GET", path, HOST, kind="websocket")) == ("websocket.close", None)
