"""Between messages and the rows of their table."""

from __future__ import annotations

from leakwarden.messaging.message import Message, MessageType, NewMessage, Priority
from leakwarden.messaging.states import MessageState
from leakwarden.messaging.store.items import Row

# In the order of message_of's arguments.
COLUMNS = (
    "id, sender, recipient, body, type, priority, accepted_at, row, state, attempts, due_at,"
    " transport, finished_at, last_error"
)


def values_of(message: NewMessage) -> Row:
    """The values of a new row, in the order of messages.INSERT."""
    return (
        message.id,
        message.sender,
        message.recipient,
        message.body,
        message.type.value,
        int(message.priority),
        message.accepted_at,
    )


def message_of(row: Row) -> Message:
    """The message in a row of `COLUMNS`. NULL in `due_at` is "at once": since it was accepted."""
    return Message(
        id=row[0],
        sender=row[1],
        recipient=row[2],
        body=row[3],
        type=MessageType(row[4]),
        priority=Priority(row[5]),
        accepted_at=row[6],
        row=row[7],
        state=MessageState(row[8]),
        attempts=row[9],
        due_at=row[6] if row[10] is None else row[10],
        transport=row[11],
        finished_at=row[12],
        last_error=row[13],
    )
