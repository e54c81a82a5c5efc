"""What is cleaned, what is refused and where, and the record of each judgement."""

from __future__ import annotations

import contextlib

import pytest

from leakwarden.core.errors import Refused
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.validation_history import ValidationHistory
from leakwarden.messaging.agents import Agent
from leakwarden.messaging.validator import (
    RULES,
    BodyLimits,
    Validator,
    check_body,
    clean_body,
)

AGENTS = {agent.id: agent for agent in map(Agent, ("Agent-1", "Agent-2", "Agent-3"))}
AGENTS["Off"] = Agent("Off", active=False)
NOW = 1_795_599_000.0


@pytest.fixture
def records():
    return []


@pytest.fixture
def validate(records):
    """Validates a message from Agent-1 to Agent-2 saying hello, but for what is given."""

    def validate_it(**given):
        message = {"sender": "Agent-1", "recipients": ("Agent-2",), "body": "hello", **given}
        return Validator(records.append).validate(**message, agents=AGENTS, now=NOW)

    return validate_it


def refusal(call, *args, **given):
    """The refusal that `call` ends in."""
    with pytest.raises(Refused) as caught:
        call(*args, **given)
    assert caught.value.hint
    assert caught.value.message.isprintable()
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        "hello",
        "two\nlines\n",
        "\ttabs and trailing blanks  \n",
        "naïve café, e\u0301, 漢字, 👩\u200d💻, שלום\u200f, مرحبا\u061c",
        "\ufeffa byte order mark is of no width and harms nobody",
        "From: Mallory\n\nnot a header here",
    ],
)
def test_ordinary_text_stays_as_it_is(validate, body):
    valid = validate(body=body)
    assert (valid.body, valid.cleaned) == (body, ())


@pytest.mark.parametrize(
    ("body", "cleaned", "rules"),
    [
        ("a\r\nb\rc", "a\nb\nc", ("line_ends",)),
        ("a\u2028b\u2029c", "a\nb\nc", ("line_ends",)),
        ("\x1b[1;31merror\x1b[0m: no\x1b[m", "error: no", ("terminal_colours",)),
        ("\x1b[38:2::1:2:3mred", "red", ("terminal_colours",)),
        ("\x1b[01;31m\x1b[Kmatch\x1b[m\x1b[K", "match", ("terminal_colours",)),
        ("\x1b[32mok\x1b[0m\r\n", "ok\n", ("line_ends", "terminal_colours")),
    ],
)
def test_what_keeps_its_meaning_is_cleaned_and_the_sender_is_told(validate, body, cleaned, rules):
    valid = validate(body=body)
    assert (valid.body, valid.cleaned) == (cleaned, rules)


@pytest.mark.parametrize(
    ("text", "code", "point"),
    [
        ("\x1b[2J", "escape_sequence", "U+001B"),
        ("\x1b]0;title\x07", "escape_sequence", "U+001B"),
        ("\x1b]8;;http://x\x1b\\link", "escape_sequence", "U+001B"),
        ("\x1b[A", "escape_sequence", "U+001B"),
        ("\x1b[1K", "escape_sequence", "U+001B"),
        ("\x1bc", "escape_sequence", "U+001B"),
        ("\x1b", "escape_sequence", "U+001B"),
        ("\x1b[\x1b[mm", "escape_sequence", "U+001B"),
        ("\0", "control_character", "U+0000"),
        ("\x08", "control_character", "U+0008"),
        ("\x0b", "control_character", "U+000B"),
        ("\x0c", "control_character", "U+000C"),
        ("\x1f", "control_character", "U+001F"),
        ("\x7f", "control_character", "U+007F"),
        ("\x80", "control_character", "U+0080"),
        ("\x85", "control_character", "U+0085"),
        ("\x9b31m", "control_character", "U+009B"),
        ("\x9f", "control_character", "U+009F"),
        ("\u202a", "bidirectional_override", "U+202A"),
        ("\u202e", "bidirectional_override", "U+202E"),
        ("\u2066", "bidirectional_override", "U+2066"),
        ("\u2069", "bidirectional_override", "U+2069"),
        ("\U000e0041", "invisible_text", "U+E0041"),
        ("\ud800", "lone_surrogate", "U+D800"),
        ("\udfff", "lone_surrogate", "U+DFFF"),
        ("\ufffe", "noncharacter", "U+FFFE"),
        ("\uffff", "noncharacter", "U+FFFF"),
        ("\ufdd0", "noncharacter", "U+FDD0"),
        ("\U0010ffff", "noncharacter", "U+10FFFF"),
        ("\U0001fffe", "noncharacter", "U+1FFFE"),
    ],
)
def test_what_would_act_instead_of_being_read_is_refused_with_its_place(
    validate, text, code, point
):
    refused = refusal(validate, body=f"first\n  x{text}y")
    assert (refused.code, refused.field) == (code, "body")
    assert f"line 2, column 4 has {point}: " in refused.message


def test_neighbours_of_what_is_refused_are_not_refused(validate):
    body = "\t\n ~\u00a0\u2027\u202f\u2065\u206a\ud7ff\ue000\ufdcf\ufdf0\ufffd\U000e0080"
    assert validate(body=body).body == body


def test_columns_count_what_is_left_after_cleaning(validate):
    refused = refusal(validate, body="a\r\n\x1b[31mb\x1b[0m\0")
    assert "line 2, column 2" in refused.message


@pytest.mark.parametrize(
    "body", ["", " ", "\n\t \r\n", "\u200b\ufeff", "\u00a0\u2003", "\x1b[31m\x1b[0m", "\u3164"]
)
def test_a_body_with_nothing_to_see_is_refused(validate, body):
    refused = refusal(validate, body=body)
    assert (refused.code, refused.field) == ("empty_body", "body")


def test_a_body_may_be_exactly_as_long_as_the_limit(validate):
    lines = "\n".join(["x" * 999] * 10)
    assert len(lines) == 9_999
    assert validate(body=lines + "\n").body == lines + "\n"
    refused = refusal(validate, body=lines + "\n\n")
    assert (refused.code, refused.field) == ("body_too_long", "body")
    assert "10001 characters of at most 10000" in refused.message


def test_characters_count_and_not_bytes(validate):
    body = "\n".join(["😀" * 999] * 10)
    assert validate(body=body).body == body


def test_what_cleaning_takes_away_does_not_count(validate):
    assert validate(body="\x1b[31mx\x1b[0m\n" * 1_500).body == "x\n" * 1_500


def test_a_line_may_be_exactly_as_long_as_the_limit(validate):
    assert validate(body="a\n" + "x" * 1_000 + "\nb").cleaned == ()
    refused = refusal(validate, body="a\n" + "x" * 1_001 + "\nb")
    assert (refused.code, refused.field) == ("line_too_long", "body")
    assert "line 2 has 1001 characters of at most 1000" in refused.message


def test_limits_can_be_others():
    limits = BodyLimits(characters=5, line_characters=3)
    check_body("abc\nd", limits)
    assert refusal(check_body, "abcd", limits).code == "line_too_long"
    assert refusal(check_body, "abc\nde", limits).code == "body_too_long"


@pytest.mark.parametrize("sender", ["", "a/b", "Agent-1\nTo: x", "NUL"])
def test_a_sender_needs_an_id_that_could_be_an_agents(validate, sender):
    refused = refusal(validate, sender=sender)
    assert (refused.code, refused.field) == ("invalid_agent_id", "from")


def test_a_sender_need_not_be_an_agent(validate):
    assert validate(sender="nightly-build").recipients == ("Agent-2",)


def test_a_sender_may_write_to_itself(validate):
    assert validate(recipients=("Agent-1",)).recipients == ("Agent-1",)


@pytest.mark.parametrize(
    ("recipients", "code", "says"),
    [
        ((), "no_recipient", "nobody"),
        (("",), "unknown_agent", "''"),
        (("Agent-2", "Nobody"), "unknown_agent", "'Nobody'"),
        (("../Agent-2",), "unknown_agent", "'../Agent-2'"),
        (("x" * 5_000,), "unknown_agent", f"'{'x' * 64}'"),
        (("\ud800\n",), "unknown_agent", r"'\ud800\n'"),
        (("Off",), "inactive_agent", "Off is not active"),
        (("Agent-2", "Agent-3", "Agent-2"), "duplicate_recipient", "Agent-2 is named twice"),
    ],
)
def test_recipients_are_known_active_and_named_once(validate, recipients, code, says):
    refused = refusal(validate, recipients=recipients)
    assert (refused.code, refused.field) == (code, "to")
    assert says in refused.message


@pytest.mark.parametrize("text", ["agent-2", "AGENT-2", "Agent2"])
def test_an_agent_misspelled_is_refused_with_the_nearest_known(validate, text):
    assert refusal(validate, recipients=(text,)).hint == "did you mean Agent-2?"


def test_without_recipients_all_active_agents_but_the_sender_are_meant(validate):
    assert validate(recipients=None).recipients == ("Agent-2", "Agent-3")
    assert validate(sender="ci", recipients=None).recipients == ("Agent-1", "Agent-2", "Agent-3")


def test_where_nobody_but_the_sender_is_active_there_is_nobody_to_send_to(records):
    with pytest.raises(Refused) as caught:
        Validator(records.append).validate(
            sender="A", recipients=None, body="x", agents={"A": Agent("A")}, now=NOW
        )
    assert caught.value.code == "no_recipient"


@pytest.mark.parametrize(
    ("given", "outcome", "code"),
    [
        ({}, "accepted", None),
        ({"body": "\x1b[31mhi\x1b[m\r\n"}, "accepted", None),
        ({"body": "\0"}, "refused", "control_character"),
        ({"recipients": ("Nobody",)}, "refused", "unknown_agent"),
        ({"sender": "/" * 5_000}, "refused", "invalid_agent_id"),
        ({"body": "\ud800"}, "refused", "lone_surrogate"),
    ],
)
def test_each_judgement_leaves_one_record(validate, records, given, outcome, code):
    with contextlib.suppress(Refused):
        validate(**given)
    [record] = records
    assert (record.at, record.outcome, record.code) == (NOW, outcome, code)
    assert len(record.sender) <= 64
    assert record.recipients == 1


def test_a_record_has_the_size_of_the_body_in_bytes_before_cleaning(validate, records):
    validate(body="é\r\n")
    assert records[0].size_bytes == 4


def test_a_full_history_lets_the_oldest_judgement_go_and_the_message_through():
    settings = ResourceSettings(limit=2, overflow="evict_oldest")
    history = ValidationHistory(settings, lambda: 0.0)
    for number in range(3):
        Validator(history.record).validate(
            sender=f"ci-{number}", recipients=("Agent-1",), body="x", agents=AGENTS, now=NOW
        )
    assert [record.sender for record in history.recent()] == ["ci-2", "ci-1"]


def test_the_rules_have_codes_of_their_own_and_say_why():
    codes = [rule.code for rule in RULES]
    assert len(set(codes)) == len(codes)
    assert all(rule.what and rule.why for rule in RULES)


def test_cleaning_twice_is_cleaning_once():
    text, _ = clean_body("\x1b[31ma\r\nb\x1b[m\r")
    assert clean_body(text) == (text, ())
