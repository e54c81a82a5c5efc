"""The server itself: addresses, requests that never end, and stopping in good order."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest

from leakwarden.core.errors import ConfigError
from leakwarden.service.server import HttpServer, StopSignals, _arriving_request
from leakwarden.settings import HttpSettings
from serving import TOKEN, make_context, running
from waiting import wait_until

PROTOCOLS = pytest.mark.parametrize("protocol", ["httptools", "h11"])


async def nothing(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def connect(service):
    return closing(socket.create_connection((service.host, service.port), timeout=20))


def test_port_0_takes_a_free_port_and_says_which():
    one = HttpServer(nothing, HttpSettings(listen="127.0.0.1:0"))
    other = HttpServer(nothing, HttpSettings(listen="127.0.0.1:0"))
    (host, port), (_, other_port) = one.bind(), other.bind()
    try:
        assert host == "127.0.0.1"
        assert 0 < port != other_port > 0
    finally:
        for server in (one, other):
            for opened in server._sockets:
                opened.close()


def test_an_address_in_use_is_one_clear_line():
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}") as refused:
            HttpServer(nothing, HttpSettings(listen=f"127.0.0.1:{port}")).bind()
    assert "in use" in refused.value.message
    assert "\n" not in refused.value.message
    assert "--listen" in refused.value.hint


def test_an_address_of_no_machine_is_one_clear_line():
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1 port 0"):
        HttpServer(nothing, HttpSettings(listen="192.0.2.1:0")).bind()


def test_a_name_is_listened_on_at_each_of_its_addresses(tmp_path):
    with running(make_context(tmp_path, HttpSettings(listen="localhost:0"))) as service:
        addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 1)}
        assert {opened.getsockname()[0] for opened in service.server._sockets} <= addresses
        assert service.call("GET", "/-/healthy").status == 200


@PROTOCOLS
def test_both_protocols_answer_alike(tmp_path, protocol):
    message = {"from": "Agent-1", "to": "Agent-2", "body": "hello"}
    with running(make_context(tmp_path), protocol=protocol) as service:
        assert service.call("POST", "/v1/messages", message).status == 202
        assert service.call("POST", "/v1/messages", message, token=None).status == 401
        assert service.call("POST", "/v1/messages", b"x" * 2_000_000).status == 413
        assert service.call("HEAD", "/metrics").body == b""


@PROTOCOLS
def test_a_request_is_arriving_until_it_is_whole_and_an_idle_connection_is_not(tmp_path, protocol):
    start = f"POST /v1/messages HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    rest = b"Content-Type: application/json\r\nContent-Length: 5\r\n"
    with running(make_context(tmp_path), protocol=protocol) as service:
        state = service.server._server.server_state

        def arriving():
            found = [_arriving_request(connection) for connection in list(state.connections)]
            return [key and key[2] for key in found]

        with connect(service) as client:
            wait_until(lambda: arriving() == ["headers"])
            client.sendall(start + f"Host: 127.0.0.1:{service.port}\r\n".encode())
            wait_until(lambda: arriving() == ["headers"])
            client.sendall(rest + b"\r\n12")
            wait_until(lambda: arriving() == ["body"])
            client.sendall(b"345")
            assert client.recv(65536).startswith(b"HTTP/1.1 400")
            wait_until(lambda: arriving() == [None])
            client.sendall(b"GET / HT")
            wait_until(lambda: arriving() == ["headers"])


@PROTOCOLS
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nX-Slow: ",
        (
            b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100\r\n"
            b"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\r\n{"
        ),
    ],
)
def test_a_request_that_does_not_arrive_in_time_loses_its_connection(tmp_path, protocol, sent):
    options = {"protocol": protocol, "arrival_seconds": 0.5}
    with running(make_context(tmp_path), **options) as service, connect(service) as client:
        sent = sent.replace(b"{port}", b"%d" % service.port)
        client.sendall(sent.replace(b"{token}", TOKEN.encode()))
        assert client.recv(65536) == b""
        assert service.call("GET", "/-/healthy").status == 200


def test_malformed_http_is_400_and_logged_as_an_event_of_ours(tmp_path, caplog):
    with running(make_context(tmp_path)) as service:
        for _ in range(3):
            with connect(service) as client:
                client.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
                assert client.recv(65536).startswith(b"HTTP/1.1 400")
    assert caplog.text.count("http.server said='Invalid HTTP request received.'") == 1
    assert {record.name for record in caplog.records} == {"leakwarden.service.server"}


def test_a_service_that_stops_is_not_ready_and_still_answers_what_was_begun(tmp_path):
    context = make_context(tmp_path)
    with running(context) as service:
        assert service.call("GET", "/-/ready").status == 200
        context.stopping.set()
        answer = service.call("GET", "/-/ready")
        assert (answer.status, answer.code) == (503, "not_ready")
        assert "stopping" in answer.json["error"]["message"]
        assert service.call("GET", "/-/healthy").status == 200


def test_stop_is_heard_before_run_and_as_often_as_one_likes(tmp_path):
    context = make_context(tmp_path)
    with running(context) as service:
        for _ in range(3):
            service.server.stop()
        service.thread.join(20)
        assert not service.thread.is_alive()
        service.server.stop()
        assert context.stopping.is_set()
    early = HttpServer(nothing, HttpSettings(listen="127.0.0.1:0"))
    early.stop()
    early.run()


def test_a_request_that_never_ends_is_cut_off_after_the_drain_time(tmp_path):
    began = threading.Event()

    async def stuck(scope, receive, send):
        began.set()
        await receive()
        await receive()  # waits for the client to leave, which it does not

    context = make_context(tmp_path)
    with running(context, stuck, drain_seconds=1) as service, connect(service) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert began.wait(10)
        service.server.stop()
        service.thread.join(20)
        assert not service.thread.is_alive()


PROGRAM = """
import asyncio, json, pathlib, sys, threading
from leakwarden.service.server import HttpServer, StopSignals
from leakwarden.settings import HttpSettings

gate, closing = map(pathlib.Path, sys.argv[1:])

def say(**what):
    print(json.dumps(what), flush=True)

async def app(scope, receive, send):
    say(at="begun")
    while not gate.exists():
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"whole"})

server = HttpServer(app, HttpSettings(listen="127.0.0.1:0"))
host, port = server.bind()
def first():
    server.stop()
    say(at="signalled")
with StopSignals(first) as signals:
    server.run(lambda: say(at="listening", port=port))
    say(at="served", received=signals.received)
    while not closing.exists():
        threading.Event().wait(0.01)
say(at="closed")
"""


class Program:
    """A service in a process of its own that tells each step as a line of JSON."""

    def __init__(self, tmp_path):
        self.gate, self.closing = tmp_path / "gate", tmp_path / "closing"
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self.gate, self.closing], stdout=subprocess.PIPE
        )
        self.port = self.until("listening")["port"]

    def until(self, at):
        for line in self.process.stdout:
            told = json.loads(line)
            if told["at"] == at:
                return told
        raise AssertionError(f"it ended before it was {at}")


@contextmanager
def program(tmp_path):
    started = Program(tmp_path)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait(20)
        started.process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_answers_what_was_begun_takes_no_more_and_returns(tmp_path, number):
    with program(tmp_path) as service:
        begun = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        begun.request("GET", "/")
        service.until("begun")
        service.process.send_signal(number)
        service.until("signalled")
        wait_until(lambda: refused(service.port))
        service.gate.touch()
        assert begun.getresponse().read() == b"whole"
        begun.close()
        assert service.until("served")["received"] == number
        service.closing.touch()
        service.until("closed")
        assert service.process.wait(20) == 0


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once_while_a_request_hangs(tmp_path, number):
    with program(tmp_path) as service:
        begun = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        begun.request("GET", "/")
        service.until("begun")
        service.process.send_signal(signal.SIGTERM)
        service.until("signalled")
        service.process.send_signal(number)
        assert service.process.wait(20) == 128 + number
        begun.close()


def test_a_second_signal_also_ends_what_closes_after_the_server(tmp_path):
    with program(tmp_path) as service:
        service.process.send_signal(signal.SIGTERM)
        service.until("served")
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(20) == 128 + signal.SIGINT


def test_signals_are_as_they_were_once_everything_is_closed():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    told = threading.Event()
    with StopSignals(told.set) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.wait(10)
        assert signals.received == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
