"""Take, keep and deliver messages, and export what is held.

leakwarden serve
leakwarden serve --listen 127.0.0.1:9900 --data-dir ./data --agents agents.json
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from pathlib import Path

from leakwarden.cli import DONE
from leakwarden.config import default_data_dir, load_settings
from leakwarden.serving import Service
from leakwarden.version import __version__


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="where to listen, port 0 for a free one (default: 127.0.0.1:9877)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where the store, the inboxes and the token are kept "
        "(default: leakwarden in the user's state directory)",
    )
    parser.add_argument(
        "--agents",
        type=Path,
        metavar="FILE",
        help="the agents, as JSON (default: agents.json in the data directory, "
        "a sample at the first start)",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings, as YAML (default: none)"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="who may call, one entry a line; needed off loopback (default: one token, made at "
        "the first start, in the data directory)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 once everything is closed in order."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # Messages are for their owner's eyes, in a data directory that others may enter too.
    os.umask(0o077)
    settings = load_settings(args.config, os.environ, {"http.listen": args.listen})
    service = Service(
        settings,
        (args.data_dir or default_data_dir()).absolute(),
        agents_file=args.agents,
        token_file=args.token_file,
    )
    service.run(lambda url: _say_ready(service, url))
    return DONE


def _say_ready(service: Service, url: str) -> None:
    agent = next(iter(service.agents))
    here = _command()
    elsewhere = "" if url.endswith("//127.0.0.1:9877") else f" --url {url}"
    if service.data_dir != default_data_dir():
        elsewhere += f" --token-file {service.token_file}"
    print(
        f"""leakwarden {__version__} is ready at {url}
  metrics   {url}/metrics
  agents    {len(service.agents)}, in {service.agents_file}
  inboxes   {service.data_dir / "agents"}
Try in another terminal:
  {here} send{elsewhere} --from operator --to {agent} 'Please check the build.'
  {here} status{elsewhere}
  {here} explain{elsewhere} message_buffer""",
        flush=True,
    )


def _command() -> str:
    """What to type to run this program from where the user stands."""
    program = Path(sys.argv[0])
    found = shutil.which("leakwarden")
    if program.name != "leakwarden":
        return f"{Path(sys.executable).name} -m leakwarden"
    if found is not None and Path(found).resolve() == program.resolve():
        return "leakwarden"
    return os.path.relpath(program)
