"""A message: what it is made of, the states it passes through, and the only moves between them.

    queued --claim--> delivering --deliver--> delivered
       ^                  |   |
       +--retry-----------+   +--fail--> failed
       +--expire_lease----+

Delivered and failed are final. A claim is a lease: a worker that dies in the
middle of a delivery loses it (`expire_lease`), so its message is sent again. An
acknowledgement that comes after that is refused as an illegal move, which is
safe: the next worker finds the file in the inbox and only acknowledges it.

Times are Unix time in seconds, because a message outlives the process.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any

from leakwarden.core.errors import Refused


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


class MessageState(str, Enum):
    """Where a message is; its value is the word on the wire."""

    QUEUED = "queued"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    FAILED = "failed"


MOVES: Mapping[tuple[MessageState, str], MessageState] = MappingProxyType(
    {
        (MessageState.QUEUED, "claim"): MessageState.DELIVERING,
        (MessageState.DELIVERING, "deliver"): MessageState.DELIVERED,
        (MessageState.DELIVERING, "retry"): MessageState.QUEUED,
        (MessageState.DELIVERING, "fail"): MessageState.FAILED,
        (MessageState.DELIVERING, "expire_lease"): MessageState.QUEUED,
    }
)

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


def move(state: MessageState, name: str) -> MessageState:
    """The state that `name` leads to from `state`; Refused `illegal_move` where it leads nowhere.

    A value in, a value out: whoever is refused has changed nothing.
    """
    after = MOVES.get((state, name))
    if after is None:
        legal = [legal_name for before, legal_name in MOVES if before is state]
        raise Refused(
            "illegal_move",
            f"a message that is {state.value} cannot {name}",
            f"from {state.value} it can {', '.join(legal)}" if legal else f"{state.value} is final",
        )
    return after


class MessageIds:
    """Makes the ids of one process: UUIDv7 (RFC 9562 section 5.7), 32 lower-case hex digits.

    The first 48 bits are milliseconds, so file names sort by time. Each id is greater than the
    one before it, in whatever thread and even when the clock stands or runs back: then the 74
    random bits of the last id are raised by a random step (section 6.2, method 2). After a fork
    the child begins anew, so the two never go on from the same number.
    """

    _RANDOM_BITS = 74
    _STEP_BITS = 48  # 2**25 ids within one millisecond before the time part has to lend one

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()  # a new one, since a fork may have copied a held one
        self._last_ms = -1
        self._last_random = 0
        self._pid = os.getpid()

    def new(self, now_unix: float) -> str:
        """A new id for the time `now_unix`, or for that of the last id where that is later."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            now_ms = int(now_unix * 1000)
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                # The top bit stays clear, so that there is always room to count up.
                self._last_random = secrets.randbits(self._RANDOM_BITS - 1)
            else:
                self._last_random += 1 + secrets.randbits(self._STEP_BITS)
                self._last_ms += self._last_random >> self._RANDOM_BITS
                self._last_random &= (1 << self._RANDOM_BITS) - 1
            ms, random = self._last_ms, self._last_random
        return f"{ms:012x}7{random >> 62:03x}{0b10 << 62 | random & (1 << 62) - 1:016x}"


# The one counter of the process: ids are unique and rising whoever makes them.
_IDS = MessageIds()


def new_message_id(now_unix: float) -> str:
    """A new id, as MessageIds.new says; one counter for the whole process."""
    return _IDS.new(now_unix)


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


def rfc3339(unix_seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond (cut, not rounded): 2026-11-25T09:30:00.125Z."""
    moment = datetime.fromtimestamp(unix_seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
