"""Delivery: a thread that takes what is due from the store and puts it into inboxes.

At least once, and never twice in an inbox: a message is acknowledged only after
its file is durable, and a file that already stands there is acknowledged without
being written again. So a crash at any point costs a repeat that changes nothing.
Agents that are not active are served too: a file waits for them.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Protocol

from leakwarden.core.errors import LimitExceeded, Refused, Unavailable
from leakwarden.core.histogram import Histogram
from leakwarden.messaging.formatter import Formatter
from leakwarden.messaging.inbox import Batch, Inbox, UnsafePath
from leakwarden.messaging.message import Message
from leakwarden.messaging.reasons import PERMANENT, REASONS
from leakwarden.messaging.store.messages import Depths, Failure
from leakwarden.snapshot import MessageSample

_log = logging.getLogger(__name__)

TRANSPORT = "inbox"

# 1, 4, 16, 64, 256, 300, 300 s: eight attempts within 16 minutes, which is time to free a disk.
MOST_ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 1.0
_PAUSE_FACTOR = 4.0
_LONGEST_PAUSE_SECONDS = 300.0

# An urgent message waits for at most the batch in hand; a batch is some tens of milliseconds.
_BATCH = 64
_LEASE_SECONDS = 60.0
# An idle service wakes at most once a second; it finds the pauses that are over.
_IDLE_SECONDS = 1.0

# One attempt: from a fast disk's two fsyncs to a hung one.
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Queue(Protocol):
    """What delivery needs of the store; another engine can stand here."""

    def claim(self, most: int, now: float, lease_seconds: float) -> list[Message]: ...  # noqa: D102

    def ack(self, ids: list[str], now: float, transport: str) -> None: ...  # noqa: D102

    def retry(self, failures: list[Failure], now: float) -> None: ...  # noqa: D102

    def depths(self) -> Depths: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one message of a batch: `reason` is None where it is in the inbox."""

    message: Message
    reason: str | None


class Delivery:
    """Delivers on its thread "leakwarden-delivery" between start() and stop().

    `agents` is who may be delivered to, None for anybody with a folder name for an id; `clock`
    gives Unix time in seconds. Whoever stores a message calls wake().
    """

    def __init__(
        self,
        messages: Queue,
        inbox: Inbox,
        formatter: Formatter,
        agents: Container[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._messages = messages
        self._inbox = inbox
        self._formatter = formatter
        self._agents = agents
        self._clock = clock
        self._bell = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._attempts = 0
        self._failures: Counter[str] = Counter()
        self._durations = Histogram(_BOUNDS)
        self._said: str | None = None

    def start(self) -> None:
        """Remove what a crash left half written, and deliver from now on. Twice is once."""
        if self._thread is not None:
            return
        removed = self._inbox.clean()
        if removed:
            _log.info("delivery.temporary_files_removed count=%d", removed)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="leakwarden-delivery", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch in hand and end the thread; what is queued stays queued."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping = True
        self._bell.set()
        thread.join()

    def wake(self) -> None:
        """There is something new: look now. Any thread; costs nothing where it is awake already."""
        if not self._bell.is_set():
            self._bell.set()

    def sample(self) -> MessageSample:
        """Attempts since this object was made, and the queue of now; Unavailable from the store."""
        depths = self._messages.depths()
        return MessageSample(
            attempts_total={TRANSPORT: self._attempts},
            failures_total={(TRANSPORT, reason): self._failures[reason] for reason in REASONS},
            duration_seconds={TRANSPORT: self._durations.sample()},
            queued={priority.label: count for priority, count in depths.by_priority.items()},
            oldest_queued_at=depths.oldest_queued_at,
        )

    def _run(self) -> None:
        while True:
            self._bell.clear()
            if self._stopping:
                return
            if not self._round():
                self._bell.wait(_IDLE_SECONDS)

    def _round(self) -> bool:
        """Deliver one batch. False where there was none, or the store could not give it."""
        try:
            batch = self._messages.claim(_BATCH, self._clock(), _LEASE_SECONDS)
            if not batch:
                return False
            self._settle(self._attempt(batch))
        except Unavailable as error:
            self._say("store_unavailable", error)
            # Nothing new can come while the store is away: do not let a ring shorten the wait.
            self._bell.clear()
            return self._stopping
        except Exception:  # noqa: BLE001
            # The edge of the loop: a fault here must not end delivery for good.
            _log.exception("delivery.round_failed")
            return False
        return True

    def _attempt(self, messages: list[Message]) -> list[_Outcome]:
        """Put `messages` into their inboxes, durable together, and count. Never raises."""
        batch = self._inbox.batch()
        tried = [
            (time.perf_counter(), message, self._stage(batch, message)) for message in messages
        ]
        failed = batch.publish()
        outcomes = []
        for started, message, staging_error in tried:
            error = staging_error or failed.get(message.id)
            self._durations.observe(time.perf_counter() - started)
            self._attempts += 1
            reason = None if error is None else _reason(error)
            if reason is None:
                self._said = None
            else:
                self._failures[reason] += 1
                self._say(reason, error)
            outcomes.append(_Outcome(message, reason))
        return outcomes

    def _stage(self, batch: Batch, message: Message) -> Exception | None:
        """Why the file of `message` could not be written; None where publishing is all it needs."""
        if self._agents is not None and message.recipient not in self._agents:
            return Refused("unknown_agent", f"there is no agent {message.recipient}")
        try:
            with self._formatter.format(message) as data:
                batch.stage(message, data)
        except Exception as error:  # noqa: BLE001 - turned into a reason, said and counted
            return error
        return None

    def _settle(self, outcomes: list[_Outcome]) -> None:
        """Tell the store what became of the batch, in one commit for each of the two ends."""
        now = self._clock()
        delivered = [outcome.message.id for outcome in outcomes if outcome.reason is None]
        failures = [
            Failure(outcome.message.id, outcome.reason, _due_at(outcome, now))
            for outcome in outcomes
            if outcome.reason is not None
        ]
        if delivered:
            self._until_stored(lambda: self._messages.ack(delivered, now, TRANSPORT))
        if failures:
            self._until_stored(lambda: self._messages.retry(failures, now))

    def _until_stored(self, call: Callable[[], None]) -> None:
        """Make `call`, again each second while the store is away.

        Given up where the service stops, or where a lease ran out meanwhile: the messages are
        then claimed again, found in the inbox, and acknowledged.
        """
        while True:
            try:
                call()
            except Refused as refused:
                self._say("lease_lost", refused)
            except Unavailable as error:
                self._say("store_unavailable", error)
                if not self._stopping:
                    self._bell.clear()
                    self._bell.wait(_IDLE_SECONDS)
                    continue
            return

    def _say(self, what: str, error: Exception | None) -> None:
        """Log a trouble once until it changes or ends; the counters count the rest."""
        if what != self._said:
            self._said = what
            _log.warning("delivery.failed reason=%s error=%s", what, error)


def _due_at(outcome: _Outcome, now: float) -> float | None:
    """When to try again; None for never."""
    attempts = outcome.message.attempts
    if outcome.reason in PERMANENT or attempts >= MOST_ATTEMPTS:
        return None
    pause = _FIRST_PAUSE_SECONDS * _PAUSE_FACTOR ** (attempts - 1)
    return now + min(pause, _LONGEST_PAUSE_SECONDS)


def _reason(error: Exception) -> str:
    """The one of REASONS that `error` stands for."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return "no_space" if full else "io"
    if isinstance(error, LimitExceeded):
        return _limit_reason(error)
    if isinstance(error, UnsafePath):
        return "unsafe_path"
    if isinstance(error, Refused):
        return "unknown_agent" if error.code == "unknown_agent" else "unformattable"
    return "internal"


def _limit_reason(error: LimitExceeded) -> str:
    if error.kind != "message_buffer":
        return "file_limit"
    alone = error.in_use == 0 or error.in_use > error.limit
    return "too_large" if error.unit == "bytes" and alone else "buffer_limit"
