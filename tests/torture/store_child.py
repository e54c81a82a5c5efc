"""The store and delivery in one process that is there to be killed.

    python store_child.py DATA_DIR SENDERS

Prints `ready`, then the id of each message as soon as it is acknowledged. With no
sender it delivers what is queued, closes everything in order, and exits 0.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from leakwarden.managers.files import Files
from leakwarden.managers.message_buffers import MessageBuffers
from leakwarden.messaging.delivery import Delivery
from leakwarden.messaging.formatter import Formatter
from leakwarden.messaging.inbox import Inbox
from leakwarden.messaging.message import MessageType, NewMessage, Priority
from leakwarden.messaging.message_ids import MessageIds
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import Messages
from leakwarden.settings import DEFAULT_RESOURCES, StoreSettings

MOST_QUEUED = 200
AGENTS = tuple(f"Agent-{number}" for number in range(1, 5))


def say(line: str) -> None:
    """One write, so that lines of several threads do not mix and a kill cuts none in two."""
    os.write(1, f"{line}\n".encode())


def main(data_dir: Path, senders: int) -> int:
    engine = Engine(data_dir, StoreSettings())
    engine.open()
    messages, ids = Messages(engine), MessageIds()
    files = Files(DEFAULT_RESOURCES["file_handle"], time.monotonic)
    buffers = MessageBuffers(DEFAULT_RESOURCES["message_buffer"], time.monotonic)
    inbox = Inbox(data_dir / "agents", files)
    delivery = Delivery(messages, inbox, Formatter(buffers), AGENTS)
    messages.on_queued = delivery.wake
    delivery.start()
    say("ready")

    def send(number: int) -> None:
        for count in range(1_000_000):
            now = time.time()
            new = NewMessage(
                id=ids.new(now),
                sender=AGENTS[number % len(AGENTS)],
                recipient=AGENTS[count % len(AGENTS)],
                body=f"message {count} of sender {number}",
                type=MessageType.TEXT,
                priority=Priority(count % len(Priority)),
                accepted_at=now,
            )
            messages.enqueue([new])
            say(new.id)
            # Delivery syncs a file for each: without this the queue alone would meet the kill.
            while count % 8 == 0 and sum(messages.depths().by_priority.values()) > MOST_QUEUED:
                time.sleep(0.01)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while any(messages.depths().by_priority.values()):
        time.sleep(0.01)
    delivery.stop()
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
