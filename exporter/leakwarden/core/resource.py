"""The value types of the accounts: what a kind may hold, and what it holds now.

A kind is a class of resource (`file_handle`, `db_session`), a lease one live
resource of it. Everything here is frozen and carries its unit in its name.
Ages and idle times are in seconds of the monotonic clock that the owner of the
ledger was given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

from leakwarden.core.errors import ConfigError

Overflow = Literal["reject", "evict_oldest"]
Cause = Literal["released", "expired", "evicted", "cleanup", "finalizer", "owner_died"]

CAUSES: tuple[Cause, ...] = (
    "released",
    "expired",
    "evicted",
    "cleanup",
    "finalizer",
    "owner_died",
)

# Names of measured things: a finding may speak of them, a user's kind may not be called so.
RESERVED_KINDS = frozenset(
    {
        "heap",
        "descriptor",
        "socket",
        "thread",
        "asyncio_task",
        "child_process",
        "temporary_file",
        # Collectors of their own: a kind of the same name would give their series twice.
        "process",
        "messages",
        "store",
        "exporter",
    }
)

_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")


def check_kind(kind: str) -> str:
    """`kind` itself where it may name a ledger; ConfigError where it may not."""
    if not _KIND.fullmatch(kind):
        raise ConfigError(
            f"{kind!r} cannot name a kind",
            "use a lower-case letter and then at most 31 lower-case letters, digits or underscores",
        )
    if kind in RESERVED_KINDS:
        raise ConfigError(
            f"{kind!r} is reserved for what leakwarden measures itself", "choose another name"
        )
    return kind


@dataclass(frozen=True, slots=True)
class ResourceSettings:
    """What one kind may hold. None is "no such bound"; 0 is never "for ever".

    A lease is stale once `now - touched_at >= ttl_seconds`. `reject` raises LimitExceeded at
    the limit; `evict_oldest` closes the least recently touched lease instead, and is for kinds
    whose loss harms nobody.
    """

    limit: int | None = None
    ttl_seconds: float | None = None
    limit_bytes: int | None = None
    overflow: Overflow = "reject"

    def __post_init__(self) -> None:
        for name in ("limit", "ttl_seconds", "limit_bytes"):
            value = getattr(self, name)
            if value is None:
                continue
            types, what = (
                ((int, float), "seconds") if name == "ttl_seconds" else (int, "a whole number")
            )
            if not isinstance(value, types) or isinstance(value, bool) or not 0 < value < inf:
                raise ConfigError(
                    f"{name} is {value!r}",
                    f"{name} is {what}, above 0 and finite; leave it out for no bound",
                )
        if self.overflow not in ("reject", "evict_oldest"):
            raise ConfigError(
                f"overflow is {self.overflow!r}", "overflow is reject or evict_oldest"
            )
        if self.overflow == "evict_oldest" and self.limit is None and self.limit_bytes is None:
            raise ConfigError(
                "overflow is evict_oldest without a limit", "give limit or limit_bytes"
            )


@dataclass(frozen=True, slots=True)
class Usage:
    """The numbers of one ledger at one instant.

    `in_use` counts every live lease, those being closed included. `active` is how many are
    pinned now, at whatever age; `pinned` only those of them past their time to live, which are
    never stale. `oldest_idle_seconds` is the idle time of the least recently touched lease that
    is not pinned, None where there is none. The totals only rise.
    """

    kind: str
    settings: ResourceSettings
    in_use: int
    bytes: int
    stale: int
    pinned: int
    active: int
    oldest_idle_seconds: float | None
    opened_total: int
    closed_total: Mapping[Cause, int]
    rejected_total: int
    release_failures_total: int
    without_finalizer: int

    @property
    def bounded_by_eviction(self) -> bool:
        """True for a ring: full is its normal state, not a risk."""
        return self.settings.overflow == "evict_oldest"


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """One live lease for people: where it was acquired, how old, how long idle.

    `finalizer_proof` is False where the object allows no weak reference, so that its being
    dropped unreleased cannot be seen.
    """

    id: int
    kind: str
    file: str
    line: int
    function: str
    age_seconds: float
    idle_seconds: float
    size_bytes: int
    stale: bool
    pinned: bool
    closing: bool
    finalizer_proof: bool
