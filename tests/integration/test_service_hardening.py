"""What a hostile client, a clumsy operator and a broken disk cannot do to the service."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import RunningService
from waiting import wait_until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    running = RunningService(tmp_path / "data")
    yield running
    running.stop()


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_head_without_end_is_refused_and_takes_no_memory(service: RunningService) -> None:
    before = resident_bytes(service.pid)
    for start in (b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET /", b"GET / HTTP/1.1\r\nX: "):
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as client:
            client.sendall(start)
            answer = b""
            try:
                for _ in range(400):
                    client.sendall(b"X: a\r\n" * 10_000 if start.endswith(b"\n") else b"a" * 60_000)
                answer = client.recv(1000)
            except ConnectionError:
                pass  # it was closed while we were sending: refused all the same
            assert answer == b"" or answer.split()[1] in (b"431", b"400")
    assert resident_bytes(service.pid) < before + 20 * 2**20
    assert service.get("/-/ready")[0] == 200


def test_half_open_connections_do_not_keep_the_probes_and_senders_out(
    service: RunningService,
) -> None:
    opened = []
    try:
        for _ in range(450):
            client = socket.create_connection(("127.0.0.1", service.port), timeout=30)
            client.sendall(b"GET / HTTP/1.1\r\n")
            opened.append(client)
        assert service.get("/-/healthy")[0] == 200
        assert service.get("/-/ready")[0] == 200
        assert service.send("Agent-1", "still heard")[0] == 202
        descriptors = len(os.listdir(f"/proc/{service.pid}/fd"))  # noqa: PTH208
        assert descriptors < 450
    finally:
        for client in opened:
            client.close()


def test_a_refused_body_that_never_comes_does_not_delay_the_end(service: RunningService) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.putrequest("POST", "/v1/messages")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "50")
    connection.endheaders(b"{")
    wait_until(lambda: service.get("/-/healthy")[0] == 200)
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 8, "it waited for the whole time to drain"
    assert "Traceback" not in service.output
    connection.close()


def test_a_hangup_changes_nothing_and_is_logged(service: RunningService) -> None:
    service.served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "signal.hangup_ignored" in service.output)
    assert service.get("/-/ready")[0] == 200


def test_everything_in_an_open_data_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "open"
    data_dir.mkdir(mode=0o755)
    data_dir.chmod(0o755)
    service = RunningService(data_dir)
    try:
        service.send("Agent-1", "secret")
        wait_until(lambda: service.inbox("Agent-1"))
        for path in data_dir.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    finally:
        service.stop()


def test_one_inbox_that_is_no_folder_stops_neither_the_start_nor_the_other_agents(
    tmp_path: Path,
) -> None:
    agent = tmp_path / "data" / "agents" / "Agent-1"
    agent.mkdir(parents=True)
    (agent / "inbox").write_text("")
    service = RunningService(tmp_path / "data")
    try:
        assert service.send("Agent-1", "waits")[0] == 202
        assert service.send("Agent-2", "arrives")[0] == 202
        wait_until(lambda: service.inbox("Agent-2"))
    finally:
        service.stop()


def test_an_inbox_that_leads_into_another_agents_inbox_is_not_delivered_to(tmp_path: Path) -> None:
    agents = tmp_path / "data" / "agents"
    (agents / "Agent-1" / "inbox").mkdir(parents=True)
    (agents / "Agent-2").mkdir()
    (agents / "Agent-2" / "inbox").symlink_to(agents / "Agent-1" / "inbox")
    service = RunningService(tmp_path / "data")
    try:
        _, answer = service.send("Agent-2", "not for Agent-1")
        path = f"/v1/messages/{answer['id']}"
        wait_until(lambda: service.get(path)[1]["last_error"] == "unsafe_path")
        assert service.inbox("Agent-1") == []
    finally:
        service.stop()


def test_a_service_whose_data_was_removed_is_not_ready_and_says_why(tmp_path: Path) -> None:
    service = RunningService(tmp_path / "data")
    shutil.rmtree(service.data_dir)
    status, answer = service.request("GET", "/-/ready", None, Authorization="Bearer none")
    assert status == 503
    assert "was removed" in str(answer)
    service.served.end(signal.SIGKILL)


def test_a_token_file_that_becomes_a_pipe_does_not_hang_the_service(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token\n")
    tokens.chmod(0o600)
    service = RunningService(tmp_path / "data", "--token-file", str(tokens))
    try:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        pipe.replace(tokens)

        def told() -> bool:
            status, _ = service.get("/v1/agents", Authorization="Bearer first-token")
            return status == 200 and "tokens.not_reloaded" in service.output

        wait_until(told)
    finally:
        service.stop()


def leakwarden(*arguments: str, **options: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "leakwarden", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "url",
    ["http://a..b:1", f"http://{'a' * 80}:1", "http://127.0.0.1:1/\u00e9", "http://127.0.0.1:1/ x"],
)
def test_an_address_that_cannot_be_one_is_wrong_use_in_one_line(url: str) -> None:
    code, error = leakwarden("status", "--url", url)
    assert code == 64
    assert len(error.splitlines()) == 1
    assert "is no address" in error


@pytest.mark.parametrize("option", ["--to", "--from", "--priority"])
def test_an_option_that_is_given_twice_is_wrong_use_and_sends_nothing(option: str) -> None:
    words = {"--to": "Agent-1", "--from": "tester", "--priority": "high"}
    arguments = [part for pair in words.items() for part in pair]
    code, error = leakwarden("send", *arguments, option, words[option], "body")
    assert code == 64
    assert f"{option} was given twice" in error


def test_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        code, error = leakwarden("--help", stdout=full)
    assert code == 1
    assert error == "leakwarden: the output cannot be written: No space left on device\n"
