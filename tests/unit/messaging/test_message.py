"""States and moves, ids, and what a message looks like on the wire."""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from itertools import pairwise, product

import pytest

from leakwarden.core.errors import Refused
from leakwarden.core.rfc3339 import rfc3339
from leakwarden.messaging.message import (
    Attempt,
    Message,
    MessageType,
    Priority,
    attempt_to_dict,
    message_to_dict,
    parse_priority,
    parse_type,
)
from leakwarden.messaging.message_ids import MessageIds
from leakwarden.messaging.states import MOVES, MessageState, move

NOW = 1_795_599_000.125
MOVE_NAMES = ("claim", "deliver", "retry", "fail", "expire_lease")
LEGAL = {
    ("queued", "claim"): "delivering",
    ("delivering", "deliver"): "delivered",
    ("delivering", "retry"): "queued",
    ("delivering", "fail"): "failed",
    ("delivering", "expire_lease"): "queued",
}


@pytest.mark.parametrize(("state", "name"), list(product(MessageState, MOVE_NAMES)))
def test_a_move_is_legal_exactly_where_the_table_has_it(state, name):
    expected = LEGAL.get((state.value, name))
    if expected is None:
        with pytest.raises(Refused) as caught:
            move(state, name)
        assert caught.value.code == "illegal_move"
        assert state.value in caught.value.message
        assert caught.value.hint
    else:
        assert move(state, name) is MessageState(expected)


def test_a_move_that_nobody_knows_is_illegal():
    with pytest.raises(Refused, match="cannot teleport"):
        move(MessageState.QUEUED, "teleport")


def test_delivered_and_failed_are_final():
    left = {before for before, _ in MOVES}
    assert left == {MessageState.QUEUED, MessageState.DELIVERING}


def test_the_table_of_moves_cannot_be_changed():
    with pytest.raises(TypeError):
        MOVES[(MessageState.FAILED, "retry")] = MessageState.QUEUED


def test_priorities_are_ordered_from_low_to_urgent():
    assert sorted(Priority, reverse=True) == [
        Priority.URGENT,
        Priority.HIGH,
        Priority.NORMAL,
        Priority.LOW,
    ]
    assert [priority.label for priority in Priority] == ["low", "normal", "high", "urgent"]


@pytest.mark.parametrize("text", ["urgent", "URGENT", "Urgent"])
def test_a_priority_is_read_in_any_case(text):
    assert parse_priority(text) is Priority.URGENT


@pytest.mark.parametrize(
    ("parse", "code", "field"),
    [(parse_priority, "unknown_priority", "priority"), (parse_type, "unknown_type", "type")],
)
def test_an_unknown_word_is_refused_with_the_words_that_are_known(parse, code, field):
    with pytest.raises(Refused) as caught:
        parse("whatever")
    assert (caught.value.code, caught.value.field) == (code, field)
    assert "use one of" in caught.value.hint


def test_a_type_is_read_in_any_case():
    assert parse_type("Command") is MessageType.COMMAND


def test_an_id_is_a_uuid_of_version_7_that_holds_the_time():
    text = MessageIds().new(NOW + 3600)
    parsed = uuid.UUID(hex=text)
    assert text == parsed.hex
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert int(text[:12], 16) == int((NOW + 3600) * 1000)


def test_ids_rise_within_one_millisecond_and_when_the_clock_runs_back():
    ids = MessageIds()
    made = [ids.new(NOW - back) for back in [0.0] * 1000 + [0.5] * 1000 + [-5.0, 3.0]]
    assert all(earlier < later for earlier, later in pairwise(made))


def test_ids_rise_where_the_random_part_overflows():
    ids = MessageIds()
    first = ids.new(NOW)
    ids._last_random = (1 << 74) - 1
    second = ids.new(NOW)
    assert int(second[:12], 16) == int(first[:12], 16) + 1
    assert uuid.UUID(hex=second).version == 7
    assert first < second


def test_each_thread_sees_its_ids_rise_and_none_is_made_twice():
    ids = MessageIds()
    made = [[] for _ in range(4)]

    together = threading.Barrier(len(made))

    def make(own):
        together.wait(10)
        own.extend(ids.new(NOW) for _ in range(10_000))

    threads = [threading.Thread(target=make, args=(own,)) for own in made]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads change in the middle of an id, not once in 5 ms
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert all(own == sorted(own) for own in made)
    assert len({one for own in made for one in own}) == 40_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_begins_anew_even_where_the_lock_was_held():
    ids = MessageIds()
    before = ids.new(NOW)
    read, write = os.pipe()
    with ids._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # a child that hangs ends, and the pipe with it
            os.write(write, ids.new(NOW).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        childs = pipe.read().decode()
    os.waitpid(child, 0)
    assert childs[:12] == before[:12]
    assert childs not in (before, ids.new(NOW))


def test_a_time_is_rfc_3339_in_utc_with_milliseconds():
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(NOW) == "2026-11-25T09:30:00.125Z"


def test_a_message_as_json_says_null_for_what_has_not_happened():
    message = Message(
        id="0" * 32,
        sender="Agent-1",
        recipient="Agent-2",
        body="hello",
        type=MessageType.TEXT,
        priority=Priority.HIGH,
        accepted_at=NOW,
        row=7,
        state=MessageState.QUEUED,
        attempts=0,
        due_at=NOW,
    )
    assert message_to_dict(message) == {
        "id": "0" * 32,
        "from": "Agent-1",
        "to": "Agent-2",
        "type": "text",
        "priority": "high",
        "body": "hello",
        "state": "queued",
        "attempts": 0,
        "transport": None,
        "accepted_at": "2026-11-25T09:30:00.125Z",
        "due_at": "2026-11-25T09:30:00.125Z",
        "finished_at": None,
        "last_error": None,
    }


def test_an_attempt_as_json_is_one_line_of_a_history():
    assert attempt_to_dict(Attempt(NOW, "retry", "inbox_full")) == {
        "at": "2026-11-25T09:30:00.125Z",
        "outcome": "retry",
        "reason": "inbox_full",
    }
