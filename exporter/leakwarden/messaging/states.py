"""The states that a message passes through, and the only moves between them.

    queued --claim--> delivering --deliver--> delivered
       ^                  |   |
       +--retry-----------+   +--fail--> failed
       +--expire_lease----+

Delivered and failed are final. A claim is a lease: a worker that dies in the
middle of a delivery loses it (`expire_lease`), so its message is sent again. An
acknowledgement that comes after that is refused as an illegal move, which is
safe: the next worker finds the file in the inbox and only acknowledges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from leakwarden.core.errors import Refused


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
