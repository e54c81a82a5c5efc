"""A store in a folder, and messages to put into it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leakwarden.messaging.message import MessageType, NewMessage, Priority
from leakwarden.messaging.message_ids import MessageIds
from leakwarden.messaging.store.engine import Engine
from leakwarden.settings import StoreSettings

IDS = MessageIds()


def new_message(
    priority: Priority = Priority.NORMAL,
    recipient: str = "Agent-2",
    body: str = "tea at four?",
    accepted_at: float | None = None,
) -> NewMessage:
    now = time.time() if accepted_at is None else accepted_at
    return NewMessage(IDS.new(now), "Agent-1", recipient, body, MessageType.TEXT, priority, now)


@contextmanager
def opened(directory: Path, settings: StoreSettings | None = None) -> Iterator[Engine]:
    engine = Engine(directory, settings or StoreSettings())
    engine.open()
    try:
        yield engine
    finally:
        engine.close()
