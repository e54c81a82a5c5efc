"""Who may do what: the token file, and the comparison of a caller's token with it.

A file has one entry a line: a bare token opens everything, `metrics TOKEN` and
`alerts TOKEN` open that alone; blank lines and lines that begin with # are
skipped. Two entries of one scope at once make a rotation without a gap. A file
that others can read is used all the same, with a warning, because Kubernetes
mounts secrets as 0644.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from time import monotonic
from typing import Literal

from leakwarden.core.errors import ConfigError
from leakwarden.settings import HttpSettings

Scope = Literal["everything", "metrics", "alerts"]
Verdict = Literal["allowed", "missing", "unknown", "wrong_scope"]

SCOPE_WORDS: dict[str, Scope] = {"metrics": "metrics", "alerts": "alerts"}

# token68 of RFC 9110 section 11.2: what an Authorization header can carry.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_BEARER = b"bearer "
_CHECK_EVERY_SECONDS = 1.0
# A thousand tokens; what follows is not read.
_MOST_CHARACTERS = 65_536

_logger = logging.getLogger(__name__)

_Entries = tuple[tuple[bytes, Scope], ...]


class Tokens:
    """The tokens of one file, read again when it changes.

    Only digests are kept, so that a token shows in no dump of this process. A new file that is
    missing or broken is logged once and changes nothing: the tokens read before still hold.
    ConfigError where the first reading fails.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic) -> None:
        self.path = path
        self._clock = clock
        self._stamp = _stamp(path)  # before reading: a change in between is then still noticed
        self._entries = read_tokens(path)
        self._checked_at = clock()
        if os.name == "posix" and path.stat().st_mode & 0o077:
            _logger.warning("tokens.readable_by_others path=%s hint=chmod 600", path)

    def check(self, authorization: bytes | None, needed: Scope) -> Verdict:
        """Whether an Authorization header's value gives `needed`; None is a missing header.

        `unknown`: no such token, or no bearer token at all. Every entry is compared, each in
        constant time, so that the answer's time tells nothing about the tokens.
        """
        if authorization is None:
            return "missing"
        if authorization[: len(_BEARER)].lower() != _BEARER:
            return "unknown"
        self._refresh()
        digest = sha256(authorization[len(_BEARER) :].strip()).digest()
        verdict: Verdict = "unknown"
        for known, scope in self._entries:
            if compare_digest(known, digest):
                if scope in ("everything", needed):
                    verdict = "allowed"
                elif verdict == "unknown":
                    verdict = "wrong_scope"
        return verdict

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._checked_at < _CHECK_EVERY_SECONDS:
            return
        self._checked_at = now
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._entries = read_tokens(self.path)
        except ConfigError as error:
            _logger.error(  # noqa: TRY400  (the sentence says it; a traceback adds nothing)
                "tokens.not_reloaded path=%s reason=%s", self.path, error
            )
        else:
            _logger.info("tokens.reloaded path=%s entries=%d", self.path, len(self._entries))


def read_tokens(path: Path) -> _Entries:
    """(SHA-256 digest, scope) of each entry; ConfigError names the file and line that is wrong."""
    hint = "a line is TOKEN, metrics TOKEN or alerts TOKEN"
    try:
        # Looked at before it is opened: a pipe would hold the service until somebody wrote to it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"token file {path} is not a file", hint)
        with path.open(encoding="utf-8") as file:
            lines = file.read(_MOST_CHARACTERS).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"token file {path} cannot be read: {error}", hint) from error
    entries: list[tuple[bytes, Scope]] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        *scope_words, token = words
        if len(scope_words) > 1 or any(word not in SCOPE_WORDS for word in scope_words):
            raise ConfigError(f"token file {path} line {number} has no scope that is known", hint)
        if token in SCOPE_WORDS and not scope_words:
            raise ConfigError(f"token file {path} line {number} has a scope but no token", hint)
        if not _TOKEN.fullmatch(token):
            raise ConfigError(
                f"token file {path} line {number} has a token with a character that a header"
                " cannot carry",
                "use letters, digits and . _ ~ + / - alone",
            )
        scope: Scope = SCOPE_WORDS[scope_words[0]] if scope_words else "everything"
        entries.append((sha256(token.encode()).digest(), scope))
    if not entries:
        raise ConfigError(f"token file {path} holds no token", hint)
    return tuple(entries)


def make_token_file(path: Path) -> None:
    """Make `path` with one token for everything, mode 0600, unless it stands there already.

    Written whole under another name and then linked, so that nobody ever reads half a token and
    two services that start at once agree on one. ConfigError where the folder cannot be written.
    """
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another service was first: its token holds
            os.link(temporary, path)
    except OSError as error:
        raise ConfigError(
            f"no token can be kept in {path}: {error}",
            "give a data directory that can be written, or --token-file FILE",
        ) from error
    finally:
        with suppress(OSError):  # mostly not there: the folder was the trouble
            temporary.unlink()


def is_loopback(host: str) -> bool:
    """True for `localhost` and for addresses of 127.0.0.0/8 and ::1, brackets or not."""
    bare = host.strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def split_listen(listen: str) -> tuple[str, int]:
    """Host without brackets, and port, of a checked `http.listen`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def check_listen(settings: HttpSettings, token_file: Path | None) -> None:
    """ConfigError where the service would be open to a network without a token file given."""
    host, _ = split_listen(settings.listen)
    if token_file is None and not is_loopback(host):
        raise ConfigError(
            f"{settings.listen} is reachable from other machines and no token file is given",
            "give --token-file FILE, or listen on 127.0.0.1",
        )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does; None where it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
