"""The way in and the way out: verbs, one-line errors, exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from leakwarden import __version__
from leakwarden.__main__ import main
from leakwarden.cli import VERBS

COMMAND = [sys.executable, "-m", "leakwarden"]


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_names_every_verb_in_80_columns(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in VERBS)
    assert all(len(line) <= 88 for line in text.splitlines())


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"leakwarden {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: leakwarden {verb}")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "leakwarden: no verb given; use one of serve, send"),
        (["sned"], "leakwarden: there is no verb 'sned'; did you mean send?"),
        (["xyz\n"], "leakwarden: there is no verb 'xyz\\n'; use one of serve"),
        (["--url", "x"], "leakwarden: there is no verb '--url'"),
        (["send"], "leakwarden: the following arguments are required: --from, --to, BODY; see"),
        (["status", "--jso"], "leakwarden: unrecognized arguments: --jso; see leakwarden status"),
        (["status", "--url", "ftp://x"], "leakwarden: 'ftp://x' is no address; write it like http"),
        (["status", "--url", "http://[::1"], "is no address"),
        (["status", "--url", "http://127.0.0.1:0x"], "is no address"),
        (["messages", "1", "--to", "A"], "--to narrows a list, and ID is one message"),
    ],
)
def test_wrong_use_is_one_line_and_64(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_service_that_is_not_there_is_69(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert main(["status", "--url", f"http://127.0.0.1:{port}"]) == 69
    assert capsys.readouterr().err == (
        f"leakwarden: no service answers at http://127.0.0.1:{port} (Connection refused);"
        " start one with `leakwarden serve`, or name it with --url\n"
    )


def test_a_token_file_that_is_not_there_is_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--token-file", str(tmp_path / "none")]) == 78
    assert "none cannot be read: No such file or directory" in capsys.readouterr().err


def test_a_verb_loads_no_module_of_another_verb_nor_of_the_service() -> None:
    script = (
        "import sys; from leakwarden.__main__ import main; main(['agents', '--url', 'x:'])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('leakwarden.')"
        " or name in ('starlette', 'uvicorn', 'msgspec', 'sqlite3', 'yaml')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = done.stdout.split()
    assert "leakwarden.cli.agents" in loaded
    assert not {f"leakwarden.cli.{verb}" for verb in VERBS if verb != "agents"} & set(loaded)
    assert not {"starlette", "uvicorn", "msgspec", "sqlite3", "yaml"} & set(loaded)


def test_output_that_nobody_reads_ends_the_verb_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [*COMMAND, "--help"], stdout=closed, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_interrupt_ends_the_verb_quietly_with_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [*COMMAND, "status", "--url", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)  # it has asked and waits for an answer
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")
