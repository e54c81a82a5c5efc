"""How values look to a person at a terminal: ages, sizes, bars and tables of at most 80 columns.

No colour where nobody sees it or NO_COLOR asks for none (no-color.org), and plain
characters where the encoding has no others. What is not measured says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

WIDTH = 80
NOT_MEASURED = "not measured"

# Where the policy speaks of filling and of full: marks on each bar.
MARKS = (0.75, 0.90)

_TWO_DAYS = 172_800
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Look:
    """What the terminal can show: colours, and characters beyond ASCII."""

    colour: bool
    unicode: bool

    def loud(self, text: str) -> str:
        """`text` as it catches the eye: bold where there is colour, else as it is."""
        return f"\x1b[1m{text}\x1b[0m" if self.colour else text

    def attention(self) -> str:
        """The mark of what is not judged and wants a look."""
        return "○" if self.unicode else "o"

    def bar(self, ratio: float, cells: int, *, marks: bool = True) -> str:
        """`ratio` of 1 as `cells` characters; above 1 it is full, above 0 never quite empty.

        `marks` stand at 75% and 90% until the bar covers them.
        """
        eighths = min(round(ratio * cells * 8), cells * 8)
        if ratio > 0:
            eighths = max(eighths, 1)
        full, rest = divmod(eighths, 8)
        empty, mark = ("·", "│") if self.unicode else (".", "|")
        drawn = ["█" if self.unicode else "#"] * full
        if rest:
            drawn.append(_EIGHTHS[rest] if self.unicode else "#")
        at = {int(place * cells) for place in MARKS} if marks else set()
        drawn += [mark if cell in at else empty for cell in range(len(drawn), cells)]
        return "".join(drawn)


def look(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> Look:
    """What `stream` (standard output where None) can show."""
    stream = sys.stdout if stream is None else stream
    colour = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Look(colour, (stream.encoding or "").lower().replace("-", "").startswith("utf"))


def show(text: str = "") -> None:
    """Print one line or more; a character that the encoding lacks becomes `?`."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def plain(text: str) -> str:
    """`text` without what a terminal would act on: control characters but newline and tab."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def age(seconds: float | None) -> str:
    """For people: `12 s`, `11 min`, `5.2 h`, `3.1 d`; `-` for None (there is nothing to be old)."""
    if seconds is None:
        return "-"
    for limit, unit_seconds, unit in ((60, 1, "s"), (3600, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit_seconds:.0f} {unit}"
    amount, unit = (seconds / 3600, "h") if seconds < _TWO_DAYS else (seconds / 86_400, "d")
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"


def size(count: int | None) -> str:
    """Bytes for people: `812 B`, `1.2 MiB`, a sign where negative; `not measured` for None."""
    if count is None:
        return NOT_MEASURED
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1023.95:  # noqa: PLR2004  (rounds to 1024.0 of this unit)
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: str) -> list[str]:
    """Lines of aligned columns, two blanks apart, the head first.

    `right` has one character a column: `>` aligns it right, `<` left. No line ends in blanks.
    """
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, right, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def clip(text: str, most: int) -> str:
    """`text` in at most `most` characters, its end kept: of a path that is what tells."""
    return text if len(text) <= most else f"…{text[len(text) - most + 1 :]}"
