"""A command that serves until it is told to stop: a wheel's `leakwarden serve`, a README's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from waiting import wait_until

_URL = re.compile(r"http://127\.0\.0\.1:\d+")


class Served:
    """`command` in a session of its own, ready once it is built; its output goes to `log`.

    `end()` sends a signal to everything that the command started, as a terminal does at Ctrl-C.
    AssertionError with the output where the command ends instead.
    """

    def __init__(
        self, command: Sequence[str], log: Path, cwd: Path, environ: Mapping[str, str]
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self.process.poll() is not None or self._ready(), 180)
            assert self.process.poll() is None, f"{command} ended by itself:\n{self.output}"
        except BaseException:
            self.end(signal.SIGKILL)
            raise

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def url(self) -> str:
        """The first address that it printed; empty before."""
        found = _URL.search(self.output)
        return found.group(0) if found else ""

    def end(self, how: signal.Signals) -> int:
        """The exit code after `how`; what has not ended 30 seconds later is killed."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait(10)

    def _ready(self) -> bool:
        if not self.url:
            return False
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False
