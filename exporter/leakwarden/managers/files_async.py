"""The same files for asyncio: opening, I/O and closing happen in a thread of the loop's executor.

A cancelled await loses nothing: an opening that was under way closes what it got, a
close that has begun is carried to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from typing import IO, Any, final

from leakwarden.managers.tracked_file import IO_CALLS, TrackedFile


@final
class AsyncFile:
    """A tracked file whose I/O calls and `close()` are awaited; the rest is as of the file."""

    def __init__(self, file: TrackedFile) -> None:
        self._file = file

    async def close(self) -> None:
        """Close in a thread and give back the lease; harmless where it is done already.

        Cancelled, it still closes: the future is no task, so that nothing cancels it at the end
        of the loop either.
        """
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(None, self._file.close))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        return partial(asyncio.to_thread, value) if name in IO_CALLS else value

    async def __aenter__(self) -> AsyncFile:
        self._file.__enter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncFile:
        return self

    async def __anext__(self) -> Any:
        line = await asyncio.to_thread(self._file.readline)
        if not line:
            raise StopAsyncIteration
        return line


class AsyncOpening:
    """A file that holds its lease and is about to be opened: enter it, or await it."""

    def __init__(self, file: TrackedFile, opener: Callable[[], IO[Any]]) -> None:
        self._opener = opener
        self._file = AsyncFile(file)
        self._tracked = file

    def __await__(self) -> Generator[Any, None, AsyncFile]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncFile:
        return await (await self._open()).__aenter__()

    async def __aexit__(self, *raised: object) -> None:
        await self._file.close()

    async def _open(self) -> AsyncFile:
        try:
            await asyncio.to_thread(self._tracked.open_with, self._opener)
        except BaseException:
            # Cancelled before the thread began, during the opening, or after it: close() knows.
            self._tracked.close()
            raise
        return self._file
