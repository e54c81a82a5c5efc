"""Which Host and Origin a request may carry: the defence against DNS rebinding and foreign pages.

A page whose name an attacker points at 127.0.0.1 reaches this service from the
victim's browser, but with that name as Host. So a Host is answered only where it
is the address that the connection really came to, a name of loopback on a
loopback connection, or a name from `http.allowed_hosts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leakwarden.service.auth import is_loopback

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}

# A process has few addresses of its own; the bound holds whatever an ASGI server reports.
_LOCALS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Local:
    """One local address that connections come to: the Hosts answered there, and is it loopback."""

    hosts: frozenset[bytes]
    loopback: bool


class Hosts:
    """The allow-list, worked out once for each local address.

    `allowed` are further names; one without a port holds for any port.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = tuple(name.lower().encode() for name in allowed)
        self._locals: dict[tuple[Any, str], Local] = {}

    def local(self, scope: Any) -> Local:
        """What holds for the address that the connection of this ASGI scope came to."""
        key = scope.get("server"), scope.get("scheme", "http")
        known = self._locals.get(key)
        if known is None:
            if len(self._locals) >= _LOCALS_KEPT:
                self._locals.clear()
            known = self._locals[key] = _local(*key)
        return known

    def allows(self, local: Local, host: bytes) -> bool:
        """True where `host`, a Host header's value, may be answered at `local`."""
        if host in local.hosts:
            return True
        lower = host.lower()
        return (
            lower in local.hosts or lower in self._allowed or _without_port(lower) in self._allowed
        )


def same_origin(origin: bytes, host: bytes) -> bool:
    """True where `origin` is the service's own page; `null` and other ports are foreign."""
    scheme, separator, authority = origin.lower().partition(b"://")
    return scheme in (b"http", b"https") and bool(separator) and authority == host.lower()


def _local(server: tuple[str, int | None] | None, scheme: str) -> Local:
    """A server that reports no address (a Unix socket) has no Host but those of `allowed_hosts`."""
    if server is None:
        return Local(frozenset(), loopback=False)
    address, port = server
    literal = f"[{address}]" if ":" in address else address
    loopback = is_loopback(address)
    names = {literal.lower(), *(_LOOPBACK_NAMES if loopback else ())}
    hosts = {f"{name}:{port}" for name in names}
    if port == _DEFAULT_PORTS.get(scheme):
        hosts |= names
    return Local(frozenset(host.encode() for host in hosts), loopback)


def _without_port(host: bytes) -> bytes:
    name, separator, port = host.rpartition(b":")
    return name if separator and port.isdigit() else host
