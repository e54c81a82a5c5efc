"""The command line: one file a verb, each with `configure(parser)` and `run(args) -> exit code`.

Only the module of the verb that was asked for is imported, so that a verb starts
at the price of its own imports.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from leakwarden.core.errors import LeakwardenError

# 64, 69 and 78 are EX_USAGE, EX_UNAVAILABLE and EX_CONFIG of BSD's sysexits; 130 and 141 are what
# a shell reports of a process that SIGINT or SIGPIPE ended.
DONE = 0
REFUSED = 1
WRONG_USE = 64
NOT_REACHABLE = 69
CONFIGURATION = 78
INTERRUPTED = 130
PIPE_CLOSED = 141

# Verb: what it does, in the order of the help. The module is leakwarden.cli.VERB.
VERBS: Mapping[str, str] = MappingProxyType(
    {
        "serve": "take, keep and deliver messages, and export what is held",
        "send": "send a message to one agent",
        "broadcast": "send a message to several agents, or to all",
        "status": "what is held now, against its limits",
        "messages": "list messages, or show one with its history",
        "agents": "the agents, and how much waits for each",
        "explain": "what one kind holds, and where in the code it was acquired",
    }
)


class Once(argparse.Action):
    """Stores a value; a second one is an error, and not silently the one that holds."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse passes it
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store `values` where none is stored; CommandError where one is."""
        if getattr(namespace, self.dest) is not None:
            raise CommandError(f"{option_string} was given twice", "give it once", WRONG_USE)
        setattr(namespace, self.dest, values)


class CommandError(LeakwardenError):
    """A verb cannot do what was asked; `status` is the exit code that says why."""

    def __init__(self, message: str, hint: str = "", status: int = REFUSED) -> None:
        super().__init__(message, hint)
        self.status = status
