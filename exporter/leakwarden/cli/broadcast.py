"""Send one message to several agents, in one transaction: all of them get it, or none.

Printed are the ids, one a line, in the order of the agents.

  leakwarden broadcast --from Agent-1 --to Agent-2 --to Agent-3 "Stand-up at ten."
"""

from __future__ import annotations

import argparse

from leakwarden.cli import DONE, client
from leakwarden.cli.send import add_priority, body_of, say_cleaned
from leakwarden.cli.terminal import show


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `broadcast`."""
    parser.add_argument("--from", dest="sender", metavar="AGENT", required=True, help="who sends")
    parser.add_argument(
        "--to",
        dest="recipients",
        metavar="AGENT",
        action="append",
        help="who gets it; give it once for each (default: every active agent but the sender)",
    )
    add_priority(parser)
    parser.add_argument("body", metavar="BODY", help="the text, or - for standard input")
    client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the ids that the messages got."""
    body = {
        "from": args.sender,
        "to": args.recipients,
        "body": body_of(args.body),
        "priority": args.priority,
    }
    answer = client.find(args).post("/v1/broadcasts", body)
    show(answer.text if args.json else "\n".join(answer.value["ids"]))
    say_cleaned(answer.value)
    return DONE
