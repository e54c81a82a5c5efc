"""Durable sends over HTTP against a no-op route of Starlette under the same server.

Both servers are processes of their own with the same HttpServer; the client is a third one, raw
sockets that keep their connections, so that its work does not sit in what is measured. The
parts take turns; each figure is the median of its rounds. A durable send is everything that a
user gets: Host, token, JSON, validation with its record, and a commit with fdatasync
(synchronous=full) before the 202. Delivery does not run meanwhile.

    python benchmarks/bench_http.py [--rounds 5] [--seconds 1.5] [--directory DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from leakwarden.app import Warden
from leakwarden.exporters.prometheus import Exporter
from leakwarden.messaging.agents import Agent
from leakwarden.messaging.sending import Sender
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import Messages
from leakwarden.messaging.validator import Validator
from leakwarden.service.auth import Tokens, make_token_file
from leakwarden.service.context import Context
from leakwarden.service.http import build_app
from leakwarden.service.server import HttpServer, StopSignals
from leakwarden.settings import HttpSettings, Settings
from table import Row, report

CONNECTIONS = (1, 8, 32)
# A bare prototype without validation or tokens made 0.3, 0.45 and 0.6.
GOALS = {1: None, 8: None, 32: 0.45}
BODY = "x" * 256
WARM_UP_SECONDS = 0.3


async def noop(_request: Request) -> Response:
    return Response(b"{}", 202, media_type="application/json")


def serve(part: str, directory: Path) -> None:
    """Serve one part until SIGTERM, and say the port on standard output."""
    settings = Settings(http=HttpSettings(listen="127.0.0.1:0"))
    with ExitStack() as stack:
        if part == "noop":
            app = Starlette(routes=[Route("/v1/messages", noop, methods=["POST"])])
        else:
            engine = Engine(directory, settings.store)
            engine.open()
            stack.callback(engine.close)
            app = build_app(context_over(engine, directory, settings))
        server = HttpServer(app, settings.http)
        _, port = server.bind()
        stack.enter_context(StopSignals(server.stop))
        server.run(lambda: print(port, flush=True))


def context_over(engine: Engine, directory: Path, settings: Settings) -> Context:
    make_token_file(directory / "token")
    agents = {name: Agent(name) for name in ("Agent-1", "Agent-2")}
    warden = Warden(settings)
    messages = Messages(engine)
    validator = Validator(warden.validation_history.record)
    return Context(
        settings=settings,
        agents=agents,
        sender=Sender(messages, agents, validator, time.time),
        messages=messages,
        snapshot=warden.snapshot,
        leases=warden.leases,
        kinds=warden.kinds,
        exporter=Exporter(warden.snapshot),
        tokens=Tokens(directory / "token"),
        ready=engine.healthy,
        version="0",
        instance_id="0",
    )


class Connection(asyncio.Protocol):
    """Sends the next request once the answer to the last is whole."""

    def __init__(self, request: bytes, latencies: list[float]) -> None:
        self.request, self.latencies = request, latencies
        self.buffer, self.began, self.stopped = b"", 0.0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self.transport = transport
        self.send()

    def send(self) -> None:  # noqa: D102
        self.began = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 202"):
            sys.exit(f"the server answered {self.buffer[:400]!r}")
        self.latencies.append(time.perf_counter() - self.began)
        self.buffer = b""
        if not self.stopped:
            self.send()


async def load(port: int, connections: int, seconds: float, token: str) -> None:
    """Print answers a second and the latencies' median and 99th percentile in ms, as JSON."""
    body = json.dumps({"from": "Agent-1", "to": "Agent-2", "body": BODY}).encode()
    head = (
        f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda: Connection(head.encode() + body, latencies), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    await asyncio.sleep(WARM_UP_SECONDS)
    latencies.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    rate = len(latencies) / (time.perf_counter() - started)
    cuts = quantiles(latencies, n=100)
    print(json.dumps({"rate": rate, "p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}))
    for transport, protocol in made:
        protocol.stopped = True
        transport.close()


@contextmanager
def server_of(part: str, directory: Path):
    directory.mkdir()
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", part, "--directory", str(directory)],
        stdout=subprocess.PIPE,
    )
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)


def measured(port: int, connections: int, seconds: float, token: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--load", str(port), "--connections", str(connections)]
    command += ["--seconds", str(seconds), f"--token={token}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def compare(directory: Path, rounds: int, seconds: float) -> list[Row]:
    with ExitStack() as stack:
        ports = {
            part: stack.enter_context(server_of(part, directory / part))
            for part in ("noop", "send")
        }
        token = (directory / "send" / "token").read_text().strip()
        rows = []
        for connections in CONNECTIONS:
            taken: dict[str, list[dict[str, float]]] = {part: [] for part in ports}
            for _ in range(rounds):
                for part, port in ports.items():
                    taken[part].append(measured(port, connections, seconds, token))
            rates = {part: median(one["rate"] for one in taken[part]) for part in taken}
            p50, p99 = (median(one[name] for one in taken["send"]) for name in ("p50", "p99"))
            rows.append(
                Row(
                    f"durable sends over HTTP, {connections} connections",
                    rates["send"],
                    rates["noop"],
                    rates["send"] / rates["noop"],
                    GOALS[connections],
                    "requests/s",
                    f"send: median {p50:.2f} ms, 99% {p99:.2f} ms; baseline: Starlette no-op",
                    goal_is_floor=True,
                )
            )
        return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--serve", choices=("noop", "send"), help=argparse.SUPPRESS)
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--token", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.directory)
        return 0
    if given.load:
        try:
            import uvloop  # noqa: PLC0415
        except ImportError:
            run = asyncio.run
        else:
            run = uvloop.run
        run(load(given.load, given.connections, given.seconds, given.token))
        return 0
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        reached = report("http", compare(Path(directory), given.rounds, given.seconds))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
