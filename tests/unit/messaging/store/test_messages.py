from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from leakwarden.core.errors import Refused
from leakwarden.messaging.message import Attempt, NewMessage, Priority
from leakwarden.messaging.states import MOVES, MessageState
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.leases import LONGEST_SECONDS
from leakwarden.messaging.store.messages import Failure, Messages
from storing import new_message, opened

NOW = 1_800_000_000.0
LEASE = 60.0


def ids(found: list) -> list[str]:
    return [message.id for message in found]


def put_into(messages: Messages, state: MessageState) -> NewMessage:
    """A message that came into `state` by legal moves."""
    message = new_message(accepted_at=NOW)
    messages.enqueue([message])
    if state is not MessageState.QUEUED:
        messages.claim(1, NOW, LEASE)
    if state is MessageState.DELIVERED:
        messages.ack([message.id], NOW, "inbox")
    if state is MessageState.FAILED:
        messages.retry([Failure(message.id, "io", None)], NOW)
    return message


def test_a_message_comes_back_as_it_was_stored(messages):
    new = new_message(Priority.HIGH, "Agent-3", "two\nlines, \N{BLACK HEART SUIT}", NOW)
    messages.enqueue([new])
    found = messages.get(new.id)
    assert (found.id, found.sender, found.recipient, found.body) == (
        new.id,
        "Agent-1",
        "Agent-3",
        "two\nlines, \N{BLACK HEART SUIT}",
    )
    assert (found.type, found.priority, found.accepted_at) == (new.type, Priority.HIGH, NOW)
    assert (found.state, found.attempts, found.due_at) == (MessageState.QUEUED, 0, NOW)
    assert (found.transport, found.finished_at, found.last_error) == (None, None, None)


def test_an_unknown_id_is_none_and_has_no_history(messages):
    assert messages.get("0" * 32) is None
    assert messages.attempts("0" * 32) == []


def test_an_id_seen_before_is_refused_with_all_that_came_with_it(messages):
    first, second = new_message(), new_message()
    messages.enqueue([first])
    with pytest.raises(sqlite3.IntegrityError):
        messages.enqueue([second, first])
    assert messages.get(second.id) is None


def test_coroutines_that_store_together_are_all_stored(messages):
    new = [new_message() for _ in range(20)]

    async def store() -> None:
        await asyncio.gather(*(messages.enqueue_async([one]) for one in new))

    asyncio.run(store())
    assert sorted(ids(messages.page())) == sorted(one.id for one in new)


def test_whoever_waits_for_messages_is_told_after_each_enqueue(messages):
    told = []
    messages.on_queued = lambda: told.append(messages.depths().by_priority[Priority.NORMAL])
    messages.enqueue([new_message()])
    asyncio.run(messages.enqueue_async([new_message()]))
    assert told == [1, 2]


def test_a_claim_takes_the_highest_priority_first_and_then_the_oldest(messages):
    low, first, urgent, second = (
        new_message(Priority.LOW),
        new_message(),
        new_message(Priority.URGENT),
        new_message(),
    )
    messages.enqueue([low, first])
    messages.enqueue([urgent, second])
    claimed = messages.claim(3, NOW, LEASE)
    assert ids(claimed) == [urgent.id, first.id, second.id]
    assert {message.state for message in claimed} == {MessageState.DELIVERING}
    assert {message.attempts for message in claimed} == {1}
    assert ids(messages.claim(3, NOW, LEASE)) == [low.id]


def test_what_is_leased_is_claimed_by_nobody_else_until_exactly_the_end_of_its_lease(messages):
    new = new_message()
    messages.enqueue([new])
    messages.claim(1, NOW, LEASE)
    assert messages.claim(1, NOW + LEASE - 0.001, LEASE) == []
    again = messages.claim(1, NOW + LEASE, LEASE)
    assert ids(again) == [new.id]
    assert again[0].attempts == 2
    assert messages.attempts(new.id) == [Attempt(NOW + LEASE, "expire_lease", "lease_expired")]


def test_a_lease_made_before_the_clock_was_set_back_is_no_lease_for_years(messages):
    new = new_message()
    messages.enqueue([new])
    messages.claim(1, NOW + 10 * LONGEST_SECONDS, LEASE)
    assert ids(messages.claim(1, NOW, LEASE)) == [new.id]


def test_an_acknowledged_message_is_delivered_and_says_how_and_when(messages):
    new = put_into(messages, MessageState.DELIVERED)
    found = messages.get(new.id)
    assert (found.state, found.transport, found.finished_at) == (
        MessageState.DELIVERED,
        "inbox",
        NOW,
    )
    assert messages.attempts(new.id) == [Attempt(NOW, "deliver", None)]


def test_a_message_to_be_tried_again_waits_until_exactly_its_time(messages):
    new = put_into(messages, MessageState.DELIVERING)
    messages.retry([Failure(new.id, "no_space", NOW + 4)], NOW)
    found = messages.get(new.id)
    assert (found.state, found.due_at, found.last_error) == (
        MessageState.QUEUED,
        NOW + 4,
        "no_space",
    )
    assert messages.claim(1, NOW + 3.999, LEASE) == []
    assert ids(messages.claim(1, NOW + 4, LEASE)) == [new.id]
    assert messages.attempts(new.id) == [Attempt(NOW, "retry", "no_space")]


def test_a_message_failed_for_good_says_why_and_is_never_claimed(messages):
    new = put_into(messages, MessageState.FAILED)
    found = messages.get(new.id)
    assert (found.state, found.last_error, found.finished_at) == (MessageState.FAILED, "io", NOW)
    assert messages.claim(1, NOW + 10 * LEASE, LEASE) == []
    assert messages.attempts(new.id) == [Attempt(NOW, "fail", "io")]


CALLS = {
    "deliver": lambda messages, new: messages.ack([new.id], NOW, "inbox"),
    "retry": lambda messages, new: messages.retry([Failure(new.id, "io", NOW + 1)], NOW),
    "fail": lambda messages, new: messages.retry([Failure(new.id, "io", None)], NOW),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("state", MessageState)
def test_the_store_makes_exactly_the_moves_of_the_table(messages, state, name):
    new = put_into(messages, state)
    before = messages.get(new.id), messages.attempts(new.id)
    after = MOVES.get((state, name))
    if after is None:
        with pytest.raises(Refused) as refused:
            CALLS[name](messages, new)
        assert refused.value.code == "illegal_move"
        assert (messages.get(new.id), messages.attempts(new.id)) == before
    else:
        CALLS[name](messages, new)
        assert messages.get(new.id).state is after


@pytest.mark.parametrize("state", MessageState)
def test_only_queued_messages_are_claimed(messages, state):
    put_into(messages, state)
    claimed = messages.claim(1, NOW, LEASE)
    assert bool(claimed) is ((state, "claim") in MOVES)


def test_one_illegal_acknowledgement_undoes_those_that_came_with_it(messages):
    first, second = new_message(), new_message()
    messages.enqueue([first, second])
    messages.claim(1, NOW, LEASE)
    with pytest.raises(Refused):
        messages.ack([first.id, second.id], NOW, "inbox")
    assert messages.get(first.id).state is MessageState.DELIVERING
    assert messages.attempts(first.id) == []


def test_an_acknowledgement_of_what_was_never_there_is_refused(messages):
    with pytest.raises(Refused) as refused:
        messages.ack(["0" * 32], NOW, "inbox")
    assert refused.value.code == "unknown_message"


def test_the_depths_are_a_recount_of_what_is_accepted_and_not_finished(messages):
    for priority in (Priority.URGENT, Priority.URGENT, Priority.HIGH, Priority.LOW):
        messages.enqueue([new_message(priority, accepted_at=NOW + priority)])
    messages.enqueue([new_message(Priority.LOW, "Agent-3", accepted_at=NOW + 9)])
    first, second, third = messages.claim(3, NOW, LEASE)
    messages.ack([first.id], NOW, "inbox")
    messages.retry([Failure(second.id, "io", NOW + 99), Failure(third.id, "io", None)], NOW)
    depths = messages.depths()
    assert depths.by_priority == {
        Priority.LOW: 2,
        Priority.NORMAL: 0,
        Priority.HIGH: 0,
        Priority.URGENT: 1,
    }
    assert depths.oldest_queued_at == second.accepted_at
    assert messages.queued_by_recipient() == {"Agent-2": 2, "Agent-3": 1}


def test_an_empty_store_has_every_priority_at_zero_and_no_oldest(messages):
    depths = messages.depths()
    assert depths.by_priority == dict.fromkeys(Priority, 0)
    assert depths.oldest_queued_at is None
    assert messages.queued_by_recipient() == {}


def test_neither_depths_nor_claims_nor_pages_by_agent_or_state_walk_over_finished_rows(engine):
    from leakwarden.messaging.store import messages as module  # noqa: PLC0415

    statements = {
        module._DEPTHS: (),
        module._BY_RECIPIENT: (),
        module._CLAIM: (NOW, 1),
        "SELECT * FROM messages WHERE row > 0 AND state = 'failed' ORDER BY row LIMIT 9": (),
        "SELECT * FROM messages WHERE row > 0 AND recipient = 'A' ORDER BY row LIMIT 9": (),
        "SELECT row FROM messages WHERE finished_at < 1 ORDER BY finished_at LIMIT 9": (),
        "UPDATE messages SET due_at = NULL WHERE (due_at <= 1 OR due_at > 9)"
        " AND state = 'delivering'": (),
    }
    for sql, given in statements.items():
        plan = engine.read(
            lambda connection, sql=sql, given=given: connection.execute(
                f"EXPLAIN QUERY PLAN {sql}", given
            ).fetchall()
        )
        scans = [row[3] for row in plan if "SCAN messages" in row[3] and "messages_" not in row[3]]
        assert scans == [], sql


def test_pages_follow_one_another_without_a_gap_or_a_repeat(messages):
    new = [new_message() for _ in range(7)]
    for one in new:
        messages.enqueue([one])
    seen, after = [], 0
    while page := messages.page(after=after, most=3):
        seen += ids(page)
        after = page[-1].row
    assert seen == [one.id for one in new]


def test_a_page_can_be_of_one_agent_in_one_state(messages):
    delivered = put_into(messages, MessageState.DELIVERED)
    waiting = new_message(recipient="Agent-3")
    messages.enqueue([waiting, new_message()])
    assert ids(messages.page(state=MessageState.DELIVERED)) == [delivered.id]
    assert ids(messages.page(to="Agent-3")) == [waiting.id]
    assert messages.page(to="Agent-3", state=MessageState.FAILED) == []
    assert ids(messages.page(to="Agent-3", state=MessageState.QUEUED)) == [waiting.id]


def test_at_open_what_an_earlier_process_had_leased_or_paused_is_claimable_at_once(tmp_path: Path):
    leased, paused = new_message(), new_message()
    with opened(tmp_path) as engine:
        messages = Messages(engine)
        messages.enqueue([leased, paused])
        messages.claim(2, NOW, LEASE)
        messages.retry([Failure(paused.id, "io", NOW + 3000)], NOW)
    with opened(tmp_path) as engine:
        messages = Messages(engine)
        assert messages.get(leased.id).state is MessageState.QUEUED
        assert messages.attempts(leased.id)[0].reason == "process_ended"
        assert ids(messages.claim(9, NOW, LEASE)) == [leased.id, paused.id]


def test_row_numbers_are_never_given_out_again(tmp_path: Path):
    with opened(tmp_path) as engine:
        Messages(engine).enqueue([new_message(), new_message()])
        engine.submit(lambda connection: connection.execute("DELETE FROM messages").rowcount)
    with opened(tmp_path) as engine:
        messages = Messages(engine)
        messages.enqueue([new_message()])
        assert [message.row for message in messages.page()] == [3]


def test_a_recount_from_outside_agrees(engine: Engine, messages: Messages):
    messages.enqueue([new_message() for _ in range(5)])
    messages.ack(ids(messages.claim(2, NOW, LEASE)), NOW, "inbox")
    with sqlite3.connect(engine.path) as outside:
        counted = dict(outside.execute("SELECT state, count(*) FROM messages GROUP BY state"))
    outside.close()
    assert counted == {"queued": 3, "delivered": 2}
    assert sum(messages.depths().by_priority.values()) == 3
