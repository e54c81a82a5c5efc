"""The whole service as a process: its life, its death, and a disk that fills up."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
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


def refused(data_dir: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and error of a service that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "leakwarden", "serve", "--data-dir", str(data_dir), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_message_is_delivered_as_one_file_of_the_stated_form(service: RunningService) -> None:
    status, answer = service.send("Agent-1", "two\nlines", priority="urgent", type="command")
    assert status == 202
    (file,) = wait_until(lambda: service.inbox("Agent-1"))
    assert file.name == f"{answer['id']}.md"
    headers, _, body = file.read_text(encoding="utf-8").partition("\n\n")
    assert body == "two\nlines"
    names = [line.partition(": ")[0] for line in headers.splitlines()]
    assert names == ["From", "To", "Id", "Type", "Priority", "Sent"]
    assert f"Id: {answer['id']}" in headers
    assert "Priority: urgent" in headers
    assert "Type: command" in headers


def test_sigterm_ends_the_service_with_0_and_leaves_a_store_that_needs_no_check(
    service: RunningService,
) -> None:
    service.send("Agent-1", "kept")
    assert service.stop() == 0, service.output
    assert (service.data_dir / "lock").read_text() == "clean\n"
    assert not (service.data_dir / "leakwarden.db-wal").exists()


def test_a_second_signal_ends_the_service_at_once(service: RunningService) -> None:
    """A request that never ends keeps the first signal draining; the second does not wait."""
    import http.client  # noqa: PLC0415

    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.putrequest("POST", "/v1/messages")
    connection.putheader("Authorization", f"Bearer {service.token}")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    process = service.served.process
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: "http.server said" in service.output or ready(service) != 200)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 128 + signal.SIGTERM
    connection.close()


def ready(service: RunningService) -> int | None:
    try:
        return service.get("/-/ready")[0]
    except OSError:
        return None


def test_what_was_accepted_is_there_after_a_restart_under_the_same_instance_id(
    service: RunningService,
) -> None:
    _, answer = service.send("Agent-1", "before")
    before = service.get("/v1/snapshot")[1]["instance_id"]
    service.stop()
    service.start()
    assert service.get("/v1/snapshot")[1]["instance_id"] == before
    status, message = service.get(f"/v1/messages/{answer['id']}")
    assert (status, message["body"]) == (200, "before")
    wait_until(lambda: len(service.inbox("Agent-1")) == 1)


def test_the_first_start_makes_a_token_that_only_its_owner_can_read(
    service: RunningService,
) -> None:
    token = service.data_dir / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(service.data_dir.stat().st_mode) == 0o700
    assert service.get("/v1/messages", Authorization="Bearer wrong")[0] == 401


def test_a_second_service_over_the_same_data_is_refused_with_the_owner_named(
    service: RunningService,
) -> None:
    code, error = refused(service.data_dir, "--listen", "127.0.0.1:0")
    assert code == 78
    assert f"in use by process {service.pid}" in error
    assert len(error.splitlines()) == 1
    assert service.get("/-/ready")[0] == 200


def test_an_address_in_use_is_refused_and_the_data_is_free_again(
    service: RunningService, tmp_path: Path
) -> None:
    code, error = refused(tmp_path / "other", "--listen", f"127.0.0.1:{service.port}")
    assert code == 78
    assert "Address already in use" in error
    other = RunningService(tmp_path / "other")
    assert other.stop() == 0


def test_off_loopback_the_service_does_not_start_without_a_token_file(tmp_path: Path) -> None:
    code, error = refused(tmp_path / "data", "--listen", "0.0.0.0:0")
    assert code == 78
    assert "--token-file" in error


def test_a_broken_agents_file_is_one_line_that_names_it(tmp_path: Path) -> None:
    agents = tmp_path / "agents.json"
    agents.write_text('{"agents": {"Agent/1": {}}}')
    code, error = refused(tmp_path / "data", "--agents", str(agents), "--listen", "127.0.0.1:0")
    assert code == 78
    assert len(error.splitlines()) == 1
    assert str(agents) in error
    assert "Agent/1" in error


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_answers_503_and_the_service_recovers_by_itself_once_there_is_room(
    small_disk: Path,
) -> None:
    service = RunningService(small_disk / "data")
    try:
        ballast = small_disk / "ballast"
        fill(ballast)
        accepted: list[str] = []
        status, answer = 202, None
        for _ in range(2000):
            status, answer = service.send("Agent-1", "x" * 900)
            if status != 202:
                break
            accepted.append(answer["id"])
        assert status == 503, answer
        assert answer["error"]["code"] == "unavailable"
        assert ready(service) == 503
        assert service.get("/-/healthy")[0] == 200
        assert service.get("/metrics")[0] == 200
        ballast.unlink()
        wait_until(lambda: ready(service) == 200, 30)
        status, answer = service.send("Agent-1", "room again")
        assert status == 202
        accepted.append(answer["id"])
        wait_until(
            lambda: {path.stem for path in service.inbox("Agent-1")} >= set(accepted), 60, every=0.1
        )
        connection = sqlite3.connect(service.data_dir / "leakwarden.db")
        stored = [row[0] for row in connection.execute("SELECT id FROM messages")]
        connection.close()
        # Nothing acknowledged is missing, and nothing refused was kept.
        assert sorted(stored) == sorted(accepted)
        assert "Traceback" not in service.output
    finally:
        code = service.stop()
    assert code == 0


def fill(ballast: Path) -> None:
    """Leave some tens of kilobytes of the file system."""
    free = os.statvfs(ballast.parent)
    room = free.f_bavail * free.f_frsize
    ballast.write_bytes(b"\0" * max(0, room - 200_000))


def test_sixteen_senders_at_once_lose_nothing_and_double_nothing(service: RunningService) -> None:
    ids: list[str] = []

    def send(number: int) -> None:
        for count in range(25):
            status, answer = service.send(f"Agent-{number % 4 + 1}", f"{number}:{count}")
            assert status == 202, answer
            ids.append(answer["id"])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 16 * 25
    found = wait_until(lambda: (files := inboxes(service)) and len(files) >= len(ids) and files, 30)
    assert sorted(found) == sorted(ids)


def inboxes(service: RunningService) -> list[str]:
    return [path.stem for path in service.data_dir.glob("agents/*/inbox/*.md")]
