"""Everything true now, as JSON."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from leakwarden.service.context import Context
from leakwarden.service.page import json_response, query
from leakwarden.service.threads import in_thread
from leakwarden.snapshot import to_dict


async def now(context: Context, request: Request, _body: bytes) -> Response:
    """The snapshot of this instant. It names no site and no path, so it needs no token here."""
    query(request)

    def take() -> dict[str, Any]:
        return to_dict(context.snapshot())

    return json_response(await in_thread(context, take))
