"""What the user of a handle meets when a cleanup has closed it."""

from __future__ import annotations

from leakwarden.core.errors import LeakwardenError
from leakwarden.core.lease import Lease, describe


class StaleHandle(LeakwardenError):
    """A handle was used after leakwarden had closed it: nobody had used it for its time to live.

    `site` is FILE:LINE in FUNCTION of the call that acquired it, `age_seconds` its age when
    it was closed (or, where that is not known, when it was used again).
    """

    code = "stale_handle"

    def __init__(self, kind: str, site: str, age_seconds: float) -> None:
        super().__init__(
            f"this {kind} was idle and is closed, at the age of {age_seconds:.1f} s;"
            f" it was acquired at {site}",
            f"hold it in a with statement, or raise resources.{kind}.ttl_seconds in the settings",
        )
        self.kind = kind
        self.site = site
        self.age_seconds = age_seconds


def stale_handle(lease: Lease, kind: str, closed_at: float) -> StaleHandle:
    """The error for the holder of `lease`, closed at `closed_at` of its ledger's clock."""
    info = describe(lease, kind, closed_at, stale=True)
    return StaleHandle(kind, f"{info.file}:{info.line} in {info.function}", info.age_seconds)
