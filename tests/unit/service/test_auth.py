from __future__ import annotations

import logging
import os
import stat
import threading

import pytest

from leakwarden.core.errors import ConfigError
from leakwarden.service.auth import (
    Tokens,
    check_listen,
    is_loopback,
    make_token_file,
    read_tokens,
    split_listen,
)
from leakwarden.settings import HttpSettings


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


@pytest.fixture
def token_file(tmp_path):
    return write(tmp_path / "tokens", "# people\nalpha\n\nmetrics beta\n  alerts   gamma  \n")


@pytest.mark.parametrize(
    ("token", "needed", "verdict"),
    [
        ("alpha", "everything", "allowed"),
        ("alpha", "metrics", "allowed"),
        ("alpha", "alerts", "allowed"),
        ("beta", "metrics", "allowed"),
        ("beta", "everything", "wrong_scope"),
        ("beta", "alerts", "wrong_scope"),
        ("gamma", "alerts", "allowed"),
        ("gamma", "metrics", "wrong_scope"),
        ("alph", "metrics", "unknown"),
        ("alphaa", "metrics", "unknown"),
        ("", "metrics", "unknown"),
        ("#", "everything", "unknown"),
        ("metrics", "metrics", "unknown"),
    ],
)
def test_a_token_opens_what_its_line_says_and_nothing_else(token_file, token, needed, verdict):
    assert Tokens(token_file).check(bearer(token), needed) == verdict


def test_a_missing_header_is_told_from_a_wrong_one(token_file):
    tokens = Tokens(token_file)
    assert tokens.check(None, "metrics") == "missing"
    assert tokens.check(b"Basic YWxwaGE=", "metrics") == "unknown"
    assert tokens.check(b"alpha", "metrics") == "unknown"
    assert tokens.check(b"Bearer", "metrics") == "unknown"
    assert tokens.check(b"bearer alpha", "metrics") == "allowed"


def test_one_token_under_two_scopes_opens_both(tmp_path):
    tokens = Tokens(write(tmp_path / "t", "alerts same\nmetrics same\n"))
    assert tokens.check(bearer("same"), "metrics") == "allowed"
    assert tokens.check(bearer("same"), "alerts") == "allowed"
    assert tokens.check(bearer("same"), "everything") == "wrong_scope"


def test_two_entries_at_once_make_a_rotation(token_file):
    clock = Clock()
    tokens = Tokens(token_file, clock)
    for text, old, new in [
        ("alpha\nomega\n", "allowed", "allowed"),
        ("omega\n", "unknown", "allowed"),
    ]:
        write(token_file, text)
        clock.now += 1.0
        assert tokens.check(bearer("alpha"), "everything") == old
        assert tokens.check(bearer("omega"), "everything") == new


def test_the_file_is_looked_at_once_a_second_and_no_more_often(token_file):
    clock = Clock()
    tokens = Tokens(token_file, clock)
    write(token_file, "omega\n")
    clock.now += 0.99
    assert tokens.check(bearer("alpha"), "everything") == "allowed"
    clock.now += 0.01
    assert tokens.check(bearer("alpha"), "everything") == "unknown"


def test_a_replaced_file_of_the_same_size_and_time_is_noticed(token_file):
    clock = Clock()
    tokens = Tokens(token_file, clock)
    before = token_file.stat()
    other = write(token_file.with_name("new"), token_file.read_text().replace("alpha", "omega"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(token_file)
    clock.now += 1.0
    assert tokens.check(bearer("omega"), "everything") == "allowed"


@pytest.mark.parametrize(
    "text", ["", "# none\n", "admin alpha\n", "metrics\n", "alpha\ncaf\u00e9\n"]
)
def test_a_broken_new_file_keeps_the_old_tokens_and_is_logged_once(token_file, caplog, text):
    clock = Clock()
    tokens = Tokens(token_file, clock)
    write(token_file, text)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.now += 1.0
            assert tokens.check(bearer("alpha"), "everything") == "allowed"
    assert len(caplog.records) == 1
    assert "tokens.not_reloaded" in caplog.text
    assert "alpha" not in caplog.text


def test_a_removed_file_keeps_the_old_tokens_until_a_new_one_comes(token_file):
    clock = Clock()
    tokens = Tokens(token_file, clock)
    token_file.unlink()
    clock.now += 1.0
    assert tokens.check(bearer("alpha"), "everything") == "allowed"
    write(token_file, "omega\n")
    clock.now += 1.0
    assert tokens.check(bearer("alpha"), "everything") == "unknown"
    assert tokens.check(bearer("omega"), "everything") == "allowed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no token"),
        ("# only this\n", "holds no token"),
        ("alpha\nmetrics\n", "line 2 has a scope but no token"),
        ("root alpha\n", "line 1 has no scope that is known"),
        ("metrics alerts alpha\n", "line 1 has no scope that is known"),
        ("a,b\n", "line 1 has a token with a character"),
    ],
)
def test_a_wrong_token_file_is_refused_at_start_with_its_line(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says):
        read_tokens(write(tmp_path / "t", text))


def test_a_missing_token_file_is_refused_at_start(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Tokens(tmp_path / "none")


def test_a_file_that_others_can_read_is_used_with_a_warning(token_file, caplog):
    token_file.chmod(0o644)
    assert Tokens(token_file).check(bearer("alpha"), "everything") == "allowed"
    assert "tokens.readable_by_others" in caplog.text


def test_no_token_shows_in_the_attributes(token_file):
    tokens = Tokens(token_file)
    assert "alpha" not in repr(vars(tokens))


def test_a_made_token_file_is_private_and_opens_everything(tmp_path):
    path = tmp_path / "data" / "token"
    make_token_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().strip()) >= 43
    assert Tokens(path).check(bearer(path.read_text().strip()), "everything") == "allowed"


def test_a_token_file_that_stands_there_is_left_alone(tmp_path):
    path = write(tmp_path / "token", "mine\n")
    make_token_file(path)
    assert path.read_text() == "mine\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["token"]


def test_makers_that_race_agree_on_one_whole_token(tmp_path):
    path = tmp_path / "token"
    gate = threading.Barrier(8)
    seen = []

    def make():
        gate.wait()
        make_token_file(path)
        seen.append(path.read_text())

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["token"]


def test_a_token_that_cannot_be_kept_is_an_error_that_names_the_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="no token can be kept in"):
        make_token_file(tmp_path / "file" / "token")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_loopback_is_the_loopback_networks_and_localhost_alone(host, loopback):
    assert is_loopback(host) is loopback


def test_off_loopback_the_service_wants_a_token_file(tmp_path):
    check_listen(HttpSettings(listen="127.0.0.1:1"), None)
    check_listen(HttpSettings(listen="[::1]:1"), None)
    check_listen(HttpSettings(listen="0.0.0.0:1"), tmp_path / "tokens")
    for listen in ("0.0.0.0:1", "[::]:1", "192.0.2.1:1", "desk.example:1"):
        with pytest.raises(ConfigError, match="no token file"):
            check_listen(HttpSettings(listen=listen), None)


def test_a_listen_address_splits_into_host_and_port():
    assert split_listen("[::1]:9877") == ("::1", 9877)
    assert split_listen("127.0.0.1:0") == ("127.0.0.1", 0)
