"""A byte budget for formatted messages, between formatting and delivery.

A buffer inside its `with` is in use and is never taken away. One that was lent and is
not in use yet is the first to go where a new one needs its room: that harms nobody, for
a message is formatted again from the store. Where all are in use, the new one is
refused. So a slow disk makes delivery wait; it does not make the process swell.
"""

from __future__ import annotations

from collections.abc import Callable

from leakwarden.core.forked import call_in_forked_children
from leakwarden.core.lease import Lease
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import Cause, LeaseInfo, ResourceSettings, Usage
from leakwarden.managers.closing import forget_stale
from leakwarden.managers.stale import stale_handle


class MessageBuffer:
    """The bytes of one message; entering it gives them. `data` is None once they are let go."""

    __slots__ = ("__weakref__", "_buffers", "data", "lease")

    lease: Lease

    def __init__(self, buffers: MessageBuffers, data: bytes) -> None:
        self.data: bytes | None = data
        self._buffers = buffers

    def close(self) -> bool:
        """True where this call gave the bytes back; False where they were let go already."""
        return self._buffers.give_back(self)

    def __enter__(self) -> bytes:
        return self._buffers.use(self)

    def __exit__(self, *raised: object) -> None:
        self.close()


class MessageBuffers:
    """The formatted messages of one process. They are held weakly: dropping one is seen."""

    def __init__(self, settings: ResourceSettings, clock: Callable[[], float]) -> None:
        self.ledger = Ledger("message_buffer", settings)
        self._clock = clock
        self._start_empty()
        call_in_forked_children(self, MessageBuffers._start_empty)

    def lend(self, data: bytes) -> MessageBuffer:
        """A buffer of `data`, for `with buffers.lend(data) as data:`.

        LimitExceeded (in bytes) where `data` alone is over the budget, and (in the unit that ran
        out) where every buffer is in use. O(buffers lent).
        """
        buffer = MessageBuffer(self, data)
        buffer.lease = self.ledger.acquire(buffer, self._clock(), len(data), 2)
        self._lent.add(buffer.lease)
        self._let_go()
        return buffer

    def use(self, buffer: MessageBuffer) -> bytes:
        """The bytes, in use until they are given back. StaleHandle where they are let go."""
        now = self._clock()
        data = buffer.data
        if data is None or not self.ledger.pin(buffer.lease, now, +1):
            raise stale_handle(buffer.lease, self.ledger.kind, now)
        return data

    def give_back(self, buffer: MessageBuffer) -> bool:
        """True where this call closed the buffer; False where it was closed already."""
        closed = self.ledger.release(buffer.lease)
        self._let_go()
        return closed

    def usage(self) -> Usage:
        """The numbers of now; O(1)."""
        return self.ledger.usage(self._clock())

    def leases(self, most: int = 100) -> list[LeaseInfo]:
        """At most `most` buffers, least recently touched first."""
        return self.ledger.leases(self._clock(), most)

    def close_stale(self, cause: Cause = "cleanup") -> int:
        """How many buffers that nobody used for their time to live were let go."""
        closed = forget_stale(self.ledger, self._clock(), cause)
        self._let_go()
        return closed

    def _start_empty(self) -> None:
        """Also in a forked child: what the parent lent is not in its accounts."""
        self._lent: set[Lease] = set()

    def _let_go(self) -> None:
        """Free the bytes of what the ledger has closed, whoever still holds the buffer.

        No lock: each step is one atomic operation, and letting go twice is harmless.
        """
        for lease in [lease for lease in tuple(self._lent) if not lease.open]:
            self._lent.discard(lease)
            buffer = lease.target()
            if buffer is not None:
                buffer.data = None
