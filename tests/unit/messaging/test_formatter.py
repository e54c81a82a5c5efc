"""The inbox file, byte for byte, and the budget that formatting keeps to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakwarden.core.errors import LimitExceeded, Refused
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.message_buffers import MessageBuffers
from leakwarden.messaging.formatter import Formatter, format_message, parse_message
from leakwarden.messaging.message import Message, MessageType, NewMessage, Priority
from leakwarden.messaging.states import MessageState

MESSAGE = NewMessage(
    id="019ab1f07c8d7c3e9d5b0a64f3e2d1c0",
    sender="Agent-1",
    recipient="Agent-2",
    body="the body\n\nas it was sent: naïve ✓  ",
    type=MessageType.COORDINATION,
    priority=Priority.URGENT,
    accepted_at=1_795_599_000.125,
)
FILE = """\
From: Agent-1
To: Agent-2
Id: 019ab1f07c8d7c3e9d5b0a64f3e2d1c0
Type: coordination
Priority: urgent
Sent: 2026-11-25T09:30:00.125Z

the body

as it was sent: naïve ✓  """.encode()


def test_an_inbox_file_is_six_headers_an_empty_line_and_the_body_once():
    assert format_message(MESSAGE) == FILE


def test_a_message_from_the_store_makes_the_same_file():
    fields = {name: getattr(MESSAGE, name) for name in NewMessage.__slots__}
    stored = Message(**fields, row=1, state=MessageState.DELIVERING, attempts=2, due_at=0.0)
    assert format_message(stored) == FILE


def test_an_inbox_file_is_read_back_as_the_message_that_it_was():
    assert parse_message(FILE) == MESSAGE


@pytest.mark.parametrize("body", ["", "\n", "\n\nFrom: x\nTo: y\n\n", "a\r\nb", "\ttab\n"])
def test_whatever_a_body_holds_stays_in_the_body(body):
    message = replace(MESSAGE, body=body)
    assert format_message(message).endswith(b"Z\n\n" + body.encode())
    assert parse_message(format_message(message)) == message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sender", "Agent-1\nTo: Agent-3"),
        ("sender", "Agent-1\n"),
        ("sender", ""),
        ("recipient", "../Agent-2"),
        ("recipient", "Agent-2\r\n\r\nbody"),
        ("id", "../../019ab1f07c8d7c3e9d5b0a64f3e2d"),
        ("id", "019ab1f07c8d7c3e9d5b0a64f3e2d1c0\n"),
        ("id", "019AB1F07C8D7C3E9D5B0A64F3E2D1C0"),
    ],
)
def test_nothing_but_ids_gets_into_the_headers(field, value):
    with pytest.raises(Refused):
        format_message(replace(MESSAGE, **{field: value}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        FILE[:100],
        FILE.replace(b"To: Agent-2\n", b""),
        FILE.replace(b"urgent", b"soon"),
        FILE.replace(b"coordination", b"poem"),
        FILE.replace(b"2026-11", b"2026-13"),
        FILE + b"\xff",
        FILE.replace(b"Agent-1", b"\xff"),
    ],
)
def test_what_is_no_inbox_file_is_refused(data):
    with pytest.raises(Refused) as caught:
        parse_message(data)
    assert caught.value.code == "not_a_message"


def buffers(limit_bytes):
    """Message buffers with room for `limit_bytes`."""
    settings = ResourceSettings(
        limit=256, ttl_seconds=600.0, limit_bytes=limit_bytes, overflow="evict_oldest"
    )
    return MessageBuffers(settings, lambda: 0.0)


def test_a_formatted_message_is_counted_until_its_context_ends():
    lent = buffers(1_000)
    with Formatter(lent).format(MESSAGE) as data:
        assert bytes(data) == FILE
        assert (lent.usage().in_use, lent.usage().bytes) == (1, len(FILE))
    assert (lent.usage().in_use, lent.usage().bytes) == (0, 0)


def test_a_file_as_large_as_the_budget_fits_and_one_byte_more_is_refused():
    with Formatter(buffers(len(FILE))).format(MESSAGE) as data:
        assert bytes(data) == FILE
    too_small = buffers(len(FILE) - 1)
    with pytest.raises(LimitExceeded) as caught, Formatter(too_small).format(MESSAGE):
        pass
    assert caught.value.unit == "bytes"
    assert caught.value.limit == len(FILE) - 1
    assert too_small.usage().in_use == 0


def test_a_body_over_the_whole_budget_is_refused_before_it_is_built():
    lent = buffers(1_000)
    with (
        pytest.raises(LimitExceeded) as caught,
        Formatter(lent).format(replace(MESSAGE, body="x" * 1_001)),
    ):
        pass
    assert (caught.value.in_use, caught.value.limit) == (1_001, 1_000)
    assert lent.usage().opened_total == 0


def test_buffers_in_use_are_never_evicted_to_make_room():
    formatter = Formatter(buffers(len(FILE) + 10))
    with formatter.format(MESSAGE) as first:
        with pytest.raises(LimitExceeded), formatter.format(MESSAGE):
            pass
        assert bytes(first) == FILE
    with formatter.format(MESSAGE):
        pass
