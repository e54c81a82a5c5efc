"""Who may be written to: the agents of a JSON file, in either of the two formats in the field.

    {"agents": {"Agent-1": {"active": true, "chat_input_coordinates": [-1269, 481],
                            "onboarding_coordinates": [-1265, 171], "description": ""}}}
    {"Agent-1": {"x": -1269, "y": 481, "monitor": 1, "status": "ACTIVE"}}

A field means the same in both, and fields that nobody here reads are left alone.
The file is the operator's, so all that is wrong with it is a ConfigError that
names the file, the agent and what to do. An id becomes the name of a folder, so
it is checked before it touches a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from leakwarden.core.errors import ConfigError, Refused
from leakwarden.messaging.store.datadir import write_whole

# What stands in the fields of 10,000 agents is under 2 MiB; more is another file by mistake.
_MOST_BYTES = 4 * 2**20

_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Device names of Windows, which it takes for the device with any extension too ("nul.txt").
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)

# Screens give 16 or 32 bit numbers; left of or above the main screen they are negative.
_COORDINATES = range(-(2**31), 2**31)

_MOST_SHOWN = 60

Point = tuple[int, int]

SAMPLE_AGENTS: Mapping[str, Any] = MappingProxyType(
    {
        "agents": {
            f"Agent-{number}": {
                "active": True,
                "chat_input_coordinates": [x, 481],
                "onboarding_coordinates": [x, 171],
                "description": description,
            }
            for number, x, description in (
                (1, -1269, "plans the work"),
                (2, -308, "writes the code"),
                (3, 652, "tests it"),
                (4, 1612, "writes the documentation"),
            )
        }
    }
)


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent. Coordinates are pixels (x, y); None where the file has none."""

    id: str
    active: bool = True
    chat_input_coordinates: Point | None = None
    onboarding_coordinates: Point | None = None
    monitor: int | None = None
    description: str = ""


def check_agent_id(text: str, field: str | None = None) -> str:
    """`text` itself where it may be an agent's id; Refused `invalid_agent_id` where it may not.

    Such an id is a safe folder name on every system: 1 to 64 letters, digits, dots, underscores
    and hyphens of ASCII, the first a letter or digit, the last no dot, and no device of Windows.
    """
    if _AGENT_ID.fullmatch(text) and text[-1] != "." and not _DEVICE.fullmatch(text):
        return text
    raise Refused(
        "invalid_agent_id",
        f"{_short(text)} cannot be the id of an agent",
        "use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit, not "
        "ending in '.', and not a device name of Windows such as NUL",
        field,
    )


def load_agents(path: Path) -> Mapping[str, Agent]:
    """The agents in `path` by id, in the file's order, at least one; else ConfigError."""
    found: dict[str, Agent] = {}
    spelled: dict[str, str] = {}
    for agent_id, fields in _entries(path).items():
        try:
            check_agent_id(agent_id)
        except Refused as refused:
            raise ConfigError(f"{path}: {refused.message}", refused.hint) from None
        other = spelled.setdefault(agent_id.lower(), agent_id)
        if other != agent_id:
            raise ConfigError(
                f"{path}: agents {other!r} and {agent_id!r} differ only in case",
                "rename one: where case does not count, both would be the same folder",
            )
        found[agent_id] = _agent(f"{path}: agent {agent_id!r}", agent_id, fields)
    if not found:
        raise ConfigError(f"{path} names no agent", "add at least one, as Agent-1")
    return MappingProxyType(found)


def write_sample(path: Path) -> bool:
    """True once the sample stands in `path`; False, and nothing changed, where something does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return False
        write_whole(path, json.dumps(dict(SAMPLE_AGENTS), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", "name an agents file with --agents"
        ) from error
    return True


def _entries(path: Path) -> dict[str, Any]:
    """What stands under each agent's id, unchecked."""
    twice: list[tuple[str, dict[str, Any]]] = []

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in pairs:
            if key in fields:
                twice.append((key, fields))
            fields[key] = value
        return fields

    try:
        top = json.loads(_text(path), object_pairs_hook=as_dict, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}", "correct it there") from None
    if not isinstance(top, dict):
        raise ConfigError(f"{path} holds {_short(top)}", 'write {"agents": {"Agent-1": {...}}}')
    entries = top.get("agents", top)
    if not isinstance(entries, dict):
        raise ConfigError(
            f"{path}: agents is {_short(entries)}", 'write {"agents": {"Agent-1": {...}}}'
        )
    if twice:
        key, fields = twice[0]
        owner = next((f"agent {one!r}: " for one, held in entries.items() if held is fields), "")
        raise ConfigError(f"{path}: {owner}{key!r} stands there twice", "leave one of them out")
    return entries


def _text(path: Path) -> str:
    """The file as text; ConfigError where it cannot be read as that."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there", "name the agents file with --agents") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a directory", "name the JSON file in it") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "make it readable") from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{path} has over {_MOST_BYTES} bytes", "name the agents file")
    if not data.strip():
        raise ConfigError(f"{path} is empty", 'write {"agents": {"Agent-1": {"active": true}}}')
    if data.startswith(b"\xef\xbb\xbf"):
        raise ConfigError(f"{path} begins with a byte order mark", "save it as UTF-8 without BOM")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}",
            "save it as UTF-8",
        ) from None


def _agent(where: str, agent_id: str, fields: Any) -> Agent:
    """The agent that `fields` describe; ConfigError that begins with `where`."""
    if not isinstance(fields, dict):
        raise ConfigError(f"{where} is {_short(fields)}", "an agent is an object of fields")

    def get(name: str, kind: type, default: Any, meant: str) -> Any:
        value = fields.get(name, default)
        if type(value) is not kind and value is not default:
            raise ConfigError(f"{where}: {name} is {_short(value)}", f"{name} is {meant}")
        return value

    def point(name: str) -> Point | None:
        value = fields.get(name)
        if value is None and name == "chat_input_coordinates" and {"x", "y"} & fields.keys():
            name, value = "[x, y]", [fields.get("x"), fields.get("y")]
        if value is None:
            return None
        if not isinstance(value, list) or [type(number) for number in value] != [int, int]:
            raise ConfigError(f"{where}: {name} is {_short(value)}", "give two whole numbers")
        if any(number not in _COORDINATES for number in value):
            raise ConfigError(f"{where}: {name} is {_short(value)}", "no screen reaches there")
        return value[0], value[1]

    active = get("active", bool, True, "true or false")
    status = get("status", str, "ACTIVE", "a word, ACTIVE for those who may be written to")
    description = get("description", str, "", "text")
    if not description.isascii() and re.search("[\ud800-\udfff]", description):
        raise ConfigError(f"{where}: description has half a character", "write it in UTF-8")
    return Agent(
        id=agent_id,
        active=active and status.upper() == "ACTIVE",
        chat_input_coordinates=point("chat_input_coordinates"),
        onboarding_coordinates=point("onboarding_coordinates"),
        monitor=get("monitor", int, None, "a whole number"),
        description=description,
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _short(value: Any) -> str:
    """`value` for a message, as JSON has it: at most 60 characters, and not what nests deeper."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        held = ["[...]" if isinstance(one, list) else _short(one) for one in value[:3]]
        return f"[{', '.join(held)}{', ...' if len(value) > len(held) else ''}]"
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."
