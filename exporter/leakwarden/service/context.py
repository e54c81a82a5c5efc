"""What the routes need, as one frozen value: they reach nothing else.

The composition root fills it, a test by hand. What is called from routes on the
event loop is async or quick; the reads of the store and the leases may wait for
a disk or a lock, so the routes call those in a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from leakwarden.core.resource import LeaseInfo
from leakwarden.messaging.agents import Agent
from leakwarden.messaging.message import Attempt, Message
from leakwarden.messaging.sending import Draft, Sent
from leakwarden.messaging.states import MessageState
from leakwarden.service.auth import Tokens
from leakwarden.settings import Settings
from leakwarden.snapshot import Snapshot

# Reads that wait for a disk at once; more would only queue at the disk.
_READERS = 4
_READER_NAME = "leakwarden-reader"


class Sending(Protocol):
    """What takes messages: each awaits the commit, or raises Refused or Unavailable."""

    def send_async(self, draft: Draft) -> Awaitable[Sent]: ...  # noqa: D102

    def broadcast_async(self, draft: Draft) -> Awaitable[Sent]: ...  # noqa: D102


class Reading(Protocol):
    """What is read of the store; each call may wait for the disk."""

    def get(self, message_id: str) -> Message | None: ...  # noqa: D102

    def attempts(self, message_id: str) -> Sequence[Attempt]: ...  # noqa: D102

    def page(  # noqa: D102
        self, to: str | None, state: MessageState | None, after: int, most: int
    ) -> Sequence[Message]: ...

    def queued_by_recipient(self) -> Mapping[str, int]: ...  # noqa: D102


class Paging(Protocol):
    """What renders the metrics: body, Content-Type, Content-Encoding or None."""

    def page(  # noqa: D102
        self,
        accept: str,
        names: Sequence[str],
        gzip: bool,  # noqa: FBT001
    ) -> tuple[bytes, str, str | None]: ...


@dataclass(frozen=True, slots=True)
class Context:
    """`leases(kind, most)` gives the least recently touched first, of every kind where it is None.

    `ready()` is None, or one sentence why the service is not ready. `stopping` is set by the
    server at the first signal to stop; readiness then fails whatever `ready()` says. `readers`
    has no thread before the first read; whoever ends the service shuts it down.
    """

    settings: Settings
    agents: Mapping[str, Agent]
    sender: Sending
    messages: Reading
    snapshot: Callable[[], Snapshot]
    leases: Callable[[str | None, int], Sequence[LeaseInfo]]
    kinds: Callable[[], Sequence[str]]
    exporter: Paging
    tokens: Tokens
    ready: Callable[[], str | None]
    version: str
    instance_id: str
    stopping: threading.Event = field(default_factory=threading.Event)
    readers: Executor = field(default_factory=lambda: ThreadPoolExecutor(_READERS, _READER_NAME))
