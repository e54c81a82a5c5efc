"""A service that a verb can be pointed at: a real socket that gives the answers a test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FarSide:
    """`answers` by "METHOD /path" without the query: (status, JSON value or bytes)."""

    url: str
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[FarSide]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            sent = json.loads(self.rfile.read(length)) if length else None
            far.requests.append(Request(self.command, self.path, dict(self.headers), sent))
            route = f"{self.command} {self.path.partition('?')[0]}"
            status, value = far.answers.get(route, (404, b"not here"))
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  (http.server's name for it)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    far = FarSide(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in ("LEAKWARDEN_TOKEN_FILE", "LEAKWARDEN_DATA_DIR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LEAKWARDEN_URL", far.url)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield far
    server.shutdown()
    thread.join()
    server.server_close()
