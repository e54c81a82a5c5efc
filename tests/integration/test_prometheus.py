"""A real Prometheus scrapes the real service under load; then everything is counted again."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakwarden.settings import DEFAULT_RESOURCES
from prometheus import Prometheus
from running import RunningService
from waiting import wait_until

LOAD_SECONDS = 60
SENDERS = 4
BACKBONE = (
    "leakwarden_resources",
    "leakwarden_resource_limit",
    "leakwarden_resource_ttl_seconds",
    "leakwarden_resource_stale",
    "leakwarden_resource_pinned",
    "leakwarden_resource_bytes",
    "leakwarden_resource_oldest_activity_timestamp_seconds",
    "leakwarden_resource_bounded_by_eviction",
    "leakwarden_resources_opened_total",
    "leakwarden_resources_closed_total",
    "leakwarden_resources_rejected_total",
)
HEADLINES = (
    "leakwarden_file_handles_open",
    "leakwarden_pyautogui_sessions_open",
    "leakwarden_heap_growth_bytes",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningService, Prometheus, int]]:
    """A service that took messages for a minute while Prometheus scraped it, and how many."""
    folder = tmp_path_factory.mktemp("scraped")
    service = RunningService(folder / "data")
    prometheus = Prometheus(folder / "prometheus", service.port)
    try:
        wait_until(lambda: prometheus.value("up") == 1)
        accepted = load(service, LOAD_SECONDS)
        wait_until(lambda: queued(service) == 0, 60)
        yield service, prometheus, accepted
    finally:
        prometheus.stop()
        assert service.stop() == 0, service.output


def load(service: RunningService, seconds: float) -> int:
    """Send and broadcast from several threads for `seconds`; the number of accepted messages."""
    stop = time.monotonic() + seconds
    accepted: list[str] = []
    troubles: list[object] = []

    def send(number: int) -> None:
        pause = threading.Event()
        count = 0
        while time.monotonic() < stop and not troubles:
            count += 1
            priority = ("low", "normal", "high", "urgent")[count % 4]
            if count % 10:
                status, answer = service.send("Agent-1", f"{number}:{count}", priority=priority)
                ids = [answer["id"]] if status == 202 else []
            else:
                body = {"from": "tester", "body": f"all {number}:{count}"}
                status, answer = service.post("/v1/broadcasts", body)
                ids = answer["ids"] if status == 202 else []
            if not ids:
                troubles.append((status, answer))
            accepted.extend(ids)
            pause.wait(0.05)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not troubles, troubles
    assert len(set(accepted)) == len(accepted)
    return len(accepted)


def queued(service: RunningService) -> int:
    with sqlite3.connect(service.data_dir / "leakwarden.db") as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM messages WHERE state IN ('queued', 'delivering')"
        ).fetchone()
    connection.close()
    return int(count)


def after_the_next_scrape(prometheus: Prometheus) -> None:
    """Wait for a scrape that began after this call."""
    now = time.time()
    wait_until(lambda: (prometheus.value("timestamp(up)") or 0) > now + 0.1, 30)


def descriptors(pid: int) -> list[str]:
    """Where each open descriptor of `pid` leads, read from outside."""
    folder = f"/proc/{pid}/fd"
    return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]  # noqa: PTH208, PTH115


def test_every_scrape_of_a_minute_under_load_succeeds(
    loaded: tuple[RunningService, Prometheus, int],
) -> None:
    _, prometheus, accepted = loaded
    assert accepted > LOAD_SECONDS
    window = f"[{LOAD_SECONDS}s]"
    assert prometheus.value(f"min_over_time(up{window})") == 1
    # One a second, less what a busy machine delays at the ends.
    assert (prometheus.value(f"count_over_time(up{window})") or 0) >= LOAD_SECONDS * 0.9


def test_the_headline_and_backbone_families_of_every_kind_are_there(
    loaded: tuple[RunningService, Prometheus, int],
) -> None:
    _, prometheus, _ = loaded
    for name in HEADLINES:
        assert prometheus.query(name), name
    for name in BACKBONE:
        kinds = {row["metric"]["resource"] for row in prometheus.query(name)}
        assert kinds == set(DEFAULT_RESOURCES), name
    assert {
        row["metric"]["collector"] for row in prometheus.query("leakwarden_collector_success == 0")
    } == set()


def test_the_message_figures_equal_the_inboxes_and_a_second_connection_to_the_store(
    loaded: tuple[RunningService, Prometheus, int],
) -> None:
    service, prometheus, accepted = loaded
    after_the_next_scrape(prometheus)
    files = sum(1 for _ in service.data_dir.glob("agents/*/inbox/*.md"))
    connection = sqlite3.connect(service.data_dir / "leakwarden.db")
    rows = dict(connection.execute("SELECT state, count(*) FROM messages GROUP BY state"))
    connection.close()
    assert rows == {"delivered": accepted}
    assert files == accepted
    assert prometheus.value("sum(leakwarden_messages_total)") == accepted
    assert prometheus.value("sum(leakwarden_message_failures_total)") == 0
    assert prometheus.value("sum(leakwarden_messages_queued)") == 0
    assert prometheus.value("leakwarden_message_oldest_queued_timestamp_seconds") == 0
    assert prometheus.value("sum(leakwarden_message_delivery_duration_seconds_count)") == accepted
    validated = prometheus.value('leakwarden_resources_opened_total{resource="validation_record"}')
    held = prometheus.value('leakwarden_resources{resource="validation_record"}')
    closed = prometheus.value(
        'sum(leakwarden_resources_closed_total{resource="validation_record"})'
    )
    assert validated == (held or 0) + (closed or 0)
    assert held == min(validated or 0, 1000)


def test_the_descriptor_figures_equal_proc_of_the_process(
    loaded: tuple[RunningService, Prometheus, int],
) -> None:
    service, prometheus, _ = loaded

    def equal() -> bool:
        # Prometheus keeps its one connection open; nobody else is connected now.
        counted = len(descriptors(service.pid))
        after_the_next_scrape(prometheus)
        return prometheus.value("process_open_fds") == counted == len(descriptors(service.pid))

    wait_until(equal, 30)
    in_inboxes = [path for path in descriptors(service.pid) if "/agents/" in path]
    assert prometheus.value("leakwarden_file_handles_open") == len(in_inboxes) == 0
    # Each delivery opens one file through the accounts, and gives it back.
    opened = prometheus.value('leakwarden_resources_opened_total{resource="file_handle"}')
    assert opened == prometheus.value("sum(leakwarden_messages_total)")
    status = Path(f"/proc/{service.pid}/status").read_text()
    threads = re.search(r"^Threads:\s+(\d+)$", status, re.MULTILINE)
    assert threads is not None
    assert prometheus.value("process_threads") == int(threads[1])


def test_promtool_finds_nothing_on_the_page(
    loaded: tuple[RunningService, Prometheus, int],
) -> None:
    service, _, _ = loaded
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing; `make test` installs it with Prometheus"
    status, page = service.get("/metrics")
    assert status == 200
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# A service of a user's own: seven files and three sessions held, and a page of its own server.
HOLDER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from leakwarden import Warden
from leakwarden.exporters.prometheus import Exporter

class Session:
    pass

warden = Warden()
held = [warden.files.open(Path(sys.argv[1]) / f"{n}.txt", "w") for n in range(7)]
pool = warden.track("db_session", limit=5, ttl=30.0)
sessions = [Session() for _ in range(3)]
leases = [pool.acquire(session) for session in sessions]
exporter = Exporter(warden.snapshot)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body, content_type, _ = exporter.page(self.headers["Accept"])
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_files_held_by_a_service_of_ones_own_are_counted_as_proc_counts_them(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        prometheus = None
        try:
            prometheus = Prometheus(tmp_path / "prometheus", int(holder.stdout.readline()))
            wait_until(lambda: prometheus.value("up") == 1)
            in_folder = [path for path in descriptors(holder.pid) if path.endswith(".txt")]
            assert prometheus.value("leakwarden_file_handles_open") == len(in_folder) == 7
            assert prometheus.value('leakwarden_resources{resource="db_session"}') == 3
            assert prometheus.value('leakwarden_resource_limit{resource="db_session"}') == 5
        finally:
            if prometheus is not None:
                prometheus.stop()
            holder.kill()
