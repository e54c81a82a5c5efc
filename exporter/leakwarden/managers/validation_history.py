"""What the validator decided lately, bounded by number, age and bytes.

No text of a message is kept: a history that is shown to people must not be a second,
unguarded inbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from sys import getsizeof
from typing import Literal

from leakwarden.core.errors import LimitExceeded
from leakwarden.core.forked import call_in_forked_children
from leakwarden.core.lease import Lease
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import Cause, LeaseInfo, ResourceSettings, Usage
from leakwarden.managers.closing import forget_stale

Outcome = Literal["accepted", "refused"]


@dataclass(frozen=True)
class ValidationRecord:
    """One verdict. `at` is Unix time, `size_bytes` the size of the body that was judged.

    `code` names the rule that refused it, None where it was accepted.
    """

    # Not slots=True: until Python 3.11 that leaves no room for the ledger's weak reference.
    __slots__ = ("__weakref__", "at", "code", "outcome", "recipients", "sender", "size_bytes")

    at: float
    sender: str
    recipients: int
    outcome: Outcome
    code: str | None
    size_bytes: int


class ValidationHistory:
    """The newest records. Full is its normal state: the oldest makes room."""

    def __init__(self, settings: ResourceSettings, clock: Callable[[], float]) -> None:
        self.ledger = Ledger("validation_record", settings)
        self._clock = clock
        self._start_empty()
        call_in_forked_children(self, ValidationHistory._start_empty)

    def record(self, record: ValidationRecord) -> bool:
        """True where `record` is kept; False where it alone is over the limit.

        It never raises for the limit: a history must not stop the message that it tells of. The
        refusal is in the ledger's rejected_total.
        """
        try:
            lease = self.ledger.acquire(record, self._clock(), _footprint_bytes(record), 2)
        except LimitExceeded:
            return False
        self._records.append((lease, record))
        self._let_go()
        return True

    def recent(self, most: int = 100) -> list[ValidationRecord]:
        """At most `most` records, newest first; stale ones until they are swept."""
        newest = reversed(tuple(self._records))
        return list(islice((record for lease, record in newest if lease.open), most))

    def usage(self) -> Usage:
        """The numbers of now; O(1). Bytes are what the records take in memory."""
        return self.ledger.usage(self._clock())

    def leases(self, most: int = 100) -> list[LeaseInfo]:
        """At most `most` live records, oldest first."""
        return self.ledger.leases(self._clock(), most)

    def close_stale(self, cause: Cause = "expired") -> int:
        """How many records were let go because of their age."""
        closed = forget_stale(self.ledger, self._clock(), cause)
        self._let_go()
        return closed

    def _start_empty(self) -> None:
        """Also in a forked child: its ledger knows nothing of the parent's records."""
        # Oldest on the left, as in the ledger: records are never touched.
        self._records: deque[tuple[Lease, ValidationRecord]] = deque()

    def _let_go(self) -> None:
        """Drop what the ledger has closed; it closes the oldest first.

        No lock: each step is one atomic operation. Of threads that record at once one may stand
        before an older one; what is closed behind it goes when it does.
        """
        records = self._records
        while records:
            try:
                oldest = records[0]
                if oldest[0].open:
                    return
                records.remove(oldest)
            except (IndexError, ValueError):  # noqa: PERF203 - seldom
                continue  # another thread let it go


def _footprint_bytes(record: ValidationRecord) -> int:
    """What `record` takes in memory: itself and its strings, the small numbers left out."""
    return getsizeof(record) + getsizeof(record.sender) + getsizeof(record.code)
