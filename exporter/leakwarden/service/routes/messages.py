"""Messages: taken, shown, listed."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leakwarden.core.errors import Refused
from leakwarden.messaging.message import (
    attempt_to_dict,
    message_to_dict,
    parse_priority,
    parse_type,
)
from leakwarden.messaging.sending import Draft
from leakwarden.messaging.states import MessageState
from leakwarden.service.context import Context
from leakwarden.service.page import after_of, decode, json_response, limit_of, page_of, query
from leakwarden.service.threads import in_thread

_FIELDS = "from, to and body are needed, priority and type may be given; each is a text"


class MessageBody(
    msgspec.Struct,
    forbid_unknown_fields=True,  # a misspelt "prority" must not pass as a normal message
    rename={"sender": "from", "recipient": "to"},
):
    """The body of POST /v1/messages."""

    sender: str
    recipient: str
    body: str
    priority: str = "normal"
    type: str = "text"


_decode = msgspec.json.Decoder(MessageBody).decode


async def send(context: Context, request: Request, body: bytes) -> Response:
    """202 with the id once the message is committed; `cleaned` names the rules that changed it."""
    asked = decode(_decode, body, _FIELDS)
    draft = Draft(
        sender=asked.sender,
        body=asked.body,
        recipients=(asked.recipient,),
        priority=parse_priority(asked.priority),
        type=parse_type(asked.type),
    )
    sent = await context.sender.send_async(draft)
    answer: dict[str, Any] = {"id": sent.id}
    if sent.cleaned:
        answer["cleaned"] = sent.cleaned
    where = f"{request.scope.get('root_path', '')}/v1/messages/{sent.id}"
    return json_response(answer, 202, {"Location": where})


async def one(context: Context, request: Request, _body: bytes) -> Response:
    """One message with its history; Refused `unknown_message`, also once it is past retention."""
    query(request)
    message_id: str = request.path_params["id"]

    def read() -> dict[str, Any] | None:
        message = context.messages.get(message_id)
        if message is None:
            return None
        history = [attempt_to_dict(attempt) for attempt in context.messages.attempts(message_id)]
        return {**message_to_dict(message), "history": history}

    found = await in_thread(context, read)
    if found is None:
        raise Refused(
            "unknown_message",
            f"there is no message {message_id[:64]!r}",
            "it was never accepted, or it finished and its retention is over",
        )
    return json_response(found)


async def listing(context: Context, request: Request, _body: bytes) -> Response:
    """Messages in the order of their rows, after row `after`, at most `limit`."""
    given = query(request, "to", "state", "after", "limit")
    most, after = limit_of(given), after_of(given)
    state = _state(given["state"]) if "state" in given else None
    # One more than the page tells whether another page follows.
    found = await in_thread(
        context,
        lambda: context.messages.page(to=given.get("to"), state=state, after=after, most=most + 1),
    )
    items = found[:most]
    following = items[-1].row if len(found) > most else None
    return page_of([message_to_dict(message) for message in items], following)


def _state(text: str) -> MessageState:
    try:
        return MessageState(text)
    except ValueError:
        raise Refused(
            "bad_query",
            f"state is {text[:40]!r}",
            f"use one of {', '.join(state.value for state in MessageState)}",
        ) from None
