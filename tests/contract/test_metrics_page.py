"""The metrics page is an API: every byte of it, the reference that describes it, and its lint."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

import snapshots
from leakwarden.exporters.catalog import FAMILIES
from leakwarden.exporters.prometheus import Exporter
from leakwarden.snapshot import Snapshot

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPENMETRICS = "application/openmetrics-text"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool comes with the prometheus package"
)


def page(snapshot: Snapshot, accept: str = "") -> str:
    ticks = iter((100.0, 100.125))
    exporter = Exporter(lambda: snapshot, clock=lambda: next(ticks))
    return exporter.page(accept).body.decode()


@pytest.mark.parametrize(
    ("accept", "name"), [("", "metrics.txt"), (OPENMETRICS, "openmetrics.txt")]
)
def test_the_whole_page_is_as_it_was_promised(accept: str, name: str) -> None:
    golden = HERE / "golden" / name
    assert page(snapshots.whole(), accept) == golden.read_text(encoding="utf-8"), (
        "if the change is meant, write it anew: "
        "PYTHONPATH=tests python tests/contract/test_metrics_page.py"
    )


@needs_promtool
@pytest.mark.parametrize("make", [snapshots.whole, snapshots.empty])
def test_promtool_finds_nothing_wrong(make: object) -> None:
    assert callable(make)
    linted = subprocess.run(
        ["promtool", "check", "metrics"],
        input=page(make()),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")


@needs_promtool
def test_promtool_would_find_something() -> None:
    linted = subprocess.run(
        ["promtool", "check", "metrics"],
        input="# TYPE bad_count gauge\nbad_count 1\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert linted.returncode != 0


def test_both_formats_parse_and_say_the_same() -> None:
    snapshot = snapshots.whole()
    plain = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text(page(snapshot))
        for sample in family.samples
    }
    strict = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in openmetrics(page(snapshot, OPENMETRICS))
        for sample in family.samples
    }
    assert plain == strict
    assert len(plain) > 100


def test_every_family_of_the_catalog_is_on_the_page() -> None:
    body = page(snapshots.whole())
    assert [family.name for family in FAMILIES if f"# TYPE {family.name} " not in body] == []


def test_the_reference_is_what_the_catalog_says() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_reference_that_is_out_of_date_is_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.md").write_text("# Metrics\n\nsomething else\n")
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check", "--into", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 1
    assert "make docs" in checked.stderr


if __name__ == "__main__":
    (HERE / "golden").mkdir(exist_ok=True)
    (HERE / "golden" / "metrics.txt").write_text(page(snapshots.whole()), encoding="utf-8")
    (HERE / "golden" / "openmetrics.txt").write_text(
        page(snapshots.whole(), OPENMETRICS), encoding="utf-8"
    )
