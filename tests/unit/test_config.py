"""Where a setting comes from, and what a wrong one is answered with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakwarden.config import default_data_dir, load_settings
from leakwarden.config_keys import known_keys
from leakwarden.core.errors import ConfigError
from leakwarden.core.resource import ResourceSettings
from leakwarden.settings import Settings

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "settings.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def refusal(file: Path | None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environ or {}, {})
    return f"{caught.value.message}; {caught.value.hint}"


def test_without_file_variable_or_flag_the_defaults_hold() -> None:
    assert load_settings(None, {}, {}) == Settings()


def test_flags_win_over_the_environment_and_the_environment_over_the_file(write: Write) -> None:
    file = write("http: {listen: '127.0.0.1:1', open_metrics: true, body_limit_bytes: 7}")
    environ = {"LEAKWARDEN_HTTP__LISTEN": "127.0.0.1:2", "LEAKWARDEN_HTTP__BODY_LIMIT_BYTES": "8"}
    http = load_settings(file, environ, {"http.listen": "127.0.0.1:3"}).http
    assert (http.listen, http.body_limit_bytes, http.open_metrics) == ("127.0.0.1:3", 8, True)


def test_a_flag_that_is_none_was_not_given(write: Write) -> None:
    file = write("http: {listen: '127.0.0.1:1'}")
    assert load_settings(file, {}, {"http.listen": None}).http.listen == "127.0.0.1:1"


def test_every_section_of_a_file_is_read(write: Write) -> None:
    file = write(
        """
resources:
  file_handle: {limit: 7}
  validation_record: {overflow: reject}
  db_session: {limit: 100, ttl_seconds: 30}
cleanup:
  interval_seconds: 60
store: {synchronous: normal, retain_seconds: 1.5}
http:
  allowed_hosts: [one, two]
detection:
  window_seconds: 600
"""
    )
    settings = load_settings(file, {}, {})
    assert settings.resources["file_handle"] == ResourceSettings(limit=7, ttl_seconds=300.0)
    assert settings.resources["validation_record"].overflow == "reject"
    assert settings.resources["db_session"] == ResourceSettings(limit=100, ttl_seconds=30.0)
    assert settings.resources["pyautogui_session"].limit == 10
    assert settings.cleanup.interval_seconds == 60.0
    assert (settings.store.synchronous, settings.store.retain_seconds) == ("normal", 1.5)
    assert settings.http.allowed_hosts == ("one", "two")
    assert settings.detection_window_seconds == 600.0


@pytest.mark.parametrize(
    ("variable", "text", "read", "expected"),
    [
        ("HTTP__LISTEN", "[::1]:9877", lambda s: s.http.listen, "[::1]:9877"),
        ("HTTP__OPEN_METRICS", "True", lambda s: s.http.open_metrics, True),
        ("HTTP__ALLOWED_HOSTS", "one, two,", lambda s: s.http.allowed_hosts, ("one", "two")),
        ("STORE__SYNCHRONOUS", "normal", lambda s: s.store.synchronous, "normal"),
        ("DETECTION__WINDOW_SECONDS", "1e3", lambda s: s.detection_window_seconds, 1000.0),
        (
            "RESOURCES__FILE_HANDLE__LIMIT",
            "null",
            lambda s: s.resources["file_handle"].limit,
            None,
        ),
        (
            "RESOURCES__DB_SESSION__TTL_SECONDS",
            "30",
            lambda s: s.resources["db_session"].ttl_seconds,
            30.0,
        ),
    ],
)
def test_a_variable_is_read_as_the_type_of_its_setting(
    variable: str, text: str, read: Callable[[Settings], object], expected: object
) -> None:
    value = read(load_settings(None, {f"LEAKWARDEN_{variable}": text}, {}))
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize("text", ["", "# nothing\n", "http:\n", "http: {}", "resources:\n"])
def test_an_empty_file_or_section_changes_nothing(write: Write, text: str) -> None:
    assert load_settings(write(text), {}, {}) == Settings()


def test_a_kind_with_nothing_below_it_is_a_kind_without_bounds(write: Write) -> None:
    file = write("resources: {db_session: , other: {}, file_handle: }")
    resources = load_settings(file, {}, {}).resources
    assert resources["db_session"] == resources["other"] == ResourceSettings()
    assert resources["file_handle"].limit == 500


def test_null_is_no_bound_for_a_limit_and_a_time_to_live(write: Write) -> None:
    file = write("resources: {file_handle: {limit: null, ttl_seconds: ~}}")
    assert load_settings(file, {}, {}).resources["file_handle"] == ResourceSettings()


def test_anchors_and_merge_keys_are_resolved_and_may_be_overridden(write: Write) -> None:
    file = write(
        """
resources:
  one: &pool {limit: 3, ttl_seconds: 30}
  two: *pool
  three: {<<: *pool, limit: 4}
"""
    )
    resources = load_settings(file, {}, {}).resources
    assert resources["two"] == ResourceSettings(limit=3, ttl_seconds=30.0)
    assert resources["three"] == ResourceSettings(limit=4, ttl_seconds=30.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "\nhttp: {lisen: x}",
            "settings.yaml line 2: there is no setting http.lisen; did you mean http.listen?",
        ),
        ("listen: x", "line 1: there is no setting listen; did you mean http.listen?"),
        (
            "htpp:\n  listen: x",
            "line 2: there is no setting htpp.listen; did you mean http.listen?",
        ),
        (
            "resources: {mine: {limt: 1}}",
            "no setting resources.mine.limt; did you mean resources.mine.limit?",
        ),
        (
            "resources: {mine: {acknowledge: 1}}",
            "the keys are resources.mine.limit, resources.mine.ttl_seconds",
        ),
        ("http: 5", "line 1: http is a section, not a value; write its keys below http:"),
        ("resources: {mine: 5}", "resources.mine is a section, not a value"),
        ("- a\n- b", "line 1: the settings are list, not sections"),
        (
            "http: {listen: a}\nhttp: {}",
            "line 2: http is written twice, first in line 1; keep one of them",
        ),
        (
            "http:\n  listen: a\n  listen: b",
            "line 3: http.listen is written twice, first in line 2",
        ),
        ("http: {1: 2}", "line 1: '1' is no key"),
        ('"a\\nb": 2', "line 1: 'a\\nb' is no key"),
        ("http.listen: x", "line 1: 'http.listen' is no key"),
        ("http: {listen: 'x}", "settings.yaml line 1, column"),
        ("http: !!python/name:os.system {}", "settings.yaml line 1, column"),
        ("a: 1\n---\nb: 2", "settings.yaml line 2, column"),
        (
            "http: {body_limit_bytes: '500'}",
            "line 1: http.body_limit_bytes is '500', not a whole number; write 500 without quotes",
        ),
        ("http: {body_limit_bytes: 1.5}", "is 1.5, not a whole number"),
        ("http: {body_limit_bytes: true}", "is True, not a whole number"),
        (
            "http: {body_limit_bytes: null}",
            "http.body_limit_bytes has no value; write a whole number, or leave",
        ),
        (
            "http: {body_limit_bytes: -1}",
            "settings.yaml line 1: http.body_limit_bytes is -1; http.body_limit_bytes is above 0",
        ),
        ("http: {open_metrics: 1}", "is 1, not true or false"),
        ("http: {open_metrics: 'yes'}", "is 'yes', not true or false"),
        ("http: {listen: 9877}", "http.listen is 9877, not text; put it in quotes"),
        (
            "http: {listen: localhost}",
            "line 1: http.listen is 'localhost'; http.listen is HOST:PORT",
        ),
        ("http: {allowed_hosts: one}", "is 'one', not a list of texts"),
        ("http: {allowed_hosts: [1]}", "is [1], not a list of texts"),
        ("store: {synchronous: off}", "store.synchronous is False, not full or normal"),
        ("cleanup: {interval_seconds: true}", "is True, not a finite number"),
        ("cleanup: {interval_seconds: .nan}", "is nan, not a finite number"),
        ("cleanup: {interval_seconds: -.inf}", "is -inf, not a finite number"),
        (
            "cleanup: {interval_seconds: 1e3}",
            "is '1e3', not a finite number; write 1000 without quotes",
        ),
        (
            "cleanup: {interval_seconds: 0}",
            "line 1: cleanup.interval_seconds is 0.0; cleanup.interval_seconds is above 0",
        ),
        (f"cleanup: {{interval_seconds: 1{'0' * 400}}}", "not a finite number"),
        (f"cleanup: {{interval_seconds: 1{'0' * 5000}}}", "cannot be read"),
        ("cleanup: {interval_seconds: {a: 1}}", "is {'a': 1}, not a finite number"),
        ("detection: {window_seconds: 0}", "line 1: detection.window_seconds is 0.0"),
        (
            "resources:\n  mine:\n    ttl_seconds: 1\n    limit: 0",
            "line 4: resources.mine: limit is 0; limit is a whole number, above 0 and finite",
        ),
        (
            "resources: {mine: {overflow: evict_oldest}}",
            "line 1: resources.mine: overflow is evict_oldest without a limit",
        ),
        ("resources: {Mine: {limit: 1}}", "line 1: resources.Mine: 'Mine' cannot name a kind"),
        ("resources: {heap: {limit: 1}}", "'heap' is reserved"),
        ("resources: {heap: }", "'heap' is reserved"),
    ],
)
def test_a_wrong_file_is_answered_with_the_line_and_what_to_do(
    write: Write, text: str, said: str
) -> None:
    assert said in refusal(write(text))


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("HTTP__LISEN", "x", "__LISEN: there is no setting http.lisen; did you mean http.listen?"),
        ("HTTP_LISTEN", "x", "HTTP_LISTEN is no setting; did you mean LEAKWARDEN_HTTP__LISTEN?"),
        ("HTTP__BODY_LIMIT_BYTES", "many", "BYTES: http.body_limit_bytes is 'many', not a whole"),
        ("HTTP__BODY_LIMIT_BYTES", "", "is '', not a whole number"),
        ("HTTP__OPEN_METRICS", "yes", "is 'yes', not true or false"),
        ("CLEANUP__INTERVAL_SECONDS", "nan", "is nan, not a finite number"),
        ("CLEANUP__INTERVAL_SECONDS", "-1", "SECONDS: cleanup.interval_seconds is -1.0"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, text: str, said: str) -> None:
    assert said in refusal(None, {f"LEAKWARDEN_{variable}": text})


def test_variables_of_others_under_the_same_prefix_are_left_alone() -> None:
    environ = {
        "LEAKWARDEN_URL": "http://127.0.0.1:1",
        "LEAKWARDEN_DATA_DIR": "x",
        "LEAKWARDEN_SERVICE_HOST": "127.0.0.1",
        "LEAKWARDEN_PORT_9877_TCP_PORT": "9877",
        "OTHER__HTTP": "1",
    }
    assert load_settings(None, environ, {}) == Settings()


def test_a_flag_that_a_setting_refuses_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--listen: http.listen is 'x'"):
        load_settings(None, {}, {"http.listen": "x"})


def test_a_file_that_is_not_there_or_is_a_folder_is_named(tmp_path: Path) -> None:
    assert "missing.yaml cannot be read: No such file" in refusal(tmp_path / "missing.yaml")
    assert "cannot be read: Is a directory" in refusal(tmp_path)


def test_a_file_that_holds_itself_is_refused_and_does_not_run_for_ever(write: Write) -> None:
    assert "line 1, column 7: found unconstructable recursive" in refusal(
        write("http: &a {listen: *a}")
    )


@given(st.binary(max_size=200) | st.text(alphabet="ah:{}[]&*<-\n \t'\"!|#%0.~", max_size=80))
def test_any_file_gives_settings_or_one_clear_error(content: bytes | str) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content if isinstance(content, bytes) else content.encode())
        file.flush()
        try:
            load_settings(Path(file.name), {}, {})
        except ConfigError as error:
            said = error.message
            assert "\n" not in said


@pytest.mark.parametrize("key", known_keys())
def test_every_key_that_exists_can_be_set_by_a_variable(key: str) -> None:
    variable = f"LEAKWARDEN_{key.replace('.', '__').upper()}"
    try:
        changed = load_settings(None, {variable: "1"}, {}) != Settings()
    except ConfigError as error:
        changed = error.message.startswith(f"{variable}: {key} is ")
    assert changed


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/home"}, "/home/.local/state/leakwarden"),
        ({"HOME": "/home", "XDG_STATE_HOME": "/state"}, "/state/leakwarden"),
        ({"HOME": "/home", "XDG_STATE_HOME": "relative"}, "/home/.local/state/leakwarden"),
        ({"HOME": "/home", "LEAKWARDEN_DATA_DIR": "here"}, "here"),
    ],
)
def test_the_data_directory_is_the_users_state_directory(
    environ: dict[str, str], expected: str
) -> None:
    assert default_data_dir(environ) == Path(expected)
