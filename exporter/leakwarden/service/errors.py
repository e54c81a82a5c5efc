"""What an error looks like over HTTP: one body, one table of statuses.

`{"error": {"code", "message", "hint"}}` is the whole of it. A caller reacts to
the code or the status; message and hint are for people. No answer carries a
traceback or the text of an exception that nobody wrote for a caller.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from time import monotonic

import msgspec
from starlette.responses import Response

from leakwarden.core.errors import LeakwardenError, LimitExceeded, Refused, Unavailable

# 400: not understood; 422: understood, and against a rule of messages. The default of Refused.
RULE_BROKEN = 422

STATUSES: Mapping[str, int] = {
    "bad_json": 400,
    "bad_query": 400,
    "bad_host": 400,
    "unauthorized": 401,
    "wrong_scope": 403,
    "foreign_host": 403,
    "foreign_origin": 403,
    "not_found": 404,
    "unknown_message": 404,
    "unknown_resource": 404,
    "method_not_allowed": 405,
    "illegal_move": 409,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "limit_exceeded": 429,
    "internal": 500,
    "unavailable": 503,
    "overloaded": 503,
    "not_ready": 503,
}

# A client at a limit may try again this soon: delivery empties a queue within moments.
LIMIT_RETRY_SECONDS = 1

_SAME_ERROR_EVERY_SECONDS = 60.0
_DIFFERENT_ERRORS_KEPT = 100

_logger = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


def error_response(
    code: str, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for `code`; a code that the table does not name broke a rule: 422."""
    body = _encode({"error": {"code": code, "message": message, "hint": hint}})
    status = STATUSES.get(code, RULE_BROKEN)
    return Response(body, status, headers, media_type="application/json")


def response_to(error: LeakwardenError) -> Response:
    """The answer to an error of leakwarden's own; 500 for one that is the operator's to mend."""
    if isinstance(error, Refused):
        return error_response(error.code, error.message, error.hint)
    if isinstance(error, LimitExceeded):
        retry = {"Retry-After": str(LIMIT_RETRY_SECONDS)}
        return error_response(error.code, error.message, error.hint, retry)
    if isinstance(error, Unavailable):
        retry = {"Retry-After": str(max(1, math.ceil(error.retry_after_seconds)))}
        return error_response(error.code, error.message, error.hint, retry)
    return error_response("internal", error.message, error.hint)


class UnexpectedErrors:
    """Logs exceptions that no table knows: each with its traceback once a minute, else counted.

    One error is one (type, place it was raised). `total` counts all of them.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.total = 0
        self._clock = clock
        self._logged_at: dict[tuple[str, str, int], float] = {}

    def response_to(self, error: Exception, what: str) -> Response:
        """The 500 for `error`, met while doing `what`: no word of it reaches a caller."""
        self.total += 1
        key = _place(error)
        now = self._clock()
        last = self._logged_at.get(key)
        if last is None or now - last >= _SAME_ERROR_EVERY_SECONDS:
            if len(self._logged_at) >= _DIFFERENT_ERRORS_KEPT:
                self._logged_at.clear()
            self._logged_at[key] = now
            _logger.error("http.failed what=%s total=%d", what, self.total, exc_info=error)
        return error_response(
            "internal", "the service met an error of its own", "the log of the service says more"
        )


def _place(error: Exception) -> tuple[str, str, int]:
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None:
        return type(error).__name__, "", 0
    return type(error).__name__, step.tb_frame.f_code.co_filename, step.tb_lineno
