"""leakwarden: a messaging service that cannot leak quietly, and the parts it is made of.

The names below are imported when they are first used, so that `import leakwarden`
costs nothing worth naming and the command line starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from leakwarden.version import __version__

if TYPE_CHECKING:
    from leakwarden.app import Warden
    from leakwarden.core.errors import ConfigError, LeakwardenError, LimitExceeded
    from leakwarden.managers.files import StaleHandle
    from leakwarden.settings import Settings

__all__ = [
    "ConfigError",
    "LeakwardenError",
    "LimitExceeded",
    "Settings",
    "StaleHandle",
    "Warden",
    "__version__",
]

_HOMES = {
    "ConfigError": "leakwarden.core.errors",
    "LeakwardenError": "leakwarden.core.errors",
    "LimitExceeded": "leakwarden.core.errors",
    "Settings": "leakwarden.settings",
    "StaleHandle": "leakwarden.managers.files",
    "Warden": "leakwarden.app",
}


def __getattr__(name: str) -> Any:
    """The public `name`, imported now."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
