"""Every command and example of the README, run as it stands there, in order.

A ```console or ```sh block is a shell session: lines that begin with `$ ` are
commands (with `\\` at its end, a line goes on in the next), the lines below are what it
prints, where `...` stands for anything. All blocks share one shell, in a copy of
the repository, with an empty home. `leakwarden serve` and `make run` are started
and left running, as a reader would in another window, on a free port, which then
stands for the default one. A ```python block is a program that must end well, a
```yaml block a settings file that is accepted or a Prometheus configuration.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from leakwarden.config import load_settings
from served import Served

ROOT = Path(__file__).parents[2]
DEFAULT = "127.0.0.1:9877"
SERVES = re.compile(r"(make run|leakwarden serve)\b(?!.*--help)")
# What only looks may be asked again until it shows what the service is about to do.
LOOKS = re.compile(
    r"(cat|ls|curl(?!.* (-d|-X|--data|--json))|leakwarden (status|messages|agents|explain))\b"
)
LONGEST_COMMAND_SECONDS = 180

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Block:
    language: str
    line: int
    text: str


def blocks(readme: str, *languages: str) -> list[Block]:
    """The fenced blocks of `readme` in one of `languages`, with the line that each begins in."""
    found = []
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL):
        if match[1] in languages:
            line = readme.count("\n", 0, match.start()) + 1
            found.append(Block(match[1], line, match[2]))
    return found


def steps(block: Block) -> Iterator[tuple[int, str, str]]:
    """(line, command, expected output) for each `$ ` of a session."""
    command, output, at = "", "", 0
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            if command:
                yield at, command, output
            command, output, at = line[2:], "", number
        elif command.endswith("\\") and not output:
            command += f"\n{line}"
        else:
            output += f"{line}\n"
    if command:
        yield at, command, output


def fits(expected: str, printed: str) -> bool:
    """Whether `printed` is `expected`, where `...` stands for anything; no output fits any."""
    if not expected.strip():
        return True
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


class Session:
    """One shell that keeps its folder and variables from command to command."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._cwd, self._environ, self._folder = folder, environ, folder
        self._address = DEFAULT
        self._services: list[Served] = []

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and output, both streams as they came; what serves is left running."""
        command = command.replace(DEFAULT, self._address)
        if SERVES.match(command):
            return self._serve(command)
        # The state of the shell is handed on through a file: its variables (`set -a` exports them
        # all) and its folder.
        state = self._folder.parent / "state"
        script = f"set -a\n{command}\nleft=$?\n{{ pwd; env -0; }} > '{state}'\nexit $left"
        try:
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=self._cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=LONGEST_COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return -1, f"not done after {error.timeout} s"
        if state.exists():
            where, _, variables = state.read_text(encoding="utf-8").partition("\n")
            self._cwd = Path(where)
            pairs = (pair.partition("=") for pair in variables.rstrip("\0").split("\0"))
            self._environ = {name: value for name, _, value in pairs}
        return done.returncode, done.stdout.decode().replace(self._address, DEFAULT)

    def _serve(self, command: str) -> tuple[int, str]:
        log = self._folder.parent / f"service-{len(self._services)}"
        environ = {**self._environ, "LEAKWARDEN_HTTP__LISTEN": "127.0.0.1:0"}
        try:
            service = Served(["bash", "-c", command], log, self._cwd, environ)
        except AssertionError as error:
            return -1, str(error)
        self._services.append(service)
        self._address = service.url.removeprefix("http://")
        self._environ["LEAKWARDEN_URL"] = service.url
        return 0, service.output.replace(self._address, DEFAULT)

    def close(self) -> None:
        for service in self._services:
            service.end(signal.SIGINT)


def faults(readme: str, folder: Path, environ: dict[str, str]) -> list[str]:
    """One entry for each command of the sessions in `readme` that does not do what it says."""
    found = []
    with ExitStack() as stack:
        session = Session(folder, environ)
        stack.callback(session.close)
        for block in blocks(readme, "console", "sh"):
            for line, command, expected in steps(block):
                code, printed = session.run(command)
                # A message is delivered a moment after it was accepted.
                deadline = time.monotonic() + 10
                while LOOKS.match(command) and time.monotonic() < deadline:
                    if code == 0 and fits(expected, printed):
                        break
                    code, printed = session.run(command)
                if code != 0:
                    found.append(f"line {line}: `{command}` ended with {code}:\n{printed}")
                elif not fits(expected, printed):
                    found.append(f"line {line}: `{command}` printed\n{printed}not\n{expected}")
    return found


def reader(folder: Path, readme: str) -> dict[str, str]:
    """The environment of a reader with an empty home and `leakwarden` on PATH."""
    home, programs = folder / "home", folder / "programs"
    home.mkdir()
    programs.mkdir()
    command = programs / "leakwarden"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leakwarden "$@"\n')
    command.chmod(0o755)
    path = [str(programs), os.environ["PATH"]]
    if "pip install" in readme:  # into an environment of the reader's own, which then comes first
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        path.insert(0, str(folder / "venv" / "bin"))
    hidden = ("PYTHON", "LEAKWARDEN_", "VIRTUAL_ENV", "XDG_", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**kept, "HOME": str(home), "PATH": os.pathsep.join(path)}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what is tracked: the reader's clone."""
    folder = tmp_path / "clone"
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in names.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def test_every_command_of_the_readme_does_what_it_says(copy: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert blocks(readme, "console", "sh"), "the README shows no command"
    found = faults(readme, copy, reader(tmp_path, readme))
    assert not found, "\n\n".join(found)


def test_every_program_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in blocks(readme, "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block.text],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"README.md line {block.line}:\n{done.stdout}"


def test_every_configuration_of_the_readme_is_accepted(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in blocks(readme, "yaml"):
        file = tmp_path / f"line-{block.line}.yaml"
        file.write_text(block.text, encoding="utf-8")
        if "scrape_configs" in block.text:
            check = ["promtool", "check", "config", str(file)]
            done = subprocess.run(check, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"README.md line {block.line}:\n{done.stderr}"
        else:
            load_settings(file, {}, {})


def test_every_link_of_the_readme_within_the_repository_leads_somewhere() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme):
        assert (ROOT / target).exists(), f"the README links {target}, which is not there"


@pytest.mark.parametrize(
    ("session", "fault"),
    [
        ("$ true\n$ false", "line 3: `false` ended with 1"),
        ("$ echo one\ntwo", "line 2: `echo one` printed\none\nnot\ntwo"),
        ("$ echo one; echo two\none", "printed\none\ntwo\nnot\none"),
        ("$ no-such-program", "ended with 127"),
        ("$ leakwarden serve --no-such-flag", "ended with -1"),
        ("$ exit 3", "ended with 3"),
    ],
)
def test_a_command_that_does_not_do_what_it_says_is_named(
    tmp_path: Path, session: str, fault: str
) -> None:
    folder = tmp_path / "clone"
    folder.mkdir()
    (found,) = faults(f"```console\n{session}\n```\n", folder, reader(tmp_path, ""))
    assert fault in found


@pytest.mark.parametrize(
    "session",
    [
        "$ echo one; echo two\none\n...",
        "$ echo a-b-c\na...c",
        "$ echo a \\\n  b\na b",
        "$ mkdir here && cd here\n$ export NAME=it\n$ pwd; echo $NAME\n...here\nit",
        "$ cat\n$ echo $HOME\n.../home",
        "$ leakwarden --version\nleakwarden ...",
    ],
)
def test_a_command_that_does_what_it_says_is_left_alone(tmp_path: Path, session: str) -> None:
    folder = tmp_path / "clone"
    folder.mkdir()
    assert faults(f"```sh\n{session}\n```\n", folder, reader(tmp_path, "")) == []
