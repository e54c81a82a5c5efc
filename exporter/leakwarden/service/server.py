"""Serves the app with uvicorn, under signals of our own.

uvicorn would take SIGTERM for itself and raise it again once it is done, so that
nothing after it (delivery, the writer) could close in order. Here the first
signal ends serving in good order and `run` returns to the caller, who stops the
rest; a second one ends the process at once. uvicorn's loop also wakes ten times
a second to look at a flag; this one wakes once a second, for the Date header and
for requests that take too long to arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from leakwarden.core.errors import ConfigError
from leakwarden.service.auth import split_listen
from leakwarden.service.connections import MOST_CONNECTIONS, Protocol, protocol_class
from leakwarden.settings import HttpSettings

# Prometheus scrapes at most once a minute by default and keeps its connection: nginx' 75 s
# outlive that, uvicorn's 5 s would cost a new connection for each scrape.
KEEP_ALIVE_SECONDS = 75

# From the first byte (or the connection) to the whole of a request; nginx gives 60 to each half.
ARRIVAL_SECONDS = 30.0

DRAIN_SECONDS = 10

_BACKLOG = 1024
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_SAME_WARNING_EVERY_SECONDS = 60.0

_SIGNALED = 128  # the shells' convention for an exit by a signal

_logger = logging.getLogger(__name__)


class HttpServer:
    """One listening service. `bind` first, then `run` on the main thread or any other.

    `stopping` is set at the first `stop`, before anything else ends. A request that is not
    answered within `drain_seconds` of it is cut off. `protocol` auto takes httptools where it is
    installed and else h11.
    """

    def __init__(
        self,
        app: Any,
        settings: HttpSettings,
        *,
        stopping: threading.Event | None = None,
        drain_seconds: int = DRAIN_SECONDS,
        arrival_seconds: float = ARRIVAL_SECONDS,
        protocol: Protocol = "auto",
    ) -> None:
        self._host, self._port = split_listen(settings.listen)
        self._sockets: list[socket.socket] = []
        config = uvicorn.Config(
            app,
            access_log=False,
            date_header=True,
            http=protocol_class(protocol),
            interface="asgi3",
            lifespan="off",
            limit_concurrency=MOST_CONNECTIONS + 1,  # never first: connections.py makes room
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=drain_seconds,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws="none",
        )
        self._server = _Server(config, stopping or threading.Event(), arrival_seconds)

    def bind(self) -> tuple[str, int]:
        """The host and port listened on: the port given, or a free one for 0.

        ConfigError where the address is in use or none of this machine.
        """
        try:
            self._sockets = listening_sockets(self._host, self._port)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"cannot listen on {self._host} port {self._port}: {reason}",
                "choose another with --listen HOST:PORT, or end what listens there",
            ) from error
        return self._host, self._sockets[0].getsockname()[1]

    def run(self, on_listening: Callable[[], None] | None = None) -> None:
        """Serve until `stop`, answer what was begun for at most the drain time, return.

        `on_listening` is called on this thread once requests are answered.
        """
        if not self._sockets:
            self.bind()
        self._server.on_listening = on_listening
        with _uvicorn_log():
            self._server.run(self._sockets)

    def stop(self) -> None:
        """End `run`: from any thread, from a signal handler, and as often as one likes."""
        self._server.ask_to_stop()


class _Server(uvicorn.Server):
    """uvicorn without its signals and its ten wakes a second."""

    def __init__(
        self, config: uvicorn.Config, stopping: threading.Event, arrival_seconds: float
    ) -> None:
        super().__init__(config)
        self._arrival_seconds = arrival_seconds
        self._late = 0
        self._late_said_at = -math.inf
        self.on_listening: Callable[[], None] | None = None
        self._stopping = stopping
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._arriving: dict[tuple[Any, ...], float] = {}

    def ask_to_stop(self) -> None:
        self._stopping.set()
        self.should_exit = True
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile: it has stopped
                loop.call_soon_threadsafe(self._wake.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self.on_listening is not None:
            self.on_listening()
        # Asked after the loop is known, so that no request to stop falls between.
        while not self.should_exit:
            await self.on_tick(0)
            self._close_late_arrivals(time.monotonic())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 1.0)

    def _close_late_arrivals(self, now: float) -> None:
        """Close connections on which one request has been arriving for `arrival_seconds`.

        uvicorn has a timeout between requests but none within one, so a client that sends a byte
        a minute would hold a connection for ever.
        """
        arriving: dict[tuple[Any, ...], float] = {}
        for connection in list(self.server_state.connections):
            key = _arriving_request(connection)
            if key is None:
                continue
            since = arriving[key] = self._arriving.get(key, now)
            if now - since >= self._arrival_seconds:
                self._late += 1
                connection.transport.close()
        self._arriving = arriving
        if self._late and now - self._late_said_at >= _SAME_WARNING_EVERY_SECONDS:
            _logger.info("http.arrivals_too_slow count=%d", self._late)
            self._late, self._late_said_at = 0, now


class StopSignals:
    """SIGTERM and SIGINT while `with` lasts: the first calls `on_first`, a second exits at once.

    SIGHUP changes nothing and is logged.

    Hold it until everything is closed, not only the server, so that the second signal works to
    the end. Main thread only. `received` is the first signal's number, None before it.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.received: int | None = None
        self._on_first = on_first
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:  # noqa: PYI034  (Self came with Python 3.11)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        if hasattr(signal, "SIGHUP"):
            # Asks for a reload by custom, and there is none yet: ending on it would be worse.
            self._before[signal.SIGHUP] = signal.signal(
                signal.SIGHUP, lambda *_: _logger.warning("signal.hangup_ignored")
            )
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(_SIGNALED + number)
        self.received = number
        self._on_first()


class _ToOurLog(logging.Handler):
    """uvicorn's warnings as events of ours, each sentence at most once a minute."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        said = str(record.msg)  # the format alone: uvicorn has few of them
        now = time.monotonic()
        if now - self._said_at.get(said, -math.inf) >= _SAME_WARNING_EVERY_SECONDS:
            self._said_at[said] = now
            _logger.log(
                record.levelno, "http.server said=%r", record.getMessage(), exc_info=record.exc_info
            )


@contextlib.contextmanager
def _uvicorn_log() -> Iterator[None]:
    """The logger of uvicorn speaks through ours while this lasts, and is as it was afterwards."""
    uvicorn_logger = logging.getLogger("uvicorn")
    handler, propagated = _ToOurLog(), uvicorn_logger.propagate
    uvicorn_logger.addHandler(handler)
    uvicorn_logger.propagate = False
    try:
        yield
    finally:
        uvicorn_logger.propagate = propagated
        uvicorn_logger.removeHandler(handler)


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of `host`, all on one port; OSError where one cannot be.

    A name such as localhost may have an IPv4 and an IPv6 address, and clients try either. An
    address of a family that this machine does not have is left out.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing = OSError(f"{host} has no address")
    for family, address in dict.fromkeys((info[0], info[4]) for info in found):
        shared_port = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listen(family, (address[0], shared_port, *address[2:])))
        except OSError as error:
            missing = error
            if error.errno not in _NOT_HERE:
                break
    else:
        if sockets:
            return sockets
    for opened in sockets:
        opened.close()
    raise missing


def _listen(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two services share one address
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _arriving_request(connection: Any) -> tuple[Any, ...] | None:
    """What identifies the request that is arriving on a connection of uvicorn; None without one.

    Both of its protocols have a `cycle` for each request whose headers are complete, and a timer
    where a connection waits for its next request.
    """
    cycle = connection.cycle
    if cycle is None or cycle.response_complete:
        idle = connection.timeout_keep_alive_task is not None
        return None if idle else (connection, cycle, "headers")
    return (connection, cycle, "body") if cycle.more_body else None
