"""`python -m leakwarden` and the `leakwarden` command: argv in, exit code out.

Every error ends here as one line on standard error. An exception that nobody
foresaw keeps its traceback: it is a bug, and its report needs it.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

from leakwarden.cli import (
    CONFIGURATION,
    DONE,
    INTERRUPTED,
    PIPE_CLOSED,
    REFUSED,
    VERBS,
    WRONG_USE,
    CommandError,
)
from leakwarden.core.errors import ConfigError, LeakwardenError
from leakwarden.version import __version__

# What a full disk, a closed descriptor and a broken one answer to writing the output.
_OUTPUT_TROUBLE = (errno.ENOSPC, errno.EBADF, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv` (sys.argv where None) asks for; the process's exit code.

    0 done, 1 refused or failed, 64 wrong use, 69 service not reachable, 78 configuration,
    130 interrupted, 141 nobody reads the output any more.
    """
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except LeakwardenError as error:
        return _say(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return PIPE_CLOSED
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_TROUBLE:
            raise  # nobody foresaw it
        return _say(LeakwardenError(f"the output cannot be written: {error.strerror}"))
    return status


class Parser(argparse.ArgumentParser):
    """argparse, with its errors as ours: one line, and 64 instead of 2."""

    def error(self, message: str) -> NoReturn:
        """Never returns; CommandError with where to read more."""
        raise CommandError(message, f"see {self.prog} --help", WRONG_USE)


def _run(words: list[str]) -> int:
    first = words[0] if words else ""
    if first in ("--version", "-V"):
        print(f"leakwarden {__version__}")
        return DONE
    if first in ("--help", "-h", "help"):
        print(_help())
        return DONE
    if first not in VERBS:
        raise _no_verb(first)
    verb = import_module(f"leakwarden.cli.{first}")
    parser = Parser(
        prog=f"leakwarden {first}",
        description=verb.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an abbreviation in a script breaks when another option comes
    )
    verb.configure(parser)
    try:
        args = parser.parse_args(words[1:])
    except SystemExit as done:  # --help was printed
        return DONE if done.code is None else int(done.code)
    status: int = verb.run(args)
    return status


def _help() -> str:
    verbs = "\n".join(f"  {name:<11}{what}" for name, what in VERBS.items())
    return f"""usage: leakwarden VERB [OPTIONS]

A messaging service for desktop agents that cannot leak quietly.

{verbs}

`leakwarden VERB --help` explains one verb, `leakwarden --version` names this version.
Exit codes: 0 done, 1 refused or failed, 64 wrong use, 69 service not reachable,
78 configuration."""


def _no_verb(word: str) -> CommandError:
    if not word:
        return CommandError("no verb given", f"use one of {', '.join(VERBS)}", WRONG_USE)
    nearest = get_close_matches(word, VERBS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"use one of {', '.join(VERBS)}"
    return CommandError(f"there is no verb {word!r}", hint, WRONG_USE)


def _say(error: LeakwardenError) -> int:
    """Print `error` as one line on standard error; the exit code that it calls for."""
    words = f"{error.message}; {error.hint}" if error.hint else error.message
    line = "".join(character if character.isprintable() else " " for character in words)
    print(f"leakwarden: {line}", file=sys.stderr)
    if isinstance(error, CommandError):
        return error.status
    return CONFIGURATION if isinstance(error, ConfigError) else REFUSED


if __name__ == "__main__":
    sys.exit(main())
