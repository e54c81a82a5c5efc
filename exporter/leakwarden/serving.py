"""The messaging service: a Warden with a store, delivery and HTTP around it, in one process.

What starts first stops last: the store, delivery, the periodic loop, HTTP. So a
message that was answered 202 is always in a store that is still open, and nothing
is accepted that nobody would deliver.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from leakwarden.app import Warden
from leakwarden.core.errors import ConfigError
from leakwarden.exporters.prometheus import Exporter
from leakwarden.messaging.agents import Agent, load_agents, write_sample
from leakwarden.messaging.delivery import Delivery
from leakwarden.messaging.formatter import Formatter
from leakwarden.messaging.inbox import Inbox
from leakwarden.messaging.sending import Sender
from leakwarden.messaging.store.datadir import write_whole
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import Messages
from leakwarden.messaging.store.retention import Retention
from leakwarden.messaging.validator import Validator
from leakwarden.service.auth import Tokens, check_listen, make_token_file
from leakwarden.service.context import Context
from leakwarden.service.http import build_app
from leakwarden.service.server import HttpServer, StopSignals
from leakwarden.settings import Settings
from leakwarden.snapshot import Source
from leakwarden.version import __version__

_log = logging.getLogger(__name__)


class Service:
    """One service over one data directory. `run()` is its whole life.

    `agents_file` and `token_file` default to `agents.json` and `token` in the data directory; a
    sample of agents and one token are written there at the first start. ConfigError, before
    anything is started, where a file or the listening address is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        data_dir: Path,
        *,
        agents_file: Path | None = None,
        token_file: Path | None = None,
    ) -> None:
        check_listen(settings.http, token_file)
        self.settings = settings
        self.data_dir = data_dir
        self.agents_file = agents_file or data_dir / "agents.json"
        self.token_file = token_file or data_dir / "token"
        self.agents: Mapping[str, Agent] = {}
        self._own_agents = agents_file is None
        self._own_token = token_file is None
        self._stopping = threading.Event()

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT, then close everything in order. Main thread only.

        `on_ready` is called once, with the URL, when messages are accepted. ConfigError where the
        data directory, the store or the address cannot be had.
        """
        with ExitStack() as stack:
            # Entered first, so that a second signal ends the process at once to the very end.
            server: HttpServer | None = None
            stack.enter_context(StopSignals(lambda: self._stop(server)))
            engine = Engine(self.data_dir, self.settings.store)
            engine.open()
            stack.callback(engine.close)
            context, delivery, warden = self._build(engine)
            stack.callback(context.readers.shutdown)
            server = HttpServer(build_app(context), self.settings.http, stopping=context.stopping)
            host, port = server.bind()
            delivery.start()
            stack.callback(delivery.stop)
            stack.enter_context(warden)
            name = f"[{host}]" if ":" in host else host
            url = f"http://{name}:{port}"
            if not self._stopping.is_set():
                server.run(lambda: on_ready(url))
            _log.info("service.stopping")
        _log.info("service.stopped")

    def _stop(self, server: HttpServer | None) -> None:
        """Stop serving; where serving has not begun, it then does not begin."""
        self._stopping.set()
        if server is not None:
            server.stop()

    def _build(self, engine: Engine) -> tuple[Context, Delivery, Warden]:
        """Every part over an open store, connected and not started."""
        if self._own_agents:
            write_sample(self.agents_file)
        if self._own_token:
            make_token_file(self.token_file)
        self.agents = load_agents(self.agents_file)
        warden = Warden(self.settings, instance_id=kept_instance_id(self.data_dir))
        messages = Messages(engine)
        inbox = Inbox(self.data_dir / "agents", warden.files)
        delivery = Delivery(messages, inbox, Formatter(warden.message_buffers), self.agents)
        messages.on_queued = delivery.wake
        retention = Retention(engine)
        retain_seconds = self.settings.store.retain_seconds
        warden.cleanup.add(
            "messages.retain", lambda: retention.retain_all(time.time() - retain_seconds)
        )
        warden.add_source(Source("messages", "messages", delivery.sample))
        warden.add_source(Source("store", "store", engine.sample))
        validator = Validator(warden.validation_history.record)
        context = Context(
            settings=self.settings,
            agents=self.agents,
            sender=Sender(messages, self.agents, validator, time.time),
            messages=messages,
            snapshot=warden.snapshot,
            leases=warden.leases,
            kinds=warden.kinds,
            exporter=Exporter(warden.snapshot),
            tokens=Tokens(self.token_file),
            ready=engine.healthy,
            version=__version__,
            instance_id=warden.instance_id,
            stopping=self._stopping,
        )
        return context, delivery, warden


def kept_instance_id(data_dir: Path) -> str:
    """The id of the service over `data_dir`: made at the first start, the same ever after.

    ConfigError where it cannot be read or kept. The caller owns the directory, so nobody else
    makes one at the same time.
    """
    path = data_dir / "instance_id"
    try:
        if path.exists():
            kept = path.read_text(encoding="ascii").strip()
            return uuid.UUID(kept).hex
        made = uuid.uuid4().hex
        write_whole(path, f"{made}\n")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} does not hold an instance id that can be used: {error}",
            "remove it, and a new one is made at the next start",
        ) from error
    return made
