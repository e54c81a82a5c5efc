"""How the service and the token are found, and what its refusals become."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from leakwarden.cli import CommandError
from leakwarden.cli.client import Client, add_arguments, find
from leakwarden.core.errors import ConfigError

if TYPE_CHECKING:
    from conftest import FarSide


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def token_sent(service: FarSide, client: Client) -> str | None:
    service.answers["GET /x"] = (200, {})
    client.get("/x")
    return service.requests[-1].headers.get("Authorization")


def test_the_address_is_the_flag_else_the_variable_else_loopback() -> None:
    environ = {"LEAKWARDEN_URL": "http://127.0.0.1:1/", "HOME": "x"}
    assert find(parsed("--url", "http://127.0.0.1:2"), environ).url == "http://127.0.0.1:2"
    assert find(parsed(), environ).url == "http://127.0.0.1:1"
    assert find(parsed(), {"HOME": "x"}).url == "http://127.0.0.1:9877"


def test_the_token_is_the_flags_else_the_variables_else_the_data_directorys(
    service: FarSide, tmp_path: Path
) -> None:
    for name in ("flag", "variable", "data/token", "state/leakwarden/token"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name.partition('/')[0]}\n")
    environ = {
        "LEAKWARDEN_URL": service.url,
        "LEAKWARDEN_TOKEN_FILE": str(tmp_path / "variable"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    flag = ("--token-file", str(tmp_path / "flag"))
    data = ("--data-dir", str(tmp_path / "data"))
    assert token_sent(service, find(parsed(*flag, *data), environ)) == "Bearer flag"
    assert token_sent(service, find(parsed(*data), environ)) == "Bearer variable"
    del environ["LEAKWARDEN_TOKEN_FILE"]
    assert token_sent(service, find(parsed(*data), environ)) == "Bearer data"
    assert token_sent(service, find(parsed(), environ)) == "Bearer state"


def test_without_a_token_file_nothing_is_sent_and_a_401_says_where_one_was_looked_for(
    service: FarSide, tmp_path: Path
) -> None:
    environ = {"LEAKWARDEN_URL": service.url, "XDG_STATE_HOME": str(tmp_path)}
    client = find(parsed(), environ)
    assert token_sent(service, client) is None
    service.answers["GET /x"] = (401, {"error": {"code": "unauthorized", "message": "no token"}})
    with pytest.raises(CommandError) as caught:
        client.get("/x")
    assert caught.value.message == "no token"
    assert f"token file {tmp_path}/leakwarden/token cannot be read" in caught.value.hint


def test_the_machines_own_token_is_not_sent_to_another_machine(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    words = ("--data-dir", str(tmp_path), "--url")
    assert find(parsed(*words, "http://other.example"), {})._token is None
    assert find(parsed(*words, "http://127.0.0.1.example"), {})._token is None
    for here in ("http://127.9.9.9", "http://[::1]:1", "https://localhost"):
        assert find(parsed(*words, here), {})._token == "secret"
    named = ("--token-file", str(tmp_path / "token"), "--url", "http://other.example")
    assert find(parsed(*named), {})._token == "secret"


def test_the_first_entry_that_opens_everything_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# ours\n\nmetrics one\nalerts two\nthree\nfour\n")
    assert find(parsed("--token-file", str(file)), {})._token == "three"


@pytest.mark.parametrize("text", ["", "metrics one\n", "# none\n", "tökén\n"])
def test_a_named_file_without_such_an_entry_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no token that opens everything"):
        find(parsed("--token-file", str(file)), {})


def test_what_is_none_is_left_out_of_queries_and_bodies(service: FarSide) -> None:
    service.answers |= {"GET /x": (200, {}), "POST /x": (202, {"id": "1"})}
    client = Client(service.url + "/")
    client.get("/x", {"a": None, "b": "c&d ö"})
    assert client.post("/x", {"a": None, "b": "ö"}).value == {"id": "1"}
    get, post = service.requests
    assert get.path == "/x?b=c%26d+%C3%B6"
    assert post.body == {"b": "ö"}
    assert post.headers["Content-Type"] == "application/json"


def test_a_refusal_keeps_the_services_words(service: FarSide) -> None:
    error = {"code": "unknown_agent", "message": "there is no agent 'x'", "hint": "try y"}
    service.answers["GET /x"] = (422, {"error": error})
    with pytest.raises(CommandError) as caught:
        Client(service.url).get("/x")
    said = caught.value
    assert (said.message, said.hint, said.status) == ("there is no agent 'x'", "try y", 1)


@pytest.mark.parametrize(
    "answer", [(200, b"<html>"), (404, b"nothing"), (500, {"detail": 1}), (404, b"[]")]
)
def test_what_is_not_leakwarden_is_said_to_be_a_stranger(
    service: FarSide, answer: tuple[int, object]
) -> None:
    service.answers["GET /x"] = answer
    with pytest.raises(CommandError, match="is not leakwarden") as caught:
        Client(service.url).get("/x")
    assert caught.value.status == 69


def test_an_address_may_have_a_path_before_the_routes(service: FarSide) -> None:
    service.answers["GET /proxy/x"] = (200, {})
    assert Client(f"{service.url}/proxy/").get("/x").value == {}
