"""What a request may be, and what every answer looks like, over real connections."""

from __future__ import annotations

import logging
import socket
from contextlib import closing

import pytest

from leakwarden.core.errors import ConfigError, LimitExceeded, Refused, Unavailable
from leakwarden.service.errors import STATUSES
from leakwarden.settings import HttpSettings
from serving import TOKEN, ListStore, make_context, running

MESSAGE = {"from": "Agent-1", "to": "Agent-2", "body": "hello"}
LIMIT = 4096


@pytest.fixture(scope="module")
def store():
    return ListStore()


@pytest.fixture(scope="module")
def service(tmp_path_factory, store):
    settings = HttpSettings(listen="127.0.0.1:0", body_limit_bytes=LIMIT)
    with running(make_context(tmp_path_factory.mktemp("http"), settings, store=store)) as service:
        yield service


def raw(service, *pieces: bytes) -> bytes:
    """What comes back for bytes as they stand, until the server closes."""
    with closing(socket.create_connection((service.host, service.port), timeout=20)) as client:
        for piece in pieces:
            client.sendall(piece)
        return b"".join(iter(lambda: client.recv(65536), b""))


def head(service, *lines: str, version="1.1") -> bytes:
    text = f"POST /v1/messages HTTP/{version}\r\nHost: 127.0.0.1:{service.port}\r\n"
    text += f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    return (text + "".join(line + "\r\n" for line in lines) + "\r\n").encode()


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "", None],
)
def test_a_body_that_is_not_called_json_is_415(service, kind):
    answer = service.call("POST", "/v1/messages", MESSAGE, headers={"Content-Type": kind})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"]
)
def test_a_body_that_is_called_json_is_taken_with_any_parameter(service, kind):
    answer = service.call("POST", "/v1/messages", MESSAGE, headers={"Content-Type": kind})
    assert answer.status == 202


def test_a_compressed_body_is_415(service):
    answer = service.call("POST", "/v1/messages", MESSAGE, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


def sized(size: int) -> bytes:
    """A JSON body of exactly `size` bytes: blanks around a message change nothing."""
    body = b'{"from":"Agent-1","to":"Agent-2","body":"hello"}'
    return body + b" " * (size - len(body))


def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_413(service):
    assert service.call("POST", "/v1/messages", sized(LIMIT)).status == 202
    answer = service.call("POST", "/v1/messages", sized(LIMIT + 1))
    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("kind", "token", "status"),
    [
        ("application/json", TOKEN, b"413"),
        ("text/plain", TOKEN, b"415"),
        ("application/json", "wrong", b"401"),
    ],
)
def test_a_client_that_wants_the_connection_closed_still_reads_why_it_is_refused(
    service, kind, token, status
):
    """It still sends while the answer is known: closing then would reset what it has to read."""
    start = head(service, "Connection: close", f"Content-Length: {LIMIT * 60}")
    start = start.replace(b"application/json", kind.encode()).replace(
        TOKEN.encode(), token.encode()
    )
    body = sized(LIMIT * 60)
    answer = raw(service, start, *(body[at : at + 500] for at in range(0, len(body), 500)))
    assert answer.split()[1] == status


def test_a_client_that_sends_far_too_much_still_reads_its_413(service):
    answer = service.call("POST", "/v1/messages", sized(LIMIT * 2000))
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_client_that_asks_before_it_sends_is_refused_before_it_sends(service):
    lines = (f"Content-Length: {LIMIT + 1}", "Expect: 100-continue", "Connection: close")
    answer = raw(service, head(service, *lines))
    assert answer.split()[1] == b"413"
    assert b"100 Continue" not in answer


def chunked(body: bytes, size: int) -> list[bytes]:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return [b"%x\r\n%s\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]


@pytest.mark.parametrize(
    ("size", "status"), [(LIMIT, b"202"), (LIMIT + 1, b"413"), (LIMIT * 40, b"413")]
)
def test_a_chunked_body_is_measured_while_it_comes(service, size, status):
    start = head(service, "Transfer-Encoding: chunked", "Connection: close")
    answer = raw(service, start, *chunked(sized(size), 1000))
    assert answer.split()[1] == status


def test_a_body_whose_length_and_chunks_contradict_is_not_taken(service, store):
    before = len(store.messages)
    start = head(service, "Transfer-Encoding: chunked", "Content-Length: 5", "Connection: close")
    answer = raw(service, start + b"".join(chunked(sized(60), 1000)))
    assert answer.split()[1] == b"400"
    assert len(store.messages) == before


def test_a_client_that_leaves_in_the_middle_of_a_body_stores_nothing(service, store):
    before = len(store.messages)
    with closing(socket.create_connection((service.host, service.port), timeout=20)) as client:
        client.sendall(head(service, "Content-Length: 100") + b'{"from":')
    assert service.call("GET", "/-/healthy").status == 200
    assert len(store.messages) == before


@pytest.mark.parametrize("hosts", [[], ["localhost:{port}", "evil.example"]])
def test_a_request_without_exactly_one_host_is_400(service, hosts):
    lines = "".join(f"Host: {host.format(port=service.port)}\r\n" for host in hosts)
    answer = raw(service, f"GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
    assert answer.split()[1] == b"400"


def test_two_requests_on_one_connection_are_both_answered(service):
    body = sized(60)
    one = head(service, f"Content-Length: {len(body)}") + body
    last = head(service, f"Content-Length: {len(body)}", "Connection: close") + body
    assert raw(service, one + last).count(b"HTTP/1.1 202") == 2


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/messages", "GET, HEAD, POST"),
        ("PUT", "/v1/broadcasts", "POST"),
        ("GET", "/v1/broadcasts", "POST"),
        ("HEAD", "/v1/broadcasts", "POST"),
        ("POST", "/metrics", "GET, HEAD"),
        ("OPTIONS", "/", "GET, HEAD"),
        ("PATCH", "/v1/messages/00", "GET, HEAD"),
    ],
)
def test_a_method_that_a_route_does_not_have_is_405_and_names_those_it_has(
    service, method, path, allow
):
    answer = service.call(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == allow
    if method != "HEAD":
        assert answer.code == "method_not_allowed"


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v1", "/v1/messages/", "//v1/messages", "/v1/messages/a/b", "/metrics/", "/%00"],
)
def test_a_path_that_is_not_there_is_404_in_json(service, path):
    answer = service.call("GET", path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/ready", "/v1/snapshot", "/v1/agents"])
def test_head_answers_as_get_without_a_body(service, path):
    got, headed = service.call("GET", path), service.call("HEAD", path)
    assert headed.status == got.status == 200
    assert headed.body == b""
    assert headed.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.parametrize("path", ["/", "/metrics", "/v1/snapshot", "/v1/agents", "/nowhere"])
def test_no_answer_is_cached_or_guessed_at(service, path):
    answer = service.call("GET", path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Server" not in answer.headers


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "expected `object`"),
        (b"null", "expected `object`"),
        (b'{"from":"a","to":"b"}', "`body`"),
        (b'{"from":"a","to":"b","body":"c","prority":"high"}', "`prority`"),
        (b'{"from":"a","to":"b","body":1}', "$.body"),
        (b'{"from":"a","to":["b"],"body":"c"}', "$.to"),
        (b'{"from":"a","to":"b","body":null}', "$.body"),
        (b'{"from":"a","to":"b","body":"\xff"}', "utf-8"),
        (b'{"from":"a","to":"b","body":"\\ud800"}', "truncated"),
        (b"[" * 3000, "object"),
    ],
)
def test_a_body_that_does_not_fit_is_400_and_the_message_names_the_place(service, body, names):
    answer = service.call("POST", "/v1/messages", body)
    assert (answer.status, answer.code) == (400, "bad_json")
    assert names.lower() in answer.json["error"]["message"].lower()
    assert answer.json["error"]["hint"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"priority": "soon"}, "unknown_priority"),
        ({"type": "poem"}, "unknown_type"),
        ({"to": "Agent-9"}, "unknown_agent"),
        ({"to": "Agent-3"}, "inactive_agent"),
        ({"from": "../x"}, "invalid_agent_id"),
        ({"body": " \n"}, "empty_body"),
        ({"body": "\u202e"}, "empty_body"),
        ({"body": "a\x00"}, "control_character"),
    ],
)
def test_a_message_that_breaks_a_rule_is_422_with_the_rule(service, store, change, code):
    before = len(store.messages)
    answer = service.call("POST", "/v1/messages", {**MESSAGE, **change})
    if code == "empty_body":
        assert answer.status == 422
    else:
        assert (answer.status, answer.code) == (422, code)
    assert len(store.messages) == before


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (Unavailable("the disk is full", "make room", 2.2), 503, "3"),
        (LimitExceeded("message", 10_000, 10_000), 429, "1"),
        (Refused("illegal_move", "no"), 409, None),
        (Refused("unknown_message", "no"), 404, None),
        (Refused("any_other_rule", "no"), 422, None),
        (ConfigError("no", "do"), 500, None),
    ],
)
def test_each_error_has_its_status(service, store, error, status, retry):
    store.error = error
    try:
        answer = service.call("POST", "/v1/messages", MESSAGE)
    finally:
        store.error = None
    assert answer.status == status
    assert answer.headers.get("Retry-After") == retry
    assert answer.json["error"]["message"] == error.message


def test_an_unexpected_error_is_a_500_that_says_nothing_of_it_and_is_logged_once(
    service, store, caplog
):
    store.error = ZeroDivisionError("secret detail")
    try:
        with caplog.at_level(logging.ERROR):
            answers = [service.call("POST", "/v1/messages", MESSAGE) for _ in range(3)]
    finally:
        store.error = None
    for answer in answers:
        assert (answer.status, answer.code) == (500, "internal")
        assert b"secret" not in answer.body
        assert b"Traceback" not in answer.body
    assert caplog.text.count("ZeroDivisionError") == 1
    assert caplog.text.count("http.failed") == 1


def test_every_status_of_the_table_is_an_error():
    assert all(400 <= status < 600 for status in STATUSES.values())
