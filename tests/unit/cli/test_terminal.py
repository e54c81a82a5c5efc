"""Ages, sizes, bars and tables as people read them."""

from __future__ import annotations

import io

import pytest

from leakwarden.cli.terminal import Look, age, clip, look, plain, size, table

UNICODE = Look(colour=False, unicode=True)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (671, "11 min"),
        (3600, "1 h"),
        (18_720, "5.2 h"),
        (172_799, "48 h"),
        (172_800, "2 d"),
        (8_640_000, "100 d"),
    ],
)
def test_an_age_is_for_people(seconds: float | None, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "not measured"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (-1536, "-1.5 KiB"),
        (3 * 2**40, "3.0 TiB"),
    ],
)
def test_bytes_are_for_people_and_unmeasured_is_not_zero(count: int | None, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("ratio", "drawn"),
    [
        (0.0, "·······│·│"),
        (0.0001, "▏······│·│"),
        (0.5, "█████··│·│"),
        (0.76, "███████▋·│"),
        (1.0, "██████████"),
        (7.0, "██████████"),
    ],
)
def test_a_bar_shows_use_against_the_policys_marks(ratio: float, drawn: str) -> None:
    assert UNICODE.bar(ratio, 10) == drawn


def test_a_ring_has_no_marks_and_ascii_does_without_blocks() -> None:
    assert UNICODE.bar(0.5, 10, marks=False) == "█████·····"
    assert Look(colour=False, unicode=False).bar(0.56, 10) == "######.|.|"


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Look(colour=True, unicode=True)),
        ({"NO_COLOR": ""}, Look(colour=True, unicode=True)),
        ({"NO_COLOR": "1"}, Look(colour=False, unicode=True)),
        ({"TERM": "dumb"}, Look(colour=False, unicode=True)),
    ],
)
def test_colour_is_for_a_terminal_that_wants_it(environ: dict[str, str], expected: Look) -> None:
    with Terminal(io.BytesIO(), encoding="utf-8") as terminal:
        assert look(terminal, environ) == expected
    with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as file:
        assert look(file, environ) == Look(colour=False, unicode=False)


def test_what_a_terminal_would_act_on_is_not_printed() -> None:
    assert plain("a\x1b[2Jb\x07\n\tö\u202e") == "a�[2Jb�\n\tö�"


def test_a_table_is_aligned_and_ends_no_line_in_blanks() -> None:
    assert table(("n", "name"), [("10", "a"), ("2", "longer")], "><") == [
        " n  name",
        "10  a",
        " 2  longer",
    ]


def test_a_long_path_keeps_its_end() -> None:
    assert clip("a/b/c.py:1 f", 12) == "a/b/c.py:1 f"
    assert clip("a/b/c.py:1 f", 11) == "…b/c.py:1 f"
