"""List messages, oldest first, or show one with its history.

leakwarden messages --to Agent-2 --state queued
leakwarden messages 0193a1f2c4d87e3f9b1c2d3e4f5a6b7c
"""

from __future__ import annotations

import argparse
import sys
from typing import Any
from urllib.parse import quote

from leakwarden.cli import DONE, WRONG_USE, CommandError, client
from leakwarden.cli.terminal import plain, show, table
from leakwarden.messaging.states import MessageState

_USUAL_COUNT = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `messages`."""
    parser.add_argument("id", metavar="ID", nargs="?", help="show this one (default: list)")
    parser.add_argument("--to", metavar="AGENT", help="list those to AGENT alone (default: all)")
    parser.add_argument(
        "--state",
        choices=[state.value for state in MessageState],
        help="list those in this state alone (default: all)",
    )
    parser.add_argument(
        "--after", metavar="CURSOR", help="go on where a list ended (default: from the oldest)"
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=int,
        help=f"list at most N messages (default: {_USUAL_COUNT})",
    )
    client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the message ID, or a table of messages."""
    narrowed = [
        name for name in ("to", "state", "after", "limit") if getattr(args, name) is not None
    ]
    if args.id is not None and narrowed:
        raise CommandError(
            f"--{narrowed[0]} narrows a list, and ID is one message", "give one of them", WRONG_USE
        )
    service = client.find(args)
    if args.id is not None:
        answer = service.get(f"/v1/messages/{quote(args.id, safe='')}")
        show(answer.text if args.json else "\n".join(_one(answer.value)))
        return DONE
    query = {
        "to": args.to,
        "state": args.state,
        "after": args.after,
        "limit": _USUAL_COUNT if args.limit is None else args.limit,
    }
    answer = service.get("/v1/messages", query)
    if args.json:
        show(answer.text)
        return DONE
    _print_list(answer.value)
    return DONE


def _print_list(page: dict[str, Any]) -> None:
    rows = [
        (
            row["id"],
            row["state"],
            row["priority"],
            row["to"],
            row["accepted_at"][5:16].replace("T", " "),
        )
        for row in page["items"]
    ]
    for line in table(("id", "state", "priority", "to", "accepted (UTC)"), rows, "<<<<<"):
        show(line)
    if page["next"] is not None:
        print(f"leakwarden: there are more: --after {page['next']}", file=sys.stderr)


def _one(message: dict[str, Any]) -> list[str]:
    names = ("id", "from", "to", "type", "priority", "state", "transport", "attempts")
    times = ("accepted_at", "due_at" if message["finished_at"] is None else "finished_at")
    lines = [
        f"{name:<12}{message[name]}"
        for name in (*names, *times, "last_error")
        if message[name] is not None
    ]
    for attempt in message["history"]:
        reason = "" if attempt["reason"] is None else f": {attempt['reason']}"
        lines.append(f"{'attempt':<12}{attempt['at']} {attempt['outcome']}{reason}")
    return [*map(plain, lines), "", plain(message["body"])]
