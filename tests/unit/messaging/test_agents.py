"""The agents file: both formats, and one clear error for each way in which it can be wrong."""

from __future__ import annotations

import json

import pytest

from leakwarden.core.errors import ConfigError, Refused
from leakwarden.messaging.agents import (
    SAMPLE_AGENTS,
    Agent,
    check_agent_id,
    load_agents,
    write_sample,
)


@pytest.fixture
def load(tmp_path):
    """Loads agents from what is given: bytes as they are, anything else as JSON."""

    def load_it(content):
        path = tmp_path / "agents.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return load_agents(path)

    return load_it


def test_the_nested_format_is_read(load):
    agents = load(
        {
            "agents": {
                "Agent-1": {
                    "active": True,
                    "chat_input_coordinates": [-1269, 481],
                    "onboarding_coordinates": [-1265, 171],
                    "description": "plans",
                },
                "Agent-2": {"active": False},
            }
        }
    )
    assert list(agents) == ["Agent-1", "Agent-2"]
    assert agents["Agent-1"] == Agent(
        id="Agent-1",
        active=True,
        chat_input_coordinates=(-1269, 481),
        onboarding_coordinates=(-1265, 171),
        description="plans",
    )
    assert agents["Agent-2"] == Agent("Agent-2", active=False)


def test_the_flat_format_is_read(load):
    agents = load({"Agent-1": {"x": -1, "y": 2, "monitor": 1, "status": "ACTIVE"}})
    assert agents["Agent-1"] == Agent("Agent-1", chat_input_coordinates=(-1, 2), monitor=1)


@pytest.mark.parametrize(
    ("status", "active"),
    [("ACTIVE", True), ("active", True), ("Active", True), ("PAUSED", False), ("", False)],
)
def test_an_agent_is_active_exactly_where_its_status_says_active_in_any_case(load, status, active):
    assert load({"Agent-1": {"status": status}})["Agent-1"].active is active


def test_fields_that_nobody_reads_are_left_alone(load):
    agents = load({"version": 2, "agents": {"Agent-1": {"role": ["any", {"thing": None}]}}})
    assert agents["Agent-1"] == Agent("Agent-1")


def test_the_agents_cannot_be_changed(load):
    with pytest.raises(TypeError):
        load({"Agent-1": {}})["Agent-2"] = Agent("Agent-2")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"Agent-1": {"description": "\xff"}}', "not UTF-8: byte 29 is 0xff"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"Agent-1": {"x": NaN, "y": 1}}', "NaN is no number"),
        (b'{"Agent-1": {"x": -Infinity, "y": 1}}', "-Infinity is no number"),
        (b'{"Agent-1": {"x": 1' + b"0" * 5000 + b', "y": 1}}', "is not JSON"),
        (b'{"Agent-1": {}, "Agent-1": {}}', "'Agent-1' stands there twice"),
        (b'{"agents": {"A": {}}, "agents": {"B": {}}}', "'agents' stands there twice"),
        (b'{"A": {"x": 1, "y": 1, "x": 2}}', "agent 'A': 'x' stands there twice"),
        ([1, 2, 3, 4], "holds [1, 2, 3, ...]"),
        ({"agents": None}, "agents is null"),
        ({}, "names no agent"),
        ({"agents": {}}, "names no agent"),
        ({"Agent-1": 7}, "agent 'Agent-1' is 7"),
        ({"Agent-1": {"x": 1}}, "agent 'Agent-1': [x, y] is [1, null]"),
        ({"Agent-1": {"x": 1.5, "y": 2}}, "[x, y] is [1.5, 2]"),
        ({"Agent-1": {"x": True, "y": 2}}, "[x, y] is [true, 2]"),
        ({"Agent-1": {"chat_input_coordinates": [1]}}, "chat_input_coordinates is [1]"),
        ({"Agent-1": {"chat_input_coordinates": "1,2"}}, 'chat_input_coordinates is "1,2"'),
        ({"Agent-1": {"onboarding_coordinates": [[1], 2]}}, "onboarding_coordinates is [[...], 2]"),
        ({"Agent-1": {"onboarding_coordinates": [1, 2**31]}}, "onboarding_coordinates is"),
        ({"Agent-1": {"active": "yes"}}, 'active is "yes"'),
        ({"Agent-1": {"status": 1}}, "status is 1"),
        ({"Agent-1": {"monitor": "left"}}, 'monitor is "left"'),
        ({"Agent-1": {"description": {"a": 1}}}, "description is an object"),
        (b'{"Agent-1": {"description": "\\ud800"}}', "description has half a character"),
        ({"../escape": {}}, 'agents.json: "../escape" cannot be the id'),
        ({"Agent-1": {}, "agent-1": {}}, "agents 'Agent-1' and 'agent-1' differ only in case"),
        (b" " * (4 * 2**20 + 1), "has over"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_error_that_names_it(load, tmp_path, content, says):
    with pytest.raises(ConfigError) as caught:
        load(content)
    assert says in caught.value.message
    assert str(tmp_path / "agents.json") in caught.value.message
    assert len(caught.value.message) < len(str(tmp_path)) + 200
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there_is_an_error_that_names_the_flag(tmp_path):
    with pytest.raises(ConfigError, match="is not there") as caught:
        load_agents(tmp_path / "none.json")
    assert "--agents" in caught.value.hint


def test_a_directory_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="is a directory"):
        load_agents(tmp_path)


@pytest.mark.parametrize("text", ["a", "Agent-1", "9", "a.b_c-d", "con-1", "console", "a" * 64])
def test_an_id_of_safe_characters_is_itself(text):
    assert check_agent_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a.", ".a", "-a", "_a", "a/b", "a\\b", "a b", "a\n", "\na", "a\0", "a:b"),
        *("é", "Agent-\u0661", "a\u202eb", "\ud800", "a" * 65),
        *("CON", "con", "nul.txt", "Com1", "LPT9.a.b", "aux", "prn"),
    ],
)
def test_an_id_that_is_no_safe_folder_name_is_refused(text):
    with pytest.raises(Refused) as caught:
        check_agent_id(text, "from")
    assert (caught.value.code, caught.value.field) == ("invalid_agent_id", "from")
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


def test_the_sample_is_written_once_and_loads(tmp_path):
    path = tmp_path / "new" / "agents.json"
    assert write_sample(path) is True
    assert list(load_agents(path)) == list(SAMPLE_AGENTS["agents"])
    path.write_text('{"Mine": {}}')
    assert write_sample(path) is False
    assert list(load_agents(path)) == ["Mine"]


def test_a_sample_that_cannot_be_written_is_an_error_of_the_operators(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_sample(tmp_path / "file" / "agents.json")
