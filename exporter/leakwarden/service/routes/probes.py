"""Whether the process lives, and whether it can do its work now."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from leakwarden.service.context import Context
from leakwarden.service.errors import error_response


async def healthy(_context: Context, _request: Request, _body: bytes) -> Response:
    """200 while the event loop turns: trouble that a restart does not mend never shows here."""
    return PlainTextResponse("healthy\n")


async def ready(context: Context, _request: Request, _body: bytes) -> Response:
    """200, or 503 with the reason: stopping, or a store that cannot commit."""
    reason = "the service is stopping" if context.stopping.is_set() else context.ready()
    if reason is None:
        return PlainTextResponse("ready\n")
    return error_response("not_ready", reason, headers={"Retry-After": "1"})
