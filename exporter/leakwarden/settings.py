"""Every setting with its default and the reason for it. Plain frozen values, standard library only.

Units are in the names. Reading files, environment and flags, and naming unknown
keys, is `config.py`'s work; what stands here is already checked and typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from leakwarden.core.errors import ConfigError
from leakwarden.core.resource import ResourceSettings

Synchronous = Literal["full", "normal"]

DEFAULT_RESOURCES: Mapping[str, ResourceSettings] = MappingProxyType(
    {
        # Half of the usual soft limit of 1,024 descriptors, so that sockets and libraries fit too.
        "file_handle": ResourceSettings(limit=500, ttl_seconds=300.0),
        # A desktop has one pointer; ten sessions are already a queue.
        "pyautogui_session": ResourceSettings(limit=10, ttl_seconds=120.0),
        # Rings: their loss harms nobody, so they bound themselves by eviction.
        "validation_record": ResourceSettings(
            limit=1000, ttl_seconds=3600.0, limit_bytes=4 * 2**20, overflow="evict_oldest"
        ),
        "message_buffer": ResourceSettings(
            limit=256, ttl_seconds=600.0, limit_bytes=64 * 2**20, overflow="evict_oldest"
        ),
    }
)


_HIGHEST_PORT = 65_535


def _positive(section: str, name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{section}.{name} is {value!r}", f"{section}.{name} is above 0")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The SQLite store.

    `synchronous` full: an accepted message survives power loss, at one fdatasync a commit.
    normal: it survives a killed process, but a power cut can lose the last commits that were
    answered 202. `retain_seconds`: how long finished rows are kept (a week, so that Monday's
    question about Friday has an answer).
    """

    synchronous: Synchronous = "full"
    retain_seconds: float = 604_800.0

    def __post_init__(self) -> None:
        if self.synchronous not in ("full", "normal"):
            raise ConfigError(
                f"store.synchronous is {self.synchronous!r}", "store.synchronous is full or normal"
            )
        _positive("store", "retain_seconds", self.retain_seconds)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP service.

    `listen` is HOST:PORT, an IPv6 host in brackets; port 0 takes a free one. `allowed_hosts` are
    further Host names that are answered besides the address listened on. `body_limit_bytes`
    bounds a request body (1 MiB holds a broadcast of the longest message to 100 agents).
    """

    listen: str = "127.0.0.1:9877"
    open_metrics: bool = False
    allowed_hosts: tuple[str, ...] = ()
    body_limit_bytes: int = 1_048_576

    def __post_init__(self) -> None:
        host, separator, port = self.listen.rpartition(":")
        if not separator or not host or not port.isascii() or not port.isdigit():
            raise ConfigError(
                f"http.listen is {self.listen!r}", "http.listen is HOST:PORT, as 127.0.0.1:9877"
            )
        if int(port) > _HIGHEST_PORT:
            raise ConfigError(f"http.listen has port {port}", f"a port is at most {_HIGHEST_PORT}")
        _positive("http", "body_limit_bytes", self.body_limit_bytes)


@dataclass(frozen=True, slots=True)
class CleanupSettings:
    """The scheduled sweep: at start and then each `interval_seconds`."""

    interval_seconds: float = 300.0

    def __post_init__(self) -> None:
        _positive("cleanup", "interval_seconds", self.interval_seconds)


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole tree. `resources` holds every kind, leakwarden's own and the user's.

    `detection_window_seconds` is the one time scale of detection; the warm-up of the heap
    baseline is the smaller of 300 s and half of it.
    """

    resources: Mapping[str, ResourceSettings] = field(default_factory=lambda: DEFAULT_RESOURCES)
    cleanup: CleanupSettings = field(default_factory=CleanupSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    detection_window_seconds: float = 1800.0

    def __post_init__(self) -> None:
        _positive("detection", "window_seconds", self.detection_window_seconds)
        missing = DEFAULT_RESOURCES.keys() - self.resources.keys()
        if missing:
            merged = {**{kind: DEFAULT_RESOURCES[kind] for kind in missing}, **self.resources}
            object.__setattr__(self, "resources", MappingProxyType(merged))
