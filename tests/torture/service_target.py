"""The whole service as the tortured target: sent to over HTTP, answered 202."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import RunningService
from waiting import wait_until


def serve(
    data_dir: Path, senders: int, acknowledged: Callable[[str], None]
) -> tuple[RunningService, list[threading.Thread]]:
    """The service over `data_dir` and the threads that send to it until it is gone.

    With no senders it delivers what is queued and is ended by SIGTERM.
    """
    service = RunningService(data_dir)
    if senders == 0:
        deliver_the_rest(service)
        service.served.process.send_signal(signal.SIGTERM)
        return service, []
    threads = [
        threading.Thread(target=send, args=(service.port, service.token, number, acknowledged))
        for number in range(senders)
    ]
    for thread in threads:
        thread.start()
    return service, threads


def deliver_the_rest(service: RunningService) -> None:
    """Return once nothing is queued. However much that is, each minute must see some of it go."""
    try:
        while left := queued(service):
            wait_until(lambda left=left: queued(service) < left, 60, every=0.1)
    except BaseException:
        service.served.process.kill()
        raise


def queued(service: RunningService) -> int:
    status, snapshot = service.get("/v1/snapshot")
    assert status == 200, snapshot
    return int(sum(snapshot["messages"]["queued"].values()))


def send(port: int, token: str, number: int, acknowledged: Callable[[str], None]) -> None:
    """Post over one connection until it breaks; one in five is a broadcast."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    count = 0
    try:
        while True:
            count += 1
            body = {"from": "tester", "body": f"{number}:{count}"}
            if count % 5:
                body["to"] = f"Agent-{number % 4 + 1}"
            route = "/v1/messages" if count % 5 else "/v1/broadcasts"
            connection.request("POST", route, json.dumps(body), headers)
            answer = connection.getresponse()
            content = json.loads(answer.read())
            assert answer.status == 202, content
            for one in content.get("ids") or [content["id"]]:
                acknowledged(one)
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return  # it was killed: what was not answered does not count
    finally:
        connection.close()
