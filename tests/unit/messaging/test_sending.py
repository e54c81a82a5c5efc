"""Drafts become stored messages, all of a draft or none, and ids come back after the store."""

from __future__ import annotations

import asyncio

import pytest

from leakwarden.core.errors import Refused, Unavailable
from leakwarden.messaging.agents import Agent
from leakwarden.messaging.message import MessageType, NewMessage, Priority
from leakwarden.messaging.sending import Draft, Sender
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import Messages
from leakwarden.messaging.validator import Validator
from leakwarden.settings import StoreSettings

NOW = 1_795_599_000.125
AGENTS = {name: Agent(name) for name in ("Agent-1", "Agent-2", "Agent-3")}


class ListStore:
    """A store of lists, one for each transaction; `trouble` is raised instead of storing."""

    def __init__(self):
        self.transactions: list[list[NewMessage]] = []
        self.trouble: Exception | None = None

    def enqueue(self, messages):
        if self.trouble:
            raise self.trouble
        self.transactions.append(messages)

    async def enqueue_async(self, messages):
        await asyncio.sleep(0)
        self.enqueue(messages)


@pytest.fixture
def store():
    return ListStore()


@pytest.fixture(params=["blocking", "async"])
def call(request, store):
    """Calls `send` or `broadcast` of one sender, in both forms."""
    sender = Sender(store, AGENTS, Validator(lambda record: None), lambda: NOW)
    if request.param == "blocking":
        return lambda name, draft: getattr(sender, name)(draft)
    return lambda name, draft: asyncio.run(getattr(sender, f"{name}_async")(draft))


def test_a_sent_message_is_stored_as_it_was_drafted(call, store):
    sent = call("send", Draft("ci", "hi\r\n", ("Agent-2",), Priority.URGENT, MessageType.COMMAND))
    assert store.transactions == [
        [
            NewMessage(
                id=sent.id,
                sender="ci",
                recipient="Agent-2",
                body="hi\n",
                type=MessageType.COMMAND,
                priority=Priority.URGENT,
                accepted_at=NOW,
            )
        ]
    ]
    assert sent.ids == (sent.id,)
    assert sent.cleaned == ("line_ends",)


def test_a_draft_that_says_no_more_is_text_of_normal_priority(call, store):
    call("send", Draft("ci", "hi", ("Agent-2",)))
    [[message]] = store.transactions
    assert (message.type, message.priority) == (MessageType.TEXT, Priority.NORMAL)


def test_a_broadcast_is_one_transaction_with_a_message_for_each_agent_but_the_sender(call, store):
    sent = call("broadcast", Draft("Agent-2", "hi"))
    [messages] = store.transactions
    assert [message.recipient for message in messages] == ["Agent-1", "Agent-3"]
    assert tuple(message.id for message in messages) == sent.ids
    assert sent.ids[0] < sent.ids[1]


def test_a_broadcast_may_name_its_recipients(call, store):
    call("broadcast", Draft("ci", "hi", ("Agent-3", "Agent-1")))
    [messages] = store.transactions
    assert [message.recipient for message in messages] == ["Agent-3", "Agent-1"]


@pytest.mark.parametrize("recipients", [None, (), ("Agent-1", "Agent-2")])
def test_a_send_goes_to_exactly_one_agent(call, store, recipients):
    with pytest.raises(Refused) as caught:
        call("send", Draft("ci", "hi", recipients))
    assert (caught.value.code, caught.value.field) == ("one_recipient", "to")
    assert store.transactions == []


def test_nothing_is_stored_of_a_broadcast_with_one_unknown_recipient(call, store):
    with pytest.raises(Refused):
        call("broadcast", Draft("ci", "hi", ("Agent-1", "Nobody")))
    assert store.transactions == []


def test_no_id_comes_back_where_the_store_cannot_commit(call, store):
    store.trouble = Unavailable("the disk is full")
    with pytest.raises(Unavailable):
        call("send", Draft("ci", "hi", ("Agent-1",)))


def test_ids_come_back_only_after_the_store_has_committed():
    committed = asyncio.Event()

    class SlowStore(ListStore):
        async def enqueue_async(self, messages):
            await committed.wait()
            self.enqueue(messages)

    async def send():
        store = SlowStore()
        sender = Sender(store, AGENTS, Validator(lambda record: None), lambda: NOW)
        task = asyncio.ensure_future(sender.send_async(Draft("ci", "hi", ("Agent-1",))))
        await asyncio.sleep(0)
        assert not task.done()
        committed.set()
        return (await task).ids, [message.id for message in store.transactions[0]]

    returned, stored = asyncio.run(send())
    assert list(returned) == stored


def test_what_was_sent_stands_in_the_store_after_it_is_opened_again(tmp_path):
    engine = Engine(tmp_path, StoreSettings())
    engine.open()
    sender = Sender(Messages(engine), AGENTS, Validator(lambda record: None), lambda: NOW)
    ids = sender.send(Draft("ci", "one", ("Agent-2",))).ids
    ids += asyncio.run(sender.broadcast_async(Draft("Agent-2", "two"))).ids
    engine.close()
    engine = Engine(tmp_path, StoreSettings())
    engine.open()
    stored = [Messages(engine).get(message_id) for message_id in ids]
    engine.close()
    assert [(message.recipient, message.body) for message in stored] == [
        ("Agent-2", "one"),
        ("Agent-1", "two"),
        ("Agent-3", "two"),
    ]
