"""What a user gets from `pip install`: the wheel alone, in an environment that had nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from served import Served

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def outside(folder: Path) -> dict[str, str]:
    """This environment without what would let the source tree or a user's settings in."""
    hidden = ("PYTHON", "LEAKWARDEN_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**kept, "HOME": str(folder), "XDG_STATE_HOME": ""}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=outside(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    run(*command, ROOT, cwd=folder)
    (built,) = folder.glob("leakwarden-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the locked dependencies and the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = (folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps")
    run(*pip, "--require-hashes", "-r", ROOT / ".ci" / "requirements.lock", cwd=folder)
    run(*pip, "--no-index", wheel, cwd=folder)
    return folder


def test_the_wheel_holds_the_typed_package_and_nothing_beside_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "leakwarden/py.typed" in names
    assert "leakwarden/__main__.py" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"leakwarden"}


def test_the_lock_is_all_that_the_wheel_needs(installed: Path) -> None:
    python = installed / "venv" / "bin" / "python"
    assert "No broken requirements" in run(python, "-m", "pip", "check", cwd=installed)


def test_the_installed_package_is_imported_from_its_environment(installed: Path) -> None:
    script = "import leakwarden; print(leakwarden.__version__, leakwarden.__file__)"
    printed = run(installed / "venv" / "bin" / "python", "-I", "-c", script, cwd=installed)
    assert str(installed / "venv") in printed


def test_the_installed_command_explains_itself(installed: Path) -> None:
    printed = run(installed / "venv" / "bin" / "leakwarden", "--help", cwd=installed)
    assert printed.startswith("usage: leakwarden VERB")


def test_the_installed_service_is_soon_ready_and_stops_cleanly(installed: Path) -> None:
    command = [str(installed / "venv" / "bin" / "leakwarden"), "serve", "--listen", "127.0.0.1:0"]
    service = Served(command, installed / "log", installed, outside(installed))
    assert service.end(signal.SIGTERM) == 0, service.output
