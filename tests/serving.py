"""A service on a free loopback port, put together by hand from real parts."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakwarden.core.resource import LeaseInfo, ResourceSettings, Usage
from leakwarden.messaging.agents import Agent
from leakwarden.messaging.message import Attempt, Message, NewMessage
from leakwarden.messaging.sending import Sender
from leakwarden.messaging.states import MessageState
from leakwarden.messaging.validator import Validator
from leakwarden.service.auth import Tokens
from leakwarden.service.context import Context
from leakwarden.service.http import build_app
from leakwarden.service.server import HttpServer
from leakwarden.settings import HttpSettings, Settings
from leakwarden.snapshot import Snapshot

TOKEN = "everything-0123456789"
METRICS_TOKEN = "metrics-0123456789"
ALERTS_TOKEN = "alerts-0123456789"

AGENTS = {
    "Agent-1": Agent("Agent-1", description="plans"),
    "Agent-2": Agent("Agent-2"),
    "Agent-3": Agent("Agent-3", active=False),
}

USAGE = Usage(
    kind="file_handle",
    settings=ResourceSettings(limit=500, ttl_seconds=300.0),
    in_use=1,
    bytes=0,
    stale=0,
    pinned=0,
    active=0,
    oldest_idle_seconds=None,
    opened_total=1,
    closed_total={"released": 0},
    rejected_total=0,
    release_failures_total=0,
    without_finalizer=0,
)

LEASE = LeaseInfo(
    id=7,
    kind="file_handle",
    file="inbox.py",
    line=12,
    function="deliver",
    age_seconds=3.0,
    idle_seconds=2.0,
    size_bytes=0,
    stale=False,
    pinned=False,
    closing=False,
    finalizer_proof=True,
)


class ListStore:
    """The store's calls over a list: what the HTTP layer needs of it, without a disk."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.error: Exception | None = None

    async def enqueue_async(self, messages: list[NewMessage]) -> None:
        if self.error is not None:
            raise self.error
        for new in messages:
            self.messages.append(
                Message(
                    id=new.id,
                    sender=new.sender,
                    recipient=new.recipient,
                    body=new.body,
                    type=new.type,
                    priority=new.priority,
                    accepted_at=new.accepted_at,
                    row=len(self.messages) + 1,
                    state=MessageState.QUEUED,
                    attempts=0,
                    due_at=new.accepted_at,
                )
            )

    def enqueue(self, messages: list[NewMessage]) -> None:
        raise NotImplementedError

    def get(self, message_id: str) -> Message | None:
        return next((one for one in self.messages if one.id == message_id), None)

    def attempts(self, message_id: str) -> list[Attempt]:
        return [Attempt(at=1.0, outcome="retry", reason="disk_full")]

    def page(
        self, *, to: str | None, state: MessageState | None, after: int, most: int
    ) -> list[Message]:
        found = [
            one
            for one in self.messages
            if one.row > after
            and (to is None or one.recipient == to)
            and (state is None or one.state is state)
        ]
        return found[:most]

    def queued_by_recipient(self) -> dict[str, int]:
        return {one.recipient: 1 for one in self.messages}


class OnePage:
    """An exporter with one page, that shows what it was asked for."""

    def page(self, accept, names, gzip) -> tuple[bytes, str, str | None]:
        text = f"# {accept} {','.join(names)} {gzip}\nup 1\n"
        return text.encode(), "text/plain; version=0.0.4; charset=utf-8", None


def write_tokens(directory: Path) -> Path:
    path = directory / "tokens"
    path.write_text(f"{TOKEN}\nmetrics {METRICS_TOKEN}\nalerts {ALERTS_TOKEN}\n")
    path.chmod(0o600)
    return path


def make_context(directory: Path, http: HttpSettings | None = None, **parts: Any) -> Context:
    """A Context on a list of messages; any part of it may be given."""
    store = parts.pop("store", ListStore())
    usual: dict[str, Any] = {
        "settings": Settings(http=http or HttpSettings(listen="127.0.0.1:0")),
        "agents": AGENTS,
        "sender": Sender(store, AGENTS, Validator(lambda record: None), time.time),
        "messages": store,
        "snapshot": lambda: Snapshot(
            at=1_764_000_000.0, instance_id="i-1", version="0", usages=(USAGE,)
        ),
        "leases": lambda kind, most: [LEASE][:most],
        "kinds": lambda: ("file_handle", "message_buffer"),
        "exporter": OnePage(),
        "tokens": Tokens(write_tokens(directory)),
        "ready": lambda: None,
        "version": "1.2.3",
        "instance_id": "i-1",
    }
    return Context(**{**usual, **parts})


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code, once its body is exactly what an error's body is."""
        error = self.json["error"]
        assert set(self.json) == {"error"}
        assert set(error) == {"code", "message", "hint"}
        return error["code"]


@dataclass(frozen=True)
class Running:
    """A service that answers on `port`."""

    host: str
    port: int
    server: HttpServer
    thread: threading.Thread

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """One request on a connection of its own; a dict body goes as JSON. None drops a header."""
        sent: dict[str, str | None] = {}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent.update(headers or {})
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            given = {name: value for name, value in sent.items() if value is not None}
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@contextmanager
def running(context: Context, app: Any = None, **server_options: Any) -> Iterator[Running]:
    """The service of `context` on a thread until the block ends."""
    server = HttpServer(
        app or build_app(context),
        context.settings.http,
        stopping=context.stopping,
        **server_options,
    )
    host, port = server.bind()
    listening = threading.Event()
    thread = threading.Thread(
        target=server.run, args=(listening.set,), name="test-server", daemon=True
    )
    thread.start()
    try:
        assert listening.wait(10), "the server did not come up"
        yield Running(host, port, server, thread)
    finally:
        server.stop()
        thread.join(20)
        context.readers.shutdown()
        assert not thread.is_alive()
