"""The short form of tests/torture/sigkill.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from waiting import wait_until

SCRIPT = Path(__file__).parents[1] / "torture" / "sigkill.py"


@pytest.fixture
def sigkill(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("sigkill", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sigkill", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("target", ["store", "service"])
def test_three_kills_lose_nothing_acknowledged_and_nothing_stands_twice(
    sigkill, tmp_path: Path, target: str
):
    counts = sigkill.torture(sigkill.TARGETS[target], 3, tmp_path / "data")
    assert len(counts) == 4, sigkill.table(counts)
    assert not any(one.bad() for one in counts), sigkill.table(counts)
    last = counts[-1]
    assert last.acknowledged > 0
    assert last.undelivered == 0
    assert last.in_inbox + last.in_done == last.stored >= last.acknowledged
    assert last.temporary == 0


def test_the_recount_sees_what_is_lost_and_what_stands_twice(sigkill, tmp_path: Path):
    data_dir = tmp_path / "data"
    acknowledged: set[str] = set()
    target = sigkill.start_store(data_dir, 2, acknowledged.add)
    wait_until(lambda: acknowledged)
    target.process.kill()
    target.join()
    target = sigkill.start_store(data_dir, 0, acknowledged.add)  # delivers what is queued
    target.join()
    stored = next(data_dir.glob("agents/*/inbox/*.md"))
    agent = stored.parent.parent
    for folder in ("inbox", "done"):
        (agent / folder / stored.name).write_bytes(b"")
    (agent / "inbox" / f"{'0' * 32}.md").write_bytes(b"")
    counts = sigkill.recount(data_dir, {stored.stem, "f" * 32})
    assert counts.twice == [stored.stem]
    assert counts.lost == ["f" * 32]
    assert counts.unknown == ["0" * 32]
