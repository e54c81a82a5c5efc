"""One value of one setting: what type it must have, and what to say where it has another.

Types are read from the annotations of the settings' dataclasses, so a field added
there is checked here without a word.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any, Literal, get_args, get_origin

from leakwarden.core.errors import ConfigError

_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written, and where: `settings.yaml line 3`, a variable, or a flag."""

    value: object
    where: str


def checked(key: str, annotation: Any, given: Given) -> object:
    """The value of `given` as the setting `key` holds it: a whole number for a float made one,
    a list made a tuple.

    ConfigError names place, key, value and the type that is needed. None passes only where it
    stands for "no bound". A bool is no number, a number in quotes is text, and NaN and infinity
    are never meant. Ranges are the settings' own to check.
    """
    value = given.value
    base = _without_none(annotation)
    if value is None:
        if base is not annotation:
            return None
        raise ConfigError(
            f"{given.where}: {key} has no value",
            f"write {_words(base)}, or leave {key} out for its default",
        )
    if get_origin(base) is Literal:
        fits = isinstance(value, str) and value in get_args(base)
    elif get_origin(base) is tuple:
        fits = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    elif base is float:
        fits = _is_finite(value)
    else:
        fits = type(value) is base
    if not fits:
        raise ConfigError(
            f"{given.where}: {key} is {short(value)}, not {_words(base)}", _hint(base, value)
        )
    if base is float:
        return float(value)  # type: ignore[arg-type]  # _is_finite let numbers alone pass
    return tuple(value) if isinstance(value, list) else value


def from_text(annotation: Any, text: str) -> object:
    """`text` of a variable as a value for `checked`; text that fits no other type stays text.

    `null` is None where None is a value, a list is written with commas, true and false in any
    case. Text is never read as YAML: `[::1]:9877` is an address, not a list.
    """
    base = _without_none(annotation)
    word = text.strip().lower()
    if base is not annotation and word == "null":
        return None
    if get_origin(base) is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    if base is bool:
        return {"true": True, "false": False}.get(word, text)
    if base is int and _WHOLE_NUMBER.fullmatch(word):
        return int(word)
    if base is float:
        with suppress(ValueError):
            return float(word)
    return text


def _without_none(annotation: Any) -> Any:
    alternatives = [of for of in get_args(annotation) if of is not type(None)]
    return alternatives[0] if type(None) in get_args(annotation) else annotation


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _words(base: Any) -> str:
    if get_origin(base) is Literal:
        return " or ".join(get_args(base))
    if get_origin(base) is tuple:
        return "a list of texts"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
    return names[base]


def _hint(base: Any, value: object) -> str:
    if isinstance(value, str) and base in (int, float):
        number = from_text(base, value)
        if not isinstance(number, str) and _is_finite(number):
            return f"write {number:.15g} without quotes"
    if base is str and not isinstance(value, list | dict):
        return "put it in quotes"
    return f"write {_words(base)}"
