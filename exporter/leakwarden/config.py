"""Settings from a YAML file, the environment and flags, or one ConfigError that says what to do.

Each value knows where it was written, so that an error names the line or the
variable. Flags win over the environment, the environment over the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from leakwarden.config_keys import (
    RESOURCES,
    SECTIONS,
    annotation_of,
    is_section,
    known_keys,
    unknown,
)
from leakwarden.config_values import Given, checked, from_text
from leakwarden.core.errors import ConfigError
from leakwarden.core.resource import ResourceSettings, check_kind
from leakwarden.settings import DEFAULT_RESOURCES, Settings

PREFIX = "LEAKWARDEN_"

_Made = TypeVar("_Made")


def load_settings(
    file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Settings:
    """The settings that hold: defaults, then `file`, then `environ`, then `overrides`.

    Of `environ`, variables named LEAKWARDEN_SECTION__KEY count (LEAKWARDEN_HTTP__LISTEN,
    LEAKWARDEN_RESOURCES__FILE_HANDLE__LIMIT). `overrides` are flags under dotted keys
    (`{"http.listen": "127.0.0.1:0"}`); None is a flag that was not given. ConfigError for the
    first key that does not exist, value of the wrong type, or value that a setting refuses.
    """
    given: dict[str, Given] = {}
    if file is not None:
        # Imported here, so that a start without a file does not pay for YAML.
        from leakwarden.config_file import read_settings_file  # noqa: PLC0415

        given.update(read_settings_file(file))
    given.update(_from_environment(environ))
    for key, value in overrides.items():
        if value is not None:
            given[key] = Given(value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    return _settings(dict(_checked_all(given)))


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the service keeps its store, inboxes and token when no flag says where.

    LEAKWARDEN_DATA_DIR, else `leakwarden` in the user's state directory: XDG_STATE_HOME where
    that is an absolute path (the XDG Base Directory specification asks to ignore any other), else
    ~/.local/state. ConfigError where the user has no home. Nothing is created.
    """
    if chosen := environ.get(f"{PREFIX}DATA_DIR"):
        return Path(chosen)
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        try:
            home = Path(environ.get("HOME") or Path.home())
        except RuntimeError as error:
            raise ConfigError(
                "this user has no home directory", "name a folder with --data-dir"
            ) from error
        state = home / ".local" / "state"
    return state / "leakwarden"


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Given]]:
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX):
            continue
        rest = variable[len(PREFIX) :].lower()
        if "__" in rest:
            key = rest.replace("__", ".")
            yield key, Given(from_text(annotation_of(key), text), variable)
            continue
        # Others share the prefix (LEAKWARDEN_URL, what Kubernetes sets for a Service of this
        # name), so only what would be a setting with one more underscore is a mistake.
        for known in known_keys():
            if rest == known.replace(".", "_"):
                meant = PREFIX + known.replace(".", "__").upper()
                raise ConfigError(f"{variable} is no setting", f"did you mean {meant}?")


def _checked_all(given: Mapping[str, Given]) -> Iterator[tuple[str, Given]]:
    for key, entry in given.items():
        annotation = annotation_of(key)
        if annotation is not None:
            yield key, Given(checked(key, annotation, entry), entry.where)
        elif not is_section(key):
            raise unknown(key, entry.where)
        elif entry.value is not None:
            raise ConfigError(
                f"{entry.where}: {key} is a section, not a value", f"write its keys below {key}:"
            )
        elif key.startswith(RESOURCES):
            yield key, entry


def _settings(given: Mapping[str, Given]) -> Settings:
    sections: dict[str, dict[str, Given]] = {name: {} for name in SECTIONS}
    for key, entry in given.items():
        section, _, name = key.rpartition(".")
        if section == "resources":  # a kind without a key: known, and bounded by nothing
            sections.setdefault(key, {})
        else:
            sections.setdefault(section, {})[name] = entry
    resources = dict(DEFAULT_RESOURCES)
    for section, entries in sections.items():
        if section.startswith(RESOURCES):
            kind = section[len(RESOURCES) :]
            resources[kind] = _made(partial(_resource, kind), entries, f"{section}: ")
    parts = {name: _made(of, sections[name]) for name, of in SECTIONS.items()}
    window = {f"detection_{name}": entry for name, entry in sections.get("detection", {}).items()}
    return _made(partial(Settings, resources=MappingProxyType(resources), **parts), window)


def _resource(kind: str, **changes: Any) -> ResourceSettings:
    return replace(DEFAULT_RESOURCES.get(check_kind(kind), ResourceSettings()), **changes)


def _made(make: Callable[..., _Made], entries: Mapping[str, Given], prefix: str = "") -> _Made:
    """`make` with the values of `entries`; what it refuses is said with the place it came from."""
    try:
        return make(**{name: entry.value for name, entry in entries.items()})
    except ConfigError as error:
        # The settings begin their sentences with the field; two fields at odds name the first.
        field = error.message.partition(" ")[0].rpartition(".")[2]
        entry = entries.get(field) or next(iter(entries.values()), None)
        where = "" if entry is None else f"{entry.where}: "
        raise ConfigError(f"{where}{prefix}{error.message}", error.hint) from error
