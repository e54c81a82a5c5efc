"""A message: what it is made of, and how JSON has it.

Times are Unix time in seconds, because a message outlives the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

from leakwarden.core.errors import Refused
from leakwarden.core.rfc3339 import rfc3339
from leakwarden.messaging.states import MessageState


class Priority(IntEnum):
    """Which message goes first: the higher number. On the wire it is `label`."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3

    @property
    def label(self) -> str:
        """The name in lower case, as JSON, inbox files and metric labels have it."""
        return self.name.lower()


class MessageType(str, Enum):
    """What a message is for; its value is the word on the wire."""

    TEXT = "text"
    COMMAND = "command"
    STATUS = "status"
    COORDINATION = "coordination"
    ONBOARDING = "onboarding"


_PRIORITIES = {priority.label: priority for priority in Priority}
_TYPES = {kind.value: kind for kind in MessageType}


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that was checked and is not stored yet."""

    id: str
    sender: str
    recipient: str
    body: str
    type: MessageType
    priority: Priority
    accepted_at: float


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the store has it.

    `row` is its committed row number, the cursor of lists. `attempts` counts how often it was
    claimed, `due_at` is when it may be claimed next. `transport` is how it was delivered,
    `finished_at` when it came to a final state, `last_error` the last reason why it did not: None
    until then.
    """

    id: str
    sender: str
    recipient: str
    body: str
    type: MessageType
    priority: Priority
    accepted_at: float
    row: int
    state: MessageState
    attempts: int
    due_at: float
    transport: str | None = None
    finished_at: float | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver: `outcome` is the move it ended in, `reason` why where it failed."""

    at: float
    outcome: str
    reason: str | None = None


def parse_priority(text: str) -> Priority:
    """The priority called `text`, in any case; Refused `unknown_priority`."""
    priority = _PRIORITIES.get(text.lower())
    if priority is None:
        raise Refused(
            "unknown_priority",
            f"{text[:40]!r} is not a priority",
            f"use one of {', '.join(_PRIORITIES)}",
            "priority",
        )
    return priority


def parse_type(text: str) -> MessageType:
    """The message type called `text`, in any case; Refused `unknown_type`."""
    kind = _TYPES.get(text.lower())
    if kind is None:
        raise Refused(
            "unknown_type",
            f"{text[:40]!r} is not a type of message",
            f"use one of {', '.join(_TYPES)}",
            "type",
        )
    return kind


def message_to_dict(message: Message) -> dict[str, Any]:
    """`message` as JSON has it: `from` and `to`, words for numbers, RFC 3339 for times."""
    finished_at = message.finished_at
    return {
        "id": message.id,
        "from": message.sender,
        "to": message.recipient,
        "type": message.type.value,
        "priority": message.priority.label,
        "body": message.body,
        "state": message.state.value,
        "attempts": message.attempts,
        "transport": message.transport,
        "accepted_at": rfc3339(message.accepted_at),
        "due_at": rfc3339(message.due_at),
        "finished_at": None if finished_at is None else rfc3339(finished_at),
        "last_error": message.last_error,
    }


def attempt_to_dict(attempt: Attempt) -> dict[str, Any]:
    """`attempt` as one item of a message's `history`."""
    return {"at": rfc3339(attempt.at), "outcome": attempt.outcome, "reason": attempt.reason}
