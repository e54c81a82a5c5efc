"""An inbox file from a message, and back.

    From: Agent-1
    To: Agent-2
    Id: 019ab1f07c8d7c3e9d5b0a64f3e2d1c0
    Type: text
    Priority: normal
    Sent: 2026-11-25T09:30:00.125Z

    the body as it was sent, once, with nothing added at its end

UTF-8, lines end with LF. The headers are always these six in this order and the
first empty line ends them, so nothing in a body can pass for a header.
"""

from __future__ import annotations

import re
from datetime import datetime

from leakwarden.core.errors import LimitExceeded, Refused
from leakwarden.core.rfc3339 import rfc3339
from leakwarden.managers.message_buffers import MessageBuffer, MessageBuffers
from leakwarden.messaging.agents import check_agent_id
from leakwarden.messaging.message import Message, NewMessage, parse_priority, parse_type

_ID = re.compile(r"[0-9a-f]{32}")
_HEADERS = re.compile(
    rb"From: (.+)\nTo: (.+)\nId: (.+)\nType: (.+)\nPriority: (.+)\nSent: (.+)Z\n\n"
)


def format_message(message: NewMessage | Message) -> bytes:
    """The inbox file of `message`; Refused where a header would hold what does not belong there."""
    if not _ID.fullmatch(message.id):
        raise Refused("invalid_id", f"{message.id[:64]!r} is no message id", field="id")
    return (
        f"From: {check_agent_id(message.sender, 'from')}\n"
        f"To: {check_agent_id(message.recipient, 'to')}\n"
        f"Id: {message.id}\n"
        f"Type: {message.type.value}\n"
        f"Priority: {message.priority.label}\n"
        f"Sent: {rfc3339(message.accepted_at)}\n"
        f"\n"
        f"{message.body}"
    ).encode()


def parse_message(data: bytes) -> NewMessage:
    """The message in an inbox file, its time to the millisecond; Refused `not_a_message`.

    For agents written in Python: parse_message(path.read_bytes()).body is what was sent.
    """
    headers = _HEADERS.match(data)
    if not headers:
        raise Refused("not_a_message", "this is no inbox file", "it begins with six header lines")
    try:
        sender, recipient, message_id, kind, priority, sent = (
            value.decode() for value in headers.groups()
        )
        return NewMessage(
            id=message_id,
            sender=sender,
            recipient=recipient,
            body=data[headers.end() :].decode(),
            type=parse_type(kind),
            priority=parse_priority(priority),
            accepted_at=datetime.fromisoformat(f"{sent}+00:00").timestamp(),
        )
    except (ValueError, Refused) as error:
        raise Refused(
            "not_a_message", f"this is no inbox file: {error}", "read it as text"
        ) from None


class Formatter:
    """Formats messages into buffers that are accounted for, inside the byte budget of them all."""

    def __init__(self, buffers: MessageBuffers) -> None:
        self._buffers = buffers

    def format(self, message: NewMessage | Message) -> MessageBuffer:
        """The inbox file of `message` in a buffer: `with` gives its bytes and hands them back.

        LimitExceeded where the file is larger than the whole budget, or than what is left of it.
        """
        budget = self._buffers.ledger.settings.limit_bytes
        # A file has at least as many bytes as its body characters: far too long is never built.
        if budget is not None and len(message.body) > budget:
            raise LimitExceeded("message_buffer", len(message.body), budget, "bytes")
        return self._buffers.lend(format_message(message))
