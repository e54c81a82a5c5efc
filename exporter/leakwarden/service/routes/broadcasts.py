"""One body to several agents, in one transaction."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leakwarden.messaging.message import parse_priority
from leakwarden.messaging.sending import Draft
from leakwarden.service.context import Context
from leakwarden.service.page import decode, json_response

_FIELDS = "from and body are needed, to (a list of agents) and priority may be given"


class BroadcastBody(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={"sender": "from", "recipients": "to"},
):
    """The body of POST /v1/broadcasts."""

    sender: str
    body: str
    recipients: tuple[str, ...] | None = None
    priority: str = "normal"


_decode = msgspec.json.Decoder(BroadcastBody).decode


async def send(context: Context, _request: Request, body: bytes) -> Response:
    """202 with the ids, in the order of `to`, once all of them are committed."""
    asked = decode(_decode, body, _FIELDS)
    draft = Draft(
        sender=asked.sender,
        body=asked.body,
        recipients=asked.recipients,
        priority=parse_priority(asked.priority),
    )
    sent = await context.sender.broadcast_async(draft)
    answer: dict[str, Any] = {"ids": sent.ids}
    if sent.cleaned:
        answer["cleaned"] = sent.cleaned
    return json_response(answer, 202)
