"""Writes the reference pages that are made from tables in the code.

`python docs/generate.py` writes them, `--check` says which are out of date and ends in 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from leakwarden.exporters.catalog import CATALOG, Family, Label
from leakwarden.messaging.reasons import PERMANENT, REASONS
from leakwarden.messaging.states import MOVES
from leakwarden.messaging.validator import RULES, BodyLimits

HERE = Path(__file__).parent

INTRODUCTION = """\
# Metrics

Made by `make docs` from the catalog in `exporter/leakwarden/exporters/`; do not edit.

Names, types and labels are an API: they are added to and not renamed. Every label has a closed set
of values, and each of them is there from the start, at 0 where nothing happened yet. **Absent**
means no sample: what could not be measured is never 0. A name in `name[]` of the query restricts
the page to that metric."""


def metrics() -> str:
    """The page about metrics."""
    return "\n".join([INTRODUCTION, *_subjects()]) + "\n"


def _subjects() -> Iterator[str]:
    for subject, families in CATALOG.items():
        yield f"\n## {subject}\n"
        yield "| metric | type | unit | labels | what it is | absent when |"
        yield "|---|---|---|---|---|---|"
        for family in families:
            yield "| " + " | ".join(_cells(family)) + " |"


def _cells(family: Family) -> tuple[str, ...]:
    return (
        f"`{family.name}`",
        family.type,
        family.unit,
        "; ".join(_label(label) for label in family.labels),
        family.help,
        family.absent or "never",
    )


def _label(label: Label) -> str:
    values = ", ".join(f"`{value}`" for value in label.values) or label.meaning
    return f"`{label.name}`: {values}"


LIMITS = BodyLimits()
MESSAGES = f"""\
# Messages

Made by `make docs` from the tables in `exporter/leakwarden/messaging/`; do not edit.

A body is pasted or typed into somebody's window, shown in terminals and read by people and by
language models. What would act there instead of being read is refused (422, with the line and
column); what can go without changing what a reader understands is cleaned, and the answer to the
sender lists it under `cleaned`. Nothing else is altered.

A body has at most {LIMITS.characters:,} characters and at most {LIMITS.line_characters:,} in a line
(`body_too_long`, `line_too_long`), and something to see (`empty_body`).

| rule | what happens | to what | why |
|---|---|---|---|"""


def messages() -> str:
    """The page about what a body may hold, and the states of a message."""
    lines = [MESSAGES]
    lines += [f"| `{rule.code}` | {rule.action} | {rule.what} | {rule.why} |" for rule in RULES]
    lines += ["\n## States\n", "| from | move | to |", "|---|---|---|"]
    lines += [
        f"| {before.value} | {name} | {after.value} |" for (before, name), after in MOVES.items()
    ]
    lines += ["\nA delivery that fails is tried again, with growing pauses. The reasons are"]
    lines += [", ".join(f"`{reason}`" for reason in REASONS) + "; of these"]
    permanent = (f"`{reason}`" for reason in REASONS if reason in PERMANENT)
    lines += [", ".join(permanent) + " are given up at once."]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"messages.md": messages, "metrics.md": metrics}


def main() -> int:
    """0 where the pages are up to date or were written, 1 where `--check` found one that is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where one differs")
    parser.add_argument("--into", type=Path, default=HERE, help="folder of the pages")
    arguments = parser.parse_args()
    stale = []
    for name, make in PAGES.items():
        page, text = arguments.into / name, make()
        if not arguments.check:
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        print(f"{name} does not say what the code says: run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
