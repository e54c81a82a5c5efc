"""A store, or an inbox, on a file system of two MiB that fills up and gets room again.

Run inside a mount namespace of its own, with the small file system already mounted.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from leakwarden.core.errors import Unavailable
from leakwarden.managers.files import Files
from leakwarden.managers.message_buffers import MessageBuffers
from leakwarden.messaging.delivery import Delivery
from leakwarden.messaging.formatter import Formatter
from leakwarden.messaging.inbox import Inbox
from leakwarden.messaging.states import MessageState
from leakwarden.messaging.store.messages import Messages
from leakwarden.settings import DEFAULT_RESOURCES
from storing import new_message, opened
from waiting import wait_until

ROOM_BYTES = 768 * 1024


def fill(path: Path) -> None:
    """Take every byte that is left, down to the last page."""
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass


def send_until_full(messages: Messages) -> tuple[set[str], int]:
    """The ids acknowledged and how many were refused, by threads and coroutines together."""
    acknowledged: set[str] = set()
    refused: list[Unavailable] = []

    def by_thread() -> None:
        for _ in range(2000):
            new = new_message(body="x" * 1000)
            try:
                messages.enqueue([new])
            except Unavailable as error:
                refused.append(error)
                return
            acknowledged.add(new.id)

    async def by_coroutine() -> None:
        for _ in range(2000):
            new = new_message(body="x" * 1000)
            try:
                await messages.enqueue_async([new])
            except Unavailable as error:
                refused.append(error)
                return
            acknowledged.add(new.id)

    async def coroutines() -> None:
        await asyncio.gather(*(by_coroutine() for _ in range(4)))

    threads = [threading.Thread(target=by_thread) for _ in range(4)]
    threads.append(threading.Thread(target=lambda: asyncio.run(coroutines())))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("disk is full" in error.message for error in refused), refused
    assert all("free space" in error.hint for error in refused), refused
    return acknowledged, len(refused)


def stored(messages: Messages) -> set[str]:
    return {message.id for message in messages.page(most=100_000)}


def store(disk: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * ROOM_BYTES)
    with opened(disk / "data") as engine:
        messages = Messages(engine)
        acknowledged, refused = send_until_full(messages)
        assert refused == 8, refused
        assert acknowledged, "nothing fitted at all"
        fill(disk / "rest")
        try:
            messages.enqueue([new_message(body="x" * 100_000)])
        except Unavailable:
            pass
        else:
            raise AssertionError("a full disk took a message")
        assert "disk is full" in (engine.healthy() or ""), engine.healthy()
        assert stored(messages) == acknowledged
        ballast.unlink()
        # Nobody sends: the writer finds out by itself.
        wait_until(lambda: engine.healthy() is None)
        after = new_message()
        messages.enqueue([after])
        acknowledged.add(after.id)
        assert stored(messages) == acknowledged
    with opened(disk / "data") as engine:
        assert stored(Messages(engine)) == acknowledged


def inbox(disk: Path, data_dir: Path) -> None:
    clock = time.time
    ahead = 0.0
    files = Files(DEFAULT_RESOURCES["file_handle"], time.monotonic)
    buffers = MessageBuffers(DEFAULT_RESOURCES["message_buffer"], time.monotonic)
    with opened(data_dir) as engine:
        messages = Messages(engine)
        root = disk / "agents"
        (root / "Agent-2" / "inbox").mkdir(parents=True)
        (root / "Agent-2" / "done").mkdir()
        fill(disk / "rest")
        delivery = Delivery(
            messages, Inbox(root, files), Formatter(buffers), None, lambda: clock() + ahead
        )
        new = new_message(body="x" * 9000)
        messages.enqueue([new])
        delivery.start()
        wait_until(lambda: messages.get(new.id).last_error == "no_space")
        assert list((root / "Agent-2" / "inbox").iterdir()) == []
        (disk / "rest").unlink()
        ahead = 5.0
        wait_until(lambda: messages.get(new.id).state is MessageState.DELIVERED)
        delivery.stop()
        assert [path.stem for path in (root / "Agent-2" / "inbox").iterdir()] == [new.id]


if __name__ == "__main__":
    if sys.argv[1] == "store":
        store(Path(sys.argv[2]))
    else:
        inbox(Path(sys.argv[2]), Path(sys.argv[3]))
    print("done")
