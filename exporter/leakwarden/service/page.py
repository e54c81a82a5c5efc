"""What goes out and comes in as JSON: bodies, query parameters, pages of a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leakwarden.core.errors import Refused
from leakwarden.core.resource import LeaseInfo
from leakwarden.messaging.agents import Agent

MOST_ITEMS = 1000
USUAL_ITEMS = 100

# SQLite's row numbers are signed 64-bit integers.
_HIGHEST_ROW = 2**63 - 1

_encode = msgspec.json.Encoder().encode

T = TypeVar("T")


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`value` as the JSON answer."""
    return Response(_encode(value), status, headers, media_type="application/json")


def page_of(items: Sequence[dict[str, Any]], following: int | None) -> Response:
    """One page; `following` is the cursor of the next, None after the last."""
    return json_response({"items": items, "next": following})


def decode(decoder: Callable[[bytes], T], body: bytes, fields: str) -> T:
    """`body` as the decoder's type; Refused `bad_json` says which field is wrong and how."""
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        raise Refused("bad_json", f"the body does not fit: {error}", fields) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_json", f"the body is not JSON: {error}", fields) from None


def query(request: Request, *known: str) -> dict[str, str]:
    """The query parameters by name; Refused `bad_query` for one unknown or given twice."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise Refused(
                "bad_query",
                f"there is no query parameter {name[:40]!r} here",
                f"use {', '.join(known)}" if known else "this route takes none",
            )
        if name in given:
            raise Refused("bad_query", f"query parameter {name!r} is given twice", "give it once")
        given[name] = value
    return given


def limit_of(given: Mapping[str, str]) -> int:
    """`limit`: how many items a page has at most, USUAL_ITEMS where it is not given."""
    return _number(given, "limit", USUAL_ITEMS, 1, MOST_ITEMS)


def after_of(given: Mapping[str, str]) -> int:
    """`after`: the row number after which a page begins, 0 where it is not given."""
    return _number(given, "after", 0, 0, _HIGHEST_ROW)


def agent_to_dict(agent: Agent, queued: int) -> dict[str, Any]:
    """One agent for `/v1/agents`; `queued` counts its messages that are not finished."""
    return {
        "id": agent.id,
        "state": "active" if agent.active else "inactive",
        "transport": "inbox",
        "queued": queued,
        "description": agent.description,
        "chat_input_coordinates": agent.chat_input_coordinates,
        "onboarding_coordinates": agent.onboarding_coordinates,
        "monitor": agent.monitor,
    }


def lease_to_dict(lease: LeaseInfo) -> dict[str, Any]:
    """One lease for `/v1/leases`: which, how old, and the site that acquired it."""
    return {
        "id": lease.id,
        "resource": lease.kind,
        "site": {"file": lease.file, "line": lease.line, "function": lease.function},
        "age_seconds": lease.age_seconds,
        "idle_seconds": lease.idle_seconds,
        "size_bytes": lease.size_bytes,
        "stale": lease.stale,
        "pinned": lease.pinned,
        "closing": lease.closing,
        "finalizer_proof": lease.finalizer_proof,
    }


def _number(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    # isdigit alone takes digits of other scripts; the length bound keeps int() cheap.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(most)) else -1
    if not least <= number <= most:
        raise Refused(
            "bad_query", f"{name} is {text[:40]!r}", f"{name} is a number from {least} to {most}"
        )
    return number
