"""Whatever is sent: it is refused, or what stands in the inbox is safe and is what was sent."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from leakwarden.core.errors import Refused
from leakwarden.messaging.agents import check_agent_id
from leakwarden.messaging.formatter import format_message, parse_message
from leakwarden.messaging.message import MessageType, NewMessage, Priority
from leakwarden.messaging.validator import BodyLimits, check_body, clean_body

# Half of the texts are built of what the rules are about, which chance alone seldom finds.
TROUBLE = st.sampled_from(
    [
        *("\r\n", "\r", "\n", "\u2028", "\x1b", "\x1b[", "\x1b[31m", "31m", "K", "m", "\x9b", "\0"),
        *("\u202e", "\u2069", "\ud800", "\udc00", "\ufffe", "\U000e0041", "\u200f", "a", " ", "é"),
    ]
)
BODIES = st.text(max_size=200) | st.lists(TROUBLE, max_size=30).map("".join)
LIMITS = BodyLimits(characters=100, line_characters=20)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True).filter(
    lambda text: refusal(check_agent_id, text) is None
)


def refusal(call, *args):
    """The refusal that `call` ends in, or None."""
    try:
        call(*args)
    except Refused as refused:
        return refused
    return None


def accepted(body):
    """The cleaned body, or None where it is refused."""
    text, _ = clean_body(body)
    refused = refusal(check_body, text, LIMITS)
    if refused is None:
        return text
    assert refused.field == "body"
    assert refused.message.isprintable()
    return None


@given(BODIES)
def test_what_is_accepted_holds_nothing_that_acts(body):
    text = accepted(body)
    if text is not None:
        assert {unicodedata.category(one) for one in text if one not in "\n\t"}.isdisjoint(
            {"Cc", "Cs", "Zl", "Zp"}
        )
        assert {unicodedata.bidirectional(one) for one in text}.isdisjoint(
            {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        )
        assert 0 < len(text.strip()) <= len(text) <= LIMITS.characters
        assert max(map(len, text.split("\n"))) <= LIMITS.line_characters
        assert text.encode().decode() == text


@given(BODIES)
def test_what_is_accepted_is_accepted_again_unchanged(body):
    text = accepted(body)
    if text is not None:
        assert clean_body(text) == (text, ())
        assert accepted(text) == text


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"])))
def test_text_without_control_characters_is_never_altered(body):
    assert clean_body(body) == (body, ())


@given(BODIES)
def test_cleaning_says_that_it_did_something_exactly_where_it_did(body):
    text, cleaned = clean_body(body)
    assert bool(cleaned) == (text != body)


@given(
    st.builds(
        NewMessage,
        id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
        sender=IDS,
        recipient=IDS,
        body=st.text(st.characters(exclude_categories=["Cs"])) | st.just("To: x\n\nb\r\n"),
        type=st.sampled_from(MessageType),
        priority=st.sampled_from(Priority),
        accepted_at=st.integers(0, 4_102_444_800_000).map(lambda ms: ms / 1000),
    )
)
def test_a_message_comes_back_from_its_inbox_file_as_it_was(message):
    assert parse_message(format_message(message)) == message


@given(st.binary(max_size=300) | BODIES.map(lambda body: body.encode(errors="replace")))
def test_what_is_no_inbox_file_is_refused(data):
    refused = refusal(parse_message, data)
    assert refused is not None
    assert refused.code == "not_a_message"
