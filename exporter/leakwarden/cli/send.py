"""Send a message to one agent.

The body is BODY, or standard input where BODY is -. Printed is the id, once the
message is kept safely: it survives a crash of the service from then on.

  leakwarden send --from Agent-1 --to Agent-2 "The build is green."
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from leakwarden.cli import DONE, WRONG_USE, CommandError, Once, client
from leakwarden.cli.terminal import show
from leakwarden.messaging.message import MessageType, Priority


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `send`."""
    parser.add_argument(
        "--from", dest="sender", action=Once, metavar="AGENT", required=True, help="who sends"
    )
    parser.add_argument(
        "--to", dest="recipient", action=Once, metavar="AGENT", required=True, help="who gets it"
    )
    add_priority(parser)
    parser.add_argument(
        "--type",
        action=Once,
        choices=[kind.value for kind in MessageType],
        help="what it is (default: text)",
    )
    parser.add_argument("body", metavar="BODY", help="the text, or - for standard input")
    client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the id that the message got."""
    body = {
        "from": args.sender,
        "to": args.recipient,
        "body": body_of(args.body),
        "priority": args.priority,
        "type": args.type,
    }
    answer = client.find(args).post("/v1/messages", body)
    show(answer.text if args.json else answer.value["id"])
    say_cleaned(answer.value)
    return DONE


def add_priority(parser: argparse.ArgumentParser) -> None:
    """`--priority`, for every verb that sends."""
    parser.add_argument(
        "--priority",
        action=Once,
        choices=[priority.label for priority in Priority],
        help="what is delivered first (default: normal)",
    )


def body_of(word: str) -> str:
    """The body that BODY stands for; CommandError where it is not UTF-8."""
    try:
        if word == "-":
            return sys.stdin.buffer.read().decode()
        word.encode()
    except UnicodeError as error:
        raise CommandError("the body is not UTF-8", "send text", WRONG_USE) from error
    return word


def say_cleaned(answer: dict[str, Any]) -> None:
    """Tell on standard error which rules changed the body, where any did."""
    if rules := answer.get("cleaned"):
        print(f"leakwarden: the body was cleaned: {', '.join(rules)}", file=sys.stderr)
