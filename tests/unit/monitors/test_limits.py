"""The memory limit: the lowest of all that apply, absent where none does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import leakwarden
from leakwarden.monitors.limits import memory_limit_bytes

NO_LIMIT = "9223372036854771712\n"
UNLIMITED_ADDRESSES = 2**63


def machine(tmp_path: Path, cgroup: str, limits: dict[str, str]) -> dict[str, Path]:
    """A tree as /proc and /sys/fs/cgroup have it."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, text in limits.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return {"proc": tmp_path / "proc", "cgroups": tmp_path / "cgroup"}


@pytest.mark.parametrize(
    ("cgroup", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "1073741824\n"}, 2**30),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "4096000\n"}, 4_096_000),
        ("0::/a/b\n", {"a/b/memory.max": "9000\n", "a/memory.max": "5000\n"}, 5000),
        ("0::/\n", {"unified/memory.max": "77\n"}, 77),
        ("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": "123456\n"}, 123_456),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": NO_LIMIT}, None),
        ("4:memory:/host/only\n", {"memory/memory.limit_in_bytes": "999\n"}, 999),
        ("4:cpu,memory:/x\n", {"memory/x/memory.limit_in_bytes": "55\n"}, 55),
        ("1:cpuset:/x\n", {"memory/x/memory.limit_in_bytes": "55\n"}, None),
        ("", {}, None),
    ],
    ids=[
        "v2",
        "v2 without limit",
        "v2 parent",
        "v2 parent below its child",
        "hybrid",
        "v1",
        "v1 without limit",
        "v1 host path in a container",
        "v1 shared hierarchy",
        "another controller",
        "no cgroup",
    ],
)
def test_the_cgroup_limit(
    tmp_path: Path, cgroup: str, limits: dict[str, str], expected: int | None
) -> None:
    paths = machine(tmp_path, cgroup, limits)
    found = memory_limit_bytes(address_space=UNLIMITED_ADDRESSES, **paths)
    assert (None if found == UNLIMITED_ADDRESSES else found) == expected


def test_nothing_limits_and_nothing_is_said(tmp_path: Path) -> None:
    assert memory_limit_bytes(proc=tmp_path, cgroups=tmp_path) is None


@pytest.mark.parametrize(("address_space", "cgroup"), [(1, 2), (2, 1), (1, 1)])
def test_the_lowest_limit_wins(tmp_path: Path, address_space: int, cgroup: int) -> None:
    paths = machine(tmp_path, "0::/\n", {"memory.max": str(cgroup)})
    assert memory_limit_bytes(address_space=address_space, **paths) == 1


def test_a_limit_on_addresses_counts() -> None:
    program = """
import resource
from pathlib import Path
from leakwarden.monitors.limits import memory_limit_bytes
resource.setrlimit(resource.RLIMIT_AS, (2**33, resource.RLIM_INFINITY))
print(memory_limit_bytes(cgroups=Path("nowhere")))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(leakwarden.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(finished.stdout) == 2**33
