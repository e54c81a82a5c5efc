"""Times for people and JSON, as RFC 3339 has them."""

from __future__ import annotations

from datetime import datetime, timezone


def rfc3339(unix_seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond (cut, not rounded): 2026-11-25T09:30:00.125Z."""
    moment = datetime.fromtimestamp(unix_seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
