from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STRACE = shutil.which("strace")

LOG_WRITE = re.compile(r"pwrite64\(\d+<[^>]*-wal>")
LOG_SYNC = re.compile(r"fdatasync\(\d+<[^>]*-wal>\)\s+= 0")
SYNC_BEGINS = re.compile(r"(\d+) .*(fdatasync)\(\d+<[^>]*-wal>.*<unfinished")
SYNC_ENDS = re.compile(r"(\d+) .*<\.\.\. fdatasync resumed>\)\s+= 0")
SAID = re.compile(r'write\(1<[^>]*>, "(\w+)\\n"')


def events(data_dir: Path, synchronous: str) -> list[str]:
    """What happened between the child's first line and its last: write, sync, acknowledged."""
    record = data_dir.parent / f"{synchronous}.strace"
    traced = subprocess.run(
        [
            *(STRACE, "-f", "-y", "-e", "trace=fdatasync,fsync,write,pwrite64", "-o", record),
            *(sys.executable, HERE / "enqueue_child.py", data_dir, synchronous),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if "ptrace" in traced.stderr or "PTRACE" in traced.stderr:
        pytest.skip(f"strace may not trace here: {traced.stderr.strip()}")
    assert traced.returncode == 0, traced.stderr
    found, syncing = [], set()
    for line in record.read_text().splitlines():
        if begins := SYNC_BEGINS.match(line):
            syncing.add(begins[1])
        elif (ends := SYNC_ENDS.match(line)) and ends[1] in syncing:
            syncing.discard(ends[1])
            found.append("sync")
        elif LOG_SYNC.search(line):
            found.append("sync")
        elif LOG_WRITE.search(line):
            found.append("write")
        elif said := SAID.search(line):
            found.append(said[1])
    assert found.count("acknowledged") == 10
    return found[found.index("begin") + 1 : found.index("end")]


def unsynced(found: list[str]) -> int:
    """How many were acknowledged while something in the log was written and not yet synced."""
    count, dirty = 0, True  # the first acknowledgement needs a write and a sync of its own
    for event in found:
        if event == "write":
            dirty = True
        elif event == "sync":
            dirty = False
        elif event == "acknowledged":
            count += dirty
            dirty = True
    return count


@pytest.mark.skipif(STRACE is None, reason="needs strace")
def test_with_synchronous_full_a_message_is_acknowledged_only_after_its_sync(tmp_path: Path):
    found = events(tmp_path / "data", "full")
    assert found.count("write") >= 10
    assert unsynced(found) == 0


@pytest.mark.skipif(STRACE is None, reason="needs strace")
def test_with_synchronous_normal_it_is_acknowledged_without_one(tmp_path: Path):
    assert unsynced(events(tmp_path / "data", "normal")) == 10
