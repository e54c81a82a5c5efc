"""The HTTP surface: one table of routes, and one guard before each of them.

The guard is a pure ASGI layer, and the same for every route: Host and Origin,
then who may, then the body (size, media type), then the handler, whose errors
become answers here. The app is a Starlette router, so it serves alone or
mounted in an app of the user's. Only what stands in ROUTES exists; what a route
needs stands beside it, nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from leakwarden.core.errors import LeakwardenError
from leakwarden.service.auth import Scope, is_loopback, split_listen
from leakwarden.service.context import Context
from leakwarden.service.errors import UnexpectedErrors, error_response, response_to
from leakwarden.service.hosts import Hosts, Local, same_origin
from leakwarden.service.routes import (
    agents,
    broadcasts,
    landing,
    leases,
    messages,
    metrics,
    probes,
    snapshot,
)

Handler = Callable[[Context, Request, bytes], Awaitable[Response]]

# anyone: whoever connects. local: no token on loopback. token: always one.
Access = Literal["anyone", "local", "token"]

# Calls in their handlers at once, the probes apart. At 10,000 durable sends a second, 256 wait
# 25 ms; more would only wait longer.
MOST_CALLS = 256

_DROPPED_LIMITS = 64

# How often a wait for such a body looks whether the service stops.
_DROP_WAIT_SECONDS = 1.0

_JSON = b"application/json"

_SECURITY_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


@dataclass(frozen=True, slots=True)
class Verb:
    """One method of one route: its handler, who may call it, and the token scope that opens it."""

    handler: Handler
    access: Access
    scope: Scope = "everything"


ROUTES: Mapping[str, Mapping[str, Verb]] = {
    "/v1/messages": {
        "POST": Verb(messages.send, "token"),
        "GET": Verb(messages.listing, "token"),
    },
    "/metrics": {"GET": Verb(metrics.page, "local", "metrics")},
    "/-/healthy": {"GET": Verb(probes.healthy, "anyone")},
    "/-/ready": {"GET": Verb(probes.ready, "anyone")},
    "/v1/messages/{id}": {"GET": Verb(messages.one, "token")},
    "/v1/broadcasts": {"POST": Verb(broadcasts.send, "token")},
    "/v1/agents": {"GET": Verb(agents.listing, "token")},
    "/v1/snapshot": {"GET": Verb(snapshot.now, "local")},
    "/v1/leases": {"GET": Verb(leases.listing, "token")},
    "/": {"GET": Verb(landing.page, "local")},
}


@dataclass(slots=True)
class Shared:
    """What the guards of one app have in common. `calls` counts those in their handlers now."""

    context: Context
    hosts: Hosts
    loopback: bool
    unexpected: UnexpectedErrors
    calls: int = 0


class Guard:
    """The guard before one path, as an ASGI app. `verbs` is None for a path that is not there."""

    def __init__(self, shared: Shared, verbs: Mapping[str, Verb] | None) -> None:
        self._shared = shared
        self._limit = shared.context.settings.http.body_limit_bytes
        allow = sorted({*verbs, *(("HEAD",) if "GET" in verbs else ())}) if verbs else []
        self._allow = ", ".join(allow)
        self._verbs = dict(verbs or {})
        if "GET" in self._verbs:
            self._verbs["HEAD"] = self._verbs["GET"]

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request. Nothing is sent to a client that left while it was speaking."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000, "reason": "no such socket"})
            return
        try:
            response = await self._answer(scope, receive)
        except LeakwardenError as error:
            response = response_to(error)
        except Exception as error:  # noqa: BLE001  (the edge: it is logged and counted there)
            what = f"{scope['method']} {scope.get('route', self)}"
            response = self._shared.unexpected.response_to(error, what)
        if response is not None:
            response.raw_headers.extend(_SECURITY_HEADERS)
            await response(scope, receive, send)

    async def _answer(self, scope: AsgiScope, receive: Receive) -> Response | None:
        shared = self._shared
        headers = dict(scope["headers"])
        verb = self._admitted(scope, headers)
        if isinstance(verb, Response):
            if scope["method"] == "POST":
                await self._drop(headers, receive)
            return verb
        body = await self._body(headers, receive) if scope["method"] == "POST" else b""
        if not isinstance(body, bytes):
            return body
        if verb.access == "anyone":
            return await verb.handler(shared.context, Request(scope, receive), body)
        if shared.calls >= MOST_CALLS:
            return error_response(
                "overloaded",
                f"{MOST_CALLS} calls are being answered already",
                "send it again",
                {"Retry-After": "1"},
            )
        shared.calls += 1
        try:
            return await verb.handler(shared.context, Request(scope, receive), body)
        finally:
            shared.calls -= 1

    def _admitted(self, scope: AsgiScope, headers: Mapping[bytes, bytes]) -> Verb | Response:
        """What to call, or the answer to a request that may not come this far."""
        local = self._shared.hosts.local(scope)
        foreign = self._foreign(scope, headers, local)
        if foreign is not None:
            return foreign
        verb = self._verbs.get(scope["method"])
        if verb is None:
            return self._unauthorized(headers, local, "local") or self._nothing_here(scope)
        return self._unauthorized(headers, local, verb.access, verb.scope) or verb

    def _foreign(
        self, scope: AsgiScope, headers: Mapping[bytes, bytes], local: Local
    ) -> Response | None:
        host = headers.get(b"host")
        sent = scope["headers"]
        if host is None or (
            len(headers) != len(sent) and sum(name == b"host" for name, _ in sent) > 1
        ):
            return error_response("bad_host", "the request has not exactly one Host header")
        if not self._shared.hosts.allows(local, host):
            return error_response(
                "foreign_host",
                f"{host[:100].decode('ascii', 'replace')!r} is not a name of this service",
                "add it to http.allowed_hosts, or use the address that the service listens on",
            )
        origin = headers.get(b"origin")
        if origin is not None and not same_origin(origin, host):
            return error_response("foreign_origin", "pages of other sites may not call this")
        return None

    def _unauthorized(
        self,
        headers: Mapping[bytes, bytes],
        local: Local,
        access: Access,
        scope: Scope = "everything",
    ) -> Response | None:
        shared = self._shared
        if access == "anyone" or (access == "local" and shared.loopback and local.loopback):
            return None
        if scope == "metrics" and shared.context.settings.http.open_metrics:
            return None
        verdict = shared.context.tokens.check(headers.get(b"authorization"), scope)
        if verdict == "allowed":
            return None
        if verdict == "wrong_scope":
            return error_response(
                "wrong_scope",
                "this token does not open this route",
                "use a token for everything",
                {"WWW-Authenticate": 'Bearer realm="leakwarden", error="insufficient_scope"'},
            )
        challenge = 'Bearer realm="leakwarden"'
        return error_response(
            "unauthorized",
            "this route needs a token"
            if verdict == "missing"
            else "the token is not one of this service",
            "send Authorization: Bearer TOKEN; the token is in the file of --token-file, or in"
            " DATA_DIR/token",
            {
                "WWW-Authenticate": challenge
                if verdict == "missing"
                else f'{challenge}, error="invalid_token"'
            },
        )

    def _nothing_here(self, scope: AsgiScope) -> Response:
        if self._verbs:
            return error_response(
                "method_not_allowed",
                f"{scope['method'][:20]} is not possible here",
                f"use {self._allow}",
                {"Allow": self._allow},
            )
        return error_response("not_found", "there is no such route", "GET / lists what there is")

    async def _body(
        self, headers: Mapping[bytes, bytes], receive: Receive
    ) -> bytes | Response | None:
        """The whole body; an error's answer; or None where the client left before its end."""
        refused = self._unreadable(headers)
        if refused is not None:
            await self._drop(headers, receive)
            return refused
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            chunks, size = [body], len(body)
            while message.get("more_body", False) and size <= self._limit:
                message = await receive()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
            body = b"".join(chunks)
        if message["type"] != "http.request":
            return None
        if len(body) <= self._limit:
            return body
        if message.get("more_body", False):
            await self._drop(headers, receive)
        return self._too_large()

    def _unreadable(self, headers: Mapping[bytes, bytes]) -> Response | None:
        """The answer to a body that its headers already forbid."""
        kind = headers.get(b"content-type", b"")
        if kind != _JSON and kind.partition(b";")[0].strip().lower() != _JSON:
            return self._unsupported("a body is application/json", "set the Content-Type header")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            return self._unsupported("a compressed body is not taken", "send it as it is")
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._limit:
            return self._too_large()
        return None

    async def _drop(self, headers: Mapping[bytes, bytes], receive: Receive) -> None:
        """Read what is left of a refused body, so that a client that wants the connection closed
        gets to read the answer and not a reset; but only _DROPPED_LIMITS times the limit of it.
        """
        if b"expect" in headers:  # it waits for the answer before it sends the body
            return
        dropped = 0
        while dropped <= self._limit * _DROPPED_LIMITS:
            try:
                message = await asyncio.wait_for(receive(), _DROP_WAIT_SECONDS)
            except asyncio.TimeoutError:
                if self._shared.context.stopping.is_set():
                    return
                continue
            dropped += len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    def _unsupported(self, message: str, hint: str) -> Response:
        return error_response("unsupported_media_type", message, hint)

    def _too_large(self) -> Response:
        return error_response(
            "body_too_large",
            f"the body has more than {self._limit} bytes",
            "send less, or raise http.body_limit_bytes",
        )


def build_app(context: Context) -> Router:
    """The ASGI app of `context`: serve it, or mount it under a path of another app."""
    host, _ = split_listen(context.settings.http.listen)
    shared = Shared(
        context,
        Hosts(context.settings.http.allowed_hosts),
        is_loopback(host),
        UnexpectedErrors(),
    )
    routes = [Route(path, Guard(shared, verbs)) for path, verbs in ROUTES.items()]
    return Router(routes, redirect_slashes=False, default=Guard(shared, None))
