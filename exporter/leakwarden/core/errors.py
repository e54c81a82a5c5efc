"""The one family of errors, split by who must act.

Each carries what a caller needs to react without parsing the sentence: `code`
is stable and machine-readable (it is the `error.code` of an HTTP answer), the
message says what is wrong, `hint` what to do. Nothing here knows of HTTP; the
service maps codes to statuses in one table.
"""

from __future__ import annotations


class LeakwardenError(Exception):
    """Something leakwarden refuses or cannot do; the base of all its errors."""

    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class LimitExceeded(LeakwardenError):
    """A kind is at its limit: the caller must release something, or wait.

    `in_use` and `limit` are in `unit` ("leases" or "bytes"), read at the refusal.
    """

    code = "limit_exceeded"

    def __init__(self, kind: str, in_use: int, limit: int, unit: str = "leases") -> None:
        super().__init__(
            f"{kind} is at its limit: {in_use} of {limit} {unit} in use",
            f"release what is no longer used, or raise resources.{kind} in the settings",
        )
        self.kind = kind
        self.in_use = in_use
        self.limit = limit
        self.unit = unit


class Refused(LeakwardenError):
    """What the caller sent cannot be accepted, and sending it again will not help.

    `code` says which rule refused it (`unknown_agent`, `empty_body`, `illegal_move`, ...);
    `field` names the offending part of the input, or is None where it is the whole.
    """

    def __init__(self, code: str, message: str, hint: str = "", field: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = code
        self.field = field


class ConfigError(LeakwardenError):
    """A setting, a file that settings name, or the environment is wrong: the operator must act."""

    code = "config_error"


class Unavailable(LeakwardenError):
    """Trouble of our own that passes: the same call may succeed after `retry_after_seconds`."""

    code = "unavailable"

    def __init__(self, message: str, hint: str = "", retry_after_seconds: float = 1.0) -> None:
        super().__init__(message, hint)
        self.retry_after_seconds = retry_after_seconds
