"""The locks are hashed, agree with each other and with pyproject.toml, and record no address."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-dev.lock")


def entries(lock: str) -> list[tuple[Requirement, list[str]]]:
    """(requirement, hashes) of each entry of `lock`, comments left out."""
    text = (ROOT / ".ci" / lock).read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        requirement, *hashes = line.split("--hash=")
        found.append((Requirement(requirement.strip()), [one.strip() for one in hashes]))
    return found


def pins(lock: str) -> set[tuple[str, str]]:
    return {(one.name, str(one.specifier)) for one, _ in entries(lock)}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_is_one_version_with_its_hashes_and_no_address(lock: str) -> None:
    assert entries(lock)
    for requirement, hashes in entries(lock):
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert hashes
        assert all(one.startswith("sha256:") for one in hashes)
    assert "://" not in (ROOT / ".ci" / lock).read_text(encoding="utf-8")


def test_what_runs_is_what_was_tested() -> None:
    assert pins("requirements.lock") <= pins("requirements-dev.lock")
    assert pins("requirements-test.lock") <= pins("requirements-dev.lock")


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups, extras = project["dependency-groups"], project["project"]["optional-dependencies"]
    runtime = [*project["project"]["dependencies"], *extras["fast"], *groups["build"]]
    asked = {
        "requirements.lock": runtime,
        "requirements-test.lock": groups["test"],
        "requirements-dev.lock": [*runtime, *groups["test"], *groups["dev"]],
    }
    for lock, wanted in asked.items():
        locked: dict[str, list[str]] = {}
        for requirement, _ in entries(lock):
            version = str(requirement.specifier).removeprefix("==")
            locked.setdefault(requirement.name, []).append(version)
        for text in wanted:
            if isinstance(text, str):  # what is no text includes another group
                requirement = Requirement(text)
                versions = locked.get(requirement.name.lower().replace("_", "-"), [])
                assert versions, f"{lock} lacks {text}: run `make lock`"
                assert all(requirement.specifier.contains(one) for one in versions), text
