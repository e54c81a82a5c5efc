"""What is held, lease by lease, with the site that acquired it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from leakwarden.core.errors import Refused
from leakwarden.service.context import Context
from leakwarden.service.page import lease_to_dict, limit_of, page_of, query
from leakwarden.service.threads import in_thread


async def listing(context: Context, request: Request, _body: bytes) -> Response:
    """At most `limit` leases of `resource`, or of every kind, least recently touched first.

    There is no next page: what is held changes under a cursor, and the oldest are what matters.
    """
    given = query(request, "resource", "limit")
    kind = given.get("resource")
    most = limit_of(given)
    if kind is not None and kind not in context.kinds():
        raise Refused(
            "unknown_resource",
            f"there is no resource {kind[:40]!r}",
            f"use one of {', '.join(context.kinds())}",
        )
    found = await in_thread(context, context.leases, kind, most)
    return page_of([lease_to_dict(lease) for lease in found], None)
