"""From a draft to stored messages: validated, given ids, and committed before anybody is told.

The blocking calls are for threads, the async twins for an event loop. Both do
the same and differ in how they wait for the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from leakwarden.core.errors import Refused
from leakwarden.messaging.agents import Agent
from leakwarden.messaging.message import MessageType, NewMessage, Priority
from leakwarden.messaging.message_ids import MessageIds
from leakwarden.messaging.validator import Validator


class Store(Protocol):
    """What a sender needs of the store: one transaction, durable once the call returns."""

    def enqueue(self, messages: list[NewMessage]) -> None: ...  # noqa: D102

    async def enqueue_async(self, messages: list[NewMessage]) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants sent, unchecked.

    `recipients` None means every active agent but the sender.
    """

    sender: str
    body: str
    recipients: tuple[str, ...] | None = None
    priority: Priority = Priority.NORMAL
    type: MessageType = MessageType.TEXT


@dataclass(frozen=True, slots=True)
class Sent:
    """The ids of what is stored, in the order of the recipients, and which rules cleaned the body.

    `cleaned` has the codes of validator.RULES; it is empty where the body went as it came.
    """

    ids: tuple[str, ...]
    cleaned: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of the first message: of a send, the only one."""
        return self.ids[0]


class Sender:
    """Takes drafts; `clock` gives Unix time in seconds.

    Each call raises Refused where the draft breaks a rule, and what the store raises where it
    cannot commit (Unavailable, LimitExceeded); then nothing of the draft is stored.
    """

    def __init__(
        self,
        store: Store,
        agents: Mapping[str, Agent],
        validator: Validator,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._agents = agents
        self._validator = validator
        self._clock = clock
        self._ids = MessageIds()

    def send(self, draft: Draft) -> Sent:
        """One message to the one recipient, durable on return."""
        return self.broadcast(_for_one(draft))

    def broadcast(self, draft: Draft) -> Sent:
        """A message to each recipient, all or none of them stored, durable on return."""
        messages, sent = self._accept(draft)
        self._store.enqueue(messages)
        return sent

    async def send_async(self, draft: Draft) -> Sent:
        """As send, without blocking the event loop."""
        return await self.broadcast_async(_for_one(draft))

    async def broadcast_async(self, draft: Draft) -> Sent:
        """As broadcast, without blocking the event loop."""
        messages, sent = self._accept(draft)
        await self._store.enqueue_async(messages)
        return sent

    def _accept(self, draft: Draft) -> tuple[list[NewMessage], Sent]:
        now = self._clock()
        valid = self._validator.validate(
            sender=draft.sender,
            recipients=draft.recipients,
            body=draft.body,
            agents=self._agents,
            now=now,
        )
        messages = [
            NewMessage(
                id=self._ids.new(now),
                sender=draft.sender,
                recipient=recipient,
                body=valid.body,
                type=draft.type,
                priority=draft.priority,
                accepted_at=now,
            )
            for recipient in valid.recipients
        ]
        return messages, Sent(tuple(message.id for message in messages), valid.cleaned)


def _for_one(draft: Draft) -> Draft:
    """`draft` where it names one recipient; Refused `one_recipient` where it does not."""
    if draft.recipients is not None and len(draft.recipients) == 1:
        return draft
    raise Refused(
        "one_recipient",
        "a message goes to one agent",
        "name one, or use a broadcast for several",
        "to",
    )
