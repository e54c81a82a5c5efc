"""What a clone holds: the agreed folders, and nothing that is true on one machine only."""

from __future__ import annotations

import re
import subprocess
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TOP = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "Makefile",
    "README.md",
    "alert_rules",
    "benchmarks",
    "docs",
    "exporter",
    "grafana_dashboards",
    "helm",
    "pyproject.toml",
    "tests",
}

# A folder of someone's own at the root of a file system, where it is no part of a longer path.
MACHINE_PATH = re.compile(r"(?<![\w./~}-])/(?:work|root|tmp|farm|home/\w+|Users/\w+)(?![\w.-])")
# Where packages come from is the machine's affair, never the project's.
REGISTRY = re.compile(
    r"\bpypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|\bcrates\.io|proxy\.golang\.org"
    r"|\b(?:deb|security)\.debian\.org|repo\d?\.maven\.|index[-]url"
)
ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])(?!\.\d)")
# RFC 5737: for documentation, and no machine's. Tests need an address that is not loopback.
NOBODYS = [IPv4Network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]


def is_here_or_nowhere(text: str) -> bool:
    """True for loopback, "every interface", documentation, and what is no address at all."""
    try:
        address = IPv4Address(text)
    except ValueError:
        return True
    nobodys = any(address in network for network in NOBODYS)
    return address.is_loopback or address.is_unspecified or nobodys


def offences(text: str) -> list[str]:
    """`line: what` for each thing in `text` that is true on one machine only."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        found += [f"{number}: machine path {match[0]}" for match in MACHINE_PATH.finditer(line)]
        found += [f"{number}: registry {match[0]}" for match in REGISTRY.finditer(line)]
        found += [
            f"{number}: address {match[0]}"
            for match in ADDRESS.finditer(line)
            if not is_here_or_nowhere(match[0])
        ]
    return found


def tracked() -> list[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\0").split("\0")


def test_the_top_level_holds_the_agreed_entries_alone() -> None:
    assert {name.partition("/")[0] for name in tracked()} <= TOP


def test_no_tracked_file_holds_what_is_true_on_one_machine_only() -> None:
    found = []
    for name in tracked():
        path = ROOT / name
        if not path.is_file():  # removed and not yet committed
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{name}:{offence}" for offence in offences(text)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("see /{}/main/x", "machine path /{}"),
        ("open('/{}')", "machine path /{}"),
        ("--data-dir=/{}/x", "machine path /{}"),
    ],
)
@pytest.mark.parametrize("folder", ["work", "root", "tmp", "home/anna", "Users/anna"])
def test_a_machine_path_is_named(text: str, what: str, folder: str) -> None:
    assert offences("\n" + text.format(folder)) == ["2: " + what.format(folder)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"--index{'-'}url x", f"registry index{'-'}url"),
        (f"https://{'pypi'}.org/simple", f"registry {'pypi'}.org"),
        (f"http://{'10'}.0.0.8:9090", f"address {'10'}.0.0.8"),
        (f"'{'192'}.168.1.1'", f"address {'192'}.168.1.1"),
    ],
)
def test_a_registry_or_a_foreign_address_is_named(text: str, what: str) -> None:
    assert offences(text) == [f"1: {what}"]


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9877 0.0.0.0 127.8.9.10 192.0.2.7",
        "types-pyyaml==6.0.12.20261113",
        "1.2.3.4.5 and 999.1.1.1",
        "$HOME/work, tmp_path / 'tmp', /proc/self/fd, DATA_DIR/root",
        "GET /workers, /v1/messages, /temporary, /rooted",
    ],
)
def test_what_is_true_everywhere_is_left_alone(text: str) -> None:
    assert offences(text) == []
