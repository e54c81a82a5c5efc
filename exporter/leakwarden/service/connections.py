"""Bounds that uvicorn leaves open: how large the head of a request is, and how many are connected.

httptools takes headers without end, and uvicorn's own limit of connections answers
503 to whoever comes last, probes included. Here a head has a limit, and at the limit
of connections one on which nothing is being answered gives way to the new one.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from uvicorn.protocols.http.h11_impl import H11Protocol

# With the 500 file handles and the store this stays under the usual limit of 1,024 descriptors.
MOST_CONNECTIONS = 400

# Request line and headers together: h11's own default, and eight times nginx' and Apache's.
MOST_HEAD_BYTES = 65_536

_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)

Protocol = Literal["auto", "h11", "httptools"]


class BoundedH11(H11Protocol):
    """h11, which bounds the head by itself."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's, after there is room for it."""
        make_room(self.connections)
        super().connection_made(transport)


def protocol_class(protocol: Protocol) -> type[asyncio.Protocol]:
    """What speaks HTTP: with auto on httptools where it is installed, else on h11.

    ImportError where httptools is asked for and is not there.
    """
    if protocol == "h11":
        return BoundedH11
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415
    except ImportError:
        if protocol == "httptools":
            raise
        return BoundedH11

    class BoundedHttpTools(HttpToolsProtocol):
        """httptools, and a count of what it has taken of a head that is not complete."""

        _head_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            make_room(self.connections)
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            self._head_bytes += len(data)
            super().data_received(data)
            # Whatever completes or carries a body has set the count to 0 meanwhile.
            if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()

        def on_headers_complete(self) -> None:
            self._head_bytes = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._head_bytes = 0
            super().on_body(body)

    return BoundedHttpTools


def make_room(connections: set[Any]) -> None:
    """Close one connection that waits or is still asking, where there are MOST_CONNECTIONS.

    Where each is being answered, none is closed, and the guard's limit of calls decides.
    """
    if len(connections) < MOST_CONNECTIONS:
        return
    for connection in connections:
        cycle = connection.cycle
        if cycle is None or cycle.response_complete:
            connection.transport.abort()
            connections.discard(connection)  # it goes by itself too, but only in the next turn
            return
