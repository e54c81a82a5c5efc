"""The agents of the agents file, and how many messages wait for each."""

from __future__ import annotations

import argparse

from leakwarden.cli import DONE, client
from leakwarden.cli.terminal import WIDTH, plain, show, table


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `agents`."""
    client.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table of every agent."""
    answer = client.find(args).get("/v1/agents")
    if args.json:
        show(answer.text)
        return DONE
    rows = [
        (
            row["id"],
            row["state"],
            str(row["queued"]),
            row["transport"],
            " ".join(plain(row["description"]).split()),
        )
        for row in answer.value["items"]
    ]
    for line in table(("agent", "state", "queued", "transport", "description"), rows, "<<><<"):
        show(line[:WIDTH].rstrip())
    return DONE
