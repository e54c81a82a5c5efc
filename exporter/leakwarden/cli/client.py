"""Finds the running service and speaks with it: one request, one answer, standard library only.

The address is `--url`, else LEAKWARDEN_URL, else the loopback default. The token
is the first full one of `--token-file`, else of LEAKWARDEN_TOKEN_FILE, else of
`token` in the data directory. That last one is this machine's own, so it is only
ever shown to a service on this machine.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from leakwarden.cli import NOT_REACHABLE, WRONG_USE, CommandError
from leakwarden.config import default_data_dir
from leakwarden.core.errors import ConfigError
from leakwarden.version import __version__

DEFAULT_URL = "http://127.0.0.1:9877"

# A send waits for a commit, which a busy disk delays; past this nobody would still be waiting.
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered: the body as it came, and as a value."""

    text: str
    value: Any


class Client:
    """Speaks with the service at `url`, with `token` where there is one.

    `token_note` says why there is none, for the error that may follow.
    """

    def __init__(self, url: str, token: str | None = None, token_note: str = "") -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._token_note = token_note
        self._parts = _parts(self.url)

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Answer:
        """The answer to GET `path`; parameters of `query` that are None are left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(given)}" if given else path, None)

    def post(self, path: str, body: Mapping[str, object]) -> Answer:
        """The answer to POST `path`; values of `body` that are None are left out."""
        given = {name: value for name, value in body.items() if value is not None}
        return self._ask("POST", path, json.dumps(given).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        headers = {"Accept": "application/json", "User-Agent": f"leakwarden/{__version__}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        secure = self._parts.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        host, port = self._parts.hostname or "", self._parts.port
        connection = connect(host, port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, self._parts.path + path, body, headers)
            response = connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CommandError(
                f"no service answers at {self.url} ({reason})",
                "start one with `leakwarden serve`, or name it with --url",
                NOT_REACHABLE,
            ) from error
        finally:
            connection.close()
        return self._read(status, content)

    def _read(self, status: int, content: bytes) -> Answer:
        try:
            text = content.decode()
            value = json.loads(text)
        except ValueError as error:
            raise self._stranger(status) from error
        if status < http.client.BAD_REQUEST:
            return Answer(text, value)
        said = value.get("error") if isinstance(value, dict) else None
        if not isinstance(said, dict):
            raise self._stranger(status)
        message, hint = str(said.get("message", "")), str(said.get("hint", ""))
        if status == http.client.UNAUTHORIZED and self._token is None:
            hint = f"{self._token_note}; name the service's token file with --token-file"
        raise CommandError(message or f"the service answered {status}", hint)

    def _stranger(self, status: int) -> CommandError:
        return CommandError(
            f"what answers at {self.url} is not leakwarden (HTTP status {status})",
            "name the service with --url",
            NOT_REACHABLE,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which each verb finds the service, and `--json`."""
    parser.add_argument("--json", action="store_true", help="print the HTTP answer as it is")
    group = parser.add_argument_group("which service")
    group.add_argument(
        "--url", help=f"address of the service (default: LEAKWARDEN_URL, else {DEFAULT_URL})"
    )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="file with a token (default: LEAKWARDEN_TOKEN_FILE, else DIR/token)",
    )
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        help="data directory of a service on this machine (default: LEAKWARDEN_DATA_DIR, else"
        " the user's state directory)",
    )


def find(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Client:
    """The client that `args` and `environ` describe; ConfigError for a token file that is wrong."""
    url = args.url or environ.get("LEAKWARDEN_URL") or DEFAULT_URL
    named = args.token_file or environ.get("LEAKWARDEN_TOKEN_FILE")
    if named:
        return Client(url, _first_token(Path(named)))
    if not _is_loopback(_parts(url).hostname or ""):
        return Client(url, None, "no token is sent to another machine unless a file is named")
    file = (args.data_dir or default_data_dir(environ)) / "token"
    try:
        return Client(url, _first_token(file))
    except ConfigError as error:  # most of what a person asks on loopback needs no token
        return Client(url, None, error.message)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        parts.netloc.encode("idna")  # what a look-up of the name begins with
        usable = usable and parts.path.isascii() and parts.path.isprintable()
        usable = usable and " " not in url
    except ValueError:  # a port that is no number, brackets that do not close, a label too long
        usable = None
    if not usable or parts.query or parts.fragment or parts.username:
        raise CommandError(f"{url!r} is no address", f"write it like {DEFAULT_URL}", WRONG_USE)
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _first_token(file: Path) -> str:
    """The first token of `file` that opens everything; a line is TOKEN, or SCOPE TOKEN."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"token file {file} cannot be read: {reason}") from error
    for line in lines:
        words = line.split()
        if len(words) == 1 and not words[0].startswith("#") and words[0].isascii():
            return words[0]
    raise ConfigError(
        f"token file {file} holds no token that opens everything", "a line is TOKEN alone"
    )
