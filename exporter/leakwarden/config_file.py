"""The settings file: YAML in, dotted keys with their values and lines out.

The tree of nodes is walked by hand, because a loader that builds plain
dictionaries forgets the lines and lets the second of two equal keys win
silently. Which keys exist is `config.py`'s to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from leakwarden.config_values import Given
from leakwarden.core.errors import ConfigError

# libyaml where the wheel has it: several times faster, the same answers.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MAPPING = "tag:yaml.org,2002:map"

# Sections hold keys; resources hold kinds, which hold keys.
_DEEPEST = {"resources": 2}


def read_settings_file(file: Path) -> dict[str, Given]:
    """Dotted key -> value and line, for each leaf of `file`; an empty file has none.

    A section that is empty is a leaf whose value is None. Anchors, aliases and merge keys are
    resolved. ConfigError where the file cannot be read, is no YAML, is no mapping, has a key
    twice, or a key that is no text.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"settings file {file} cannot be read: {error.strerror}",
            "name one that can, or leave --config out for the defaults",
        ) from error
    try:
        loader = _Loader(content)
        try:
            root = loader.get_single_node()
            leaves = {} if root is None else dict(_leaves(loader, root, (), file.name))
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError(_said(file, error), "mend the YAML there") from error
    except (ValueError, RecursionError) as error:
        # A number or date that Python cannot hold, or nesting without end.
        raise ConfigError(
            f"settings file {file} has a value that cannot be read: {error}", "write it plainly"
        ) from error
    return leaves


def _leaves(
    loader: Any, node: Any, path: tuple[str, ...], name: str
) -> Iterator[tuple[str, Given]]:
    deepest = _DEEPEST.get(path[0], 1) if path else 1
    if len(path) > deepest or node.tag != _MAPPING:
        value = loader.construct_object(node, deep=True)
        if not path and value is not None:
            raise ConfigError(
                f"{_place(name, node)}: the settings are {type(value).__name__}, not sections",
                "write sections with keys below them, as http: and below it listen:",
            )
        if path:
            yield ".".join(path), Given(value, _place(name, node))
        return
    if path and not node.value:
        yield ".".join(path), Given(None, _place(name, node))
    _refuse_doubles(node, path, name)
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or "." in key or not key.isprintable():
            raise ConfigError(
                f"{_place(name, key_node)}: {key_node.value!r:.80} is no key",
                "a key is a plain word, one level below its section",
            )
        yield from _leaves(loader, value_node, (*path, key), name)


def _refuse_doubles(node: Any, path: tuple[str, ...], name: str) -> None:
    first: dict[str, int] = {}
    for key_node, _ in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in first and key_node.tag != "tag:yaml.org,2002:merge":
            raise ConfigError(
                f"{_place(name, key_node)}: {'.'.join((*path, key)):.80} is written twice,"
                f" first in line {first[key]}",
                "keep one of them",
            )
        first[key] = line


def _place(name: str, node: Any) -> str:
    return f"{name} line {node.start_mark.line + 1}"


def _said(file: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        reason = getattr(error, "reason", None) or str(error).partition("\n")[0]
        return f"settings file {file} is no YAML: {reason}"
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"{file.name} line {mark.line + 1}, column {mark.column + 1}: {problem}"
