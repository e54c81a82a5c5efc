"""The real service in a process of its own, on a free loopback port, and a client to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from waiting import wait_until

_URL = re.compile(r"http://[\w.:\[\]]+:(\d+)")


class RunningService:
    """`leakwarden serve` with `data_dir`; ready once the constructor returns.

    `kill()` is SIGKILL, `stop()` is SIGTERM; `start()` begins again on the same data directory.
    """

    def __init__(
        self, data_dir: Path, *arguments: str, environ: dict[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self._arguments = arguments
        self._environ = {**os.environ, **(environ or {})}
        self.start()

    def start(self) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "leakwarden", "serve", "--listen", "127.0.0.1:0"),
                *("--data-dir", str(self.data_dir), *self._arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environ,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: self._port() or self.process.poll() is not None, 30)
        port = self._port()
        assert port, f"the service did not come up:\n{self.output}"
        self.port = port
        wait_until(lambda: self.get("/-/ready")[0] == 200, 30)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def token(self) -> str:
        return (self.data_dir / "token").read_text().split()[-1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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

    def inbox(self, agent: str) -> Sequence[Path]:
        return sorted((self.data_dir / "agents" / agent / "inbox").glob("*.md"))

    def kill(self) -> None:
        self.process.kill()
        self._ended()

    def stop(self, seconds: float = 30) -> int:
        """The exit code after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(10)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def _port(self) -> int | None:
        match = _URL.search(self.output)
        return int(match.group(1)) if match else None
