"""The real service in a process of its own, on a free loopback port, and a client to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from served import Served


class RunningService:
    """`leakwarden serve` over `data_dir`, ready once this is built.

    `kill()` is SIGKILL, `stop()` SIGTERM; `start()` begins again over the same data directory.
    """

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.data_dir = data_dir
        self._arguments = arguments
        self._runs = 0
        self.start()

    def start(self) -> None:
        self._runs += 1
        self.served = Served(
            [
                *(sys.executable, "-m", "leakwarden", "serve", "--listen", "127.0.0.1:0"),
                *("--data-dir", str(self.data_dir), *self._arguments),
            ],
            self.data_dir.with_name(f"{self.data_dir.name}-{self._runs}.log"),
            self.data_dir.parent,
            os.environ,
        )
        self.port = int(self.served.url.rpartition(":")[2])
        token = self.data_dir / "token"  # not there where --token-file names another
        self.token = token.read_text().strip() if token.exists() else ""

    @property
    def pid(self) -> int:
        return self.served.process.pid

    @property
    def output(self) -> str:
        return self.served.output

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self.request("GET", path, None, **headers)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        return self.request("POST", path, body, **headers)

    def request(self, method: str, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and JSON (text where it is none) of one request with this service's token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = {"Authorization": f"Bearer {self.token}", **headers}
            data = None
            if body is not None:
                sent["Content-Type"] = "application/json"
                data = json.dumps(body)
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.headers.get_content_type() == "application/json":
            return answer.status, json.loads(text)
        return answer.status, text

    def send(self, to: str, body: str, **more: str) -> tuple[int, Any]:
        return self.post("/v1/messages", {"from": "tester", "to": to, "body": body, **more})

    def inbox(self, agent: str) -> Sequence[Path]:
        return sorted((self.data_dir / "agents" / agent / "inbox").glob("*.md"))

    def kill(self) -> None:
        self.served.end(signal.SIGKILL)

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        return self.served.end(signal.SIGTERM)
