"""A kind of the user's own: one ledger, and how its objects are ended when they go stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from leakwarden.core.lease import Lease
from leakwarden.core.ledger import Ledger
from leakwarden.core.resource import Cause, LeaseInfo, ResourceSettings, Usage
from leakwarden.managers.closing import Closer, OnRelease, forget_stale
from leakwarden.managers.stale import stale_handle

T = TypeVar("T")


class _Held(Generic[T]):
    """A lease for a `with`: in use inside it, released at its end.

    Entering it raises StaleHandle where a cleanup has closed it meanwhile, or is about to.
    """

    __slots__ = ("_lease", "_obj", "_pool")

    def __init__(self, pool: Pool, lease: Lease, obj: T) -> None:
        self._pool = pool
        self._lease = lease
        self._obj = obj

    def __enter__(self) -> T:
        pool = self._pool
        if not pool.pin(self._lease):
            raise stale_handle(self._lease, pool.ledger.kind, pool._clock())  # noqa: SLF001 - ours
        return self._obj

    def __exit__(self, *raised: object) -> None:
        self._pool.release(self._lease)


class Pool:
    """The live objects of one kind. They are held weakly: dropping one unreleased is seen.

    `on_release(object)` runs only when leakwarden closes a lease, never on `release()`, on a
    thread of its own. An object that allows no weak reference is held where there is an
    `on_release`; without one, its being dropped cannot be seen.
    """

    def __init__(
        self,
        kind: str,
        settings: ResourceSettings,
        clock: Callable[[], float],
        on_release: OnRelease | None = None,
    ) -> None:
        self.ledger = Ledger(kind, settings, on_release=on_release)
        self._clock = clock
        self.closer = None if on_release is None else Closer(self.ledger, on_release)

    # size_bytes is not keyword-only: that alone costs 30 ns of 630.
    def acquire(self, obj: Any, size_bytes: int = 0) -> Lease:
        """The lease of `obj`, its site the caller's line. LimitExceeded at the limit."""
        return self.ledger.acquire(obj, self._clock(), size_bytes, 2)

    def touch(self, lease: Lease) -> bool:
        """True where the lease is live, and its time to live begins again; False once closed."""
        return self.ledger.touch(lease, self._clock())

    def pin(self, lease: Lease) -> bool:
        """True where the lease is live, and in use (never stale) until it is released."""
        return self.ledger.pin(lease, self._clock(), +1)

    def release(self, lease: Lease) -> bool:
        """True where this call closed the lease; False where it was closed already."""
        return self.ledger.release(lease)

    def lease(self, obj: T, size_bytes: int = 0) -> _Held[T]:
        """What a `with` enters to have `obj`: leased from now, in use inside, released at the end.

        The lease is taken by the call itself, so that its site is the caller's line under an
        ExitStack too. LimitExceeded at the limit.
        """
        return _Held(self, self.ledger.acquire(obj, self._clock(), size_bytes, 2), obj)

    def usage(self) -> Usage:
        """The numbers of now; O(1)."""
        return self.ledger.usage(self._clock())

    def leases(self, most: int = 100) -> list[LeaseInfo]:
        """At most `most` live leases, least recently touched first."""
        return self.ledger.leases(self._clock(), most)

    def close_stale(self, cause: Cause = "cleanup") -> int:
        """How many stale leases were closed. One whose `on_release` raised or hangs stays open."""
        if self.closer is None:
            return forget_stale(self.ledger, self._clock(), cause)
        return self.closer.close_stale(self._clock(), cause)
