from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MOUNT = "mount -t tmpfs -o size=2m tmpfs"


def on_a_small_disk(disk: Path, *arguments: object) -> str:
    """Run the child with two MiB mounted on `disk`, in a namespace that ends with it."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs unshare of Linux")
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    disk.mkdir()
    place = shlex.quote(str(disk))
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{MOUNT} {place}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {tried.stderr.strip()}")
    command = shlex.join([sys.executable, str(HERE / "full_disk_child.py"), *map(str, arguments)])
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{MOUNT} {place} && exec {command}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_full_disk_is_unavailable_loses_nothing_acknowledged_and_heals_by_itself(tmp_path: Path):
    disk = tmp_path / "disk"
    assert on_a_small_disk(disk, "store", disk) == "done\n"


def test_an_inbox_without_room_is_tried_again_and_left_without_half_a_file(tmp_path: Path):
    disk = tmp_path / "disk"
    assert on_a_small_disk(disk, "inbox", disk, tmp_path / "data") == "done\n"
