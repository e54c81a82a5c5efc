"""Which keys exist: read off the dataclasses of `settings.py`, with the type of each.

A key is dotted, `http.listen` or `resources.KIND.limit`, where KIND is the
user's to choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, get_type_hints

from leakwarden.core.errors import ConfigError
from leakwarden.core.resource import ResourceSettings
from leakwarden.settings import (
    DEFAULT_RESOURCES,
    CleanupSettings,
    HttpSettings,
    StoreSettings,
)

SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {"cleanup": CleanupSettings, "store": StoreSettings, "http": HttpSettings}
)
# The one section whose keys are fields of Settings itself.
_WINDOW = "detection.window_seconds"
RESOURCES = "resources."


def known_keys() -> list[str]:
    """Every dotted key that exists without a kind of the user's own."""
    resources = [
        f"{RESOURCES}{kind}.{name}"
        for kind in DEFAULT_RESOURCES
        for name in get_type_hints(ResourceSettings)
    ]
    sections = [
        f"{section}.{name}" for section, of in SECTIONS.items() for name in get_type_hints(of)
    ]
    return [*resources, *sections, _WINDOW]


def annotation_of(key: str) -> Any:
    """The type of the setting `key`; None where no setting is called so."""
    section, _, name = key.rpartition(".")
    if key == _WINDOW:
        return float
    if section in SECTIONS:
        return get_type_hints(SECTIONS[section]).get(name)
    if section.startswith(RESOURCES):
        return get_type_hints(ResourceSettings).get(name)
    return None


def is_section(key: str) -> bool:
    """True where keys stand below `key`: a section, or a kind of resource."""
    section = key.partition(".")[0]
    if section == "resources":
        return key.count(".") <= 1
    return key in SECTIONS or key == _WINDOW.partition(".")[0]


def unknown(key: str, where: str) -> ConfigError:
    """The error for a `key` that does not exist, with the nearest that does."""
    section, _, name = key.rpartition(".")
    known = known_keys()
    if section.startswith(RESOURCES):  # the kind is the user's to choose; the key is not
        known = [f"{section}.{field}" for field in get_type_hints(ResourceSettings)]
    below = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    by_name = below or {k.rpartition(".")[2]: k for k in known}
    if below or not (nearest := get_close_matches(key, known, n=1)):
        nearest = [by_name[match] for match in get_close_matches(name, by_name, n=1)]
    all_keys = ", ".join(below.values() or known)
    hint = f"did you mean {nearest[0]}?" if nearest else f"the keys are {all_keys}"
    return ConfigError(f"{where}: there is no setting {key}", hint)
