"""Sessions on a desktop: who holds one, whether it works, and whether its worker still lives.

A session is kept here until it ends, although its ledger keeps nothing alive: its
worker is a process, and one whose session was merely dropped would go on for ever. So
it becomes stale instead, and a cleanup ends it by its `on_release`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from leakwarden.core.forked import call_in_forked_children
from leakwarden.core.lease import Lease
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import Cause, LeaseInfo, ResourceSettings, Usage
from leakwarden.managers.closing import Closer, OnRelease, refuse_eviction
from leakwarden.managers.stale import stale_handle


@final
class GuiSession:
    """One worker at one desktop. Inside a `with` it is active, else idle, and stale in the end."""

    lease: Lease

    def __init__(
        self,
        manager: GuiSessions,
        worker: Any,
        on_release: OnRelease | None,
        alive: Callable[[], bool],
    ) -> None:
        self.worker = worker
        self.alive = alive
        self._manager = manager
        self._on_release = on_release

    def touch(self) -> bool:
        """True while the session is live, and its time to live begins again; False once closed."""
        return self._manager.touch(self)

    def close(self) -> bool:
        """True where this call closed the session. The worker is its owner's to end."""
        return self._manager.end(self, "released")

    def end_worker(self) -> None:
        """What a cleanup runs: `on_release(worker)`, where one was given."""
        if self._on_release is not None:
            self._on_release(self.worker)

    def __enter__(self) -> GuiSession:
        self._manager.hold(self)
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class GuiSessions:
    """The sessions of one process, each with the worker that it stands for."""

    def __init__(self, settings: ResourceSettings, clock: Callable[[], float]) -> None:
        refuse_eviction("pyautogui_session", settings)
        self.ledger = Ledger("pyautogui_session", settings, on_release=self._end_worker)
        self._clock = clock
        self.closer = Closer(self.ledger, self._end_worker)
        self._start_empty()
        call_in_forked_children(self, GuiSessions._start_empty)

    def open(
        self,
        worker: Any,
        *,
        on_release: OnRelease | None = None,
        alive: Callable[[], bool] | None = None,
    ) -> GuiSession:
        """A session of `worker`; LimitExceeded at the limit.

        `on_release(worker)` ends the worker when a cleanup closes the session, and only then.
        `alive()` tells whether the worker lives; by default `worker.poll() is None`, as of a
        `subprocess.Popen`, and a worker without `poll` is taken to live.
        """
        if alive is None:
            poll = getattr(worker, "poll", None)
            alive = (lambda: True) if poll is None else (lambda: poll() is None)
        session = GuiSession(self, worker, on_release, alive)
        session.lease = self.ledger.acquire(session, self._clock(), frame_depth=2)
        self._sessions[session.lease.id] = session
        return session

    def touch(self, session: GuiSession) -> bool:
        """True while `session` is live; its time to live begins again. False once closed."""
        return self.ledger.touch(session.lease, self._clock())

    def hold(self, session: GuiSession) -> None:
        """Make `session` active until it is closed. StaleHandle once a cleanup closes it."""
        now = self._clock()
        if not self.ledger.pin(session.lease, now, +1):
            raise stale_handle(session.lease, self.ledger.kind, now)

    def end(self, session: GuiSession, cause: Cause) -> bool:
        """True where this call closed `session`; nothing is run."""
        self._sessions.pop(session.lease.id, None)
        return self.ledger.release(session.lease, cause)

    def reap(self) -> int:
        """How many sessions ended because their worker had died (cause `owner_died`).

        Nothing is run for them, in use or not. What an `alive` raises rises from here, after the
        others were looked at; its session is left to its time to live.
        """
        ended = 0
        failure: Exception | None = None
        for session in list(self._sessions.values()):
            try:
                dead = not session.alive()
            except Exception as error:  # noqa: BLE001 - one user's callback must not hide the rest
                failure = error
                continue
            ended += dead and self.end(session, "owner_died")
        if failure is not None:
            raise failure
        return ended

    def usage(self) -> Usage:
        """The numbers of now; O(1)."""
        return self.ledger.usage(self._clock())

    def leases(self, most: int = 100) -> list[LeaseInfo]:
        """At most `most` sessions, least recently touched first."""
        return self.ledger.leases(self._clock(), most)

    def close_stale(self, cause: Cause = "cleanup") -> int:
        """How many stale sessions were closed, each by its `on_release` on a thread of its own.

        One whose `on_release` raised or has not returned yet stays open.
        """
        return self.closer.close_stale(self._clock(), cause)

    def _start_empty(self) -> None:
        """Also in a forked child: the sessions, and their workers, are the parent's."""
        self._sessions: dict[int, GuiSession] = {}

    def _end_worker(self, session: GuiSession) -> None:
        session.end_worker()
        self._sessions.pop(session.lease.id, None)
