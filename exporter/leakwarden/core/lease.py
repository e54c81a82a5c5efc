"""One live resource: a weak reference to it, and what its ledger knows of it.

The lease *is* the weak reference, so that an acquire makes one object and not two.
"""

from __future__ import annotations

import weakref
from types import CodeType
from typing import Any

from leakwarden.core.resource import LeaseInfo


class Lease(weakref.ref[Any]):
    """What `acquire` hands out and `release` takes back.

    `id` is unique within its ledger for as long as the process lives. `acquired_at` and
    `touched_at` are in the clock of the ledger's owner. `open` turns False when the lease is
    closed, by whomever; `closing` is True while a cleanup tries to close it. Only the ledger
    writes here.
    """

    __slots__ = (
        "acquired_at",
        "attempts",
        "booked",
        "closing",
        "code",
        "held",
        "id",
        "lasti",
        "moving",
        "open",
        "pins",
        "proof",
        "size_bytes",
        "touched_at",
    )

    id: int
    acquired_at: float
    touched_at: float
    size_bytes: int
    open: bool
    closing: bool
    # The ledger's own notes: whether a dropped object shows, and the object where it does not.
    proof: bool
    held: Any
    code: CodeType
    lasti: int
    pins: int
    attempts: int
    booked: bool
    moving: bool

    # Identity, not the referent's equality: a lease must neither call the user's __hash__ and
    # __eq__ nor be equal to a second lease of the same object.
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    def target(self) -> Any:
        """The leased object, or None: it died, or it allows no weak reference and is not held."""
        return self() if self.proof else self.held


def describe(lease: Lease, kind: str, now: float, *, stale: bool) -> LeaseInfo:
    """`lease` for people at `now`."""
    return LeaseInfo(
        id=lease.id,
        kind=kind,
        file=lease.code.co_filename,
        line=_line(lease.code, lease.lasti),
        function=getattr(lease.code, "co_qualname", lease.code.co_name),
        age_seconds=max(0.0, now - lease.acquired_at),
        idle_seconds=max(0.0, now - lease.touched_at),
        size_bytes=lease.size_bytes,
        stale=stale,
        pinned=lease.pins > 0,
        closing=lease.closing,
        finalizer_proof=lease.proof,
    )


def _line(code: CodeType, lasti: int) -> int:
    """The source line of the instruction at byte offset `lasti`."""
    for start, end, line in code.co_lines():
        if start <= lasti < end and line is not None:
            return line
    return code.co_firstlineno
