"""Stores messages one by one, by a thread and by coroutines, and writes a line after each."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from leakwarden.messaging.store.messages import Messages
from leakwarden.settings import StoreSettings
from storing import new_message, opened


def main(data_dir: Path, synchronous: str) -> None:
    with opened(data_dir, StoreSettings(synchronous=synchronous)) as engine:
        messages = Messages(engine)
        os.write(1, b"begin\n")
        for _ in range(5):
            messages.enqueue([new_message()])
            os.write(1, b"acknowledged\n")

        async def send() -> None:
            for _ in range(5):
                await messages.enqueue_async([new_message()])
                os.write(1, b"acknowledged\n")

        asyncio.run(send())
        os.write(1, b"end\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
