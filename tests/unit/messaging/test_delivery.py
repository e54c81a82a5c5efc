from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.files import Files
from leakwarden.managers.message_buffers import MessageBuffers
from leakwarden.messaging.delivery import MOST_ATTEMPTS, REASONS, Delivery
from leakwarden.messaging.formatter import Formatter, parse_message
from leakwarden.messaging.inbox import Batch, Inbox
from leakwarden.messaging.message import Priority
from leakwarden.messaging.states import MessageState
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import Messages
from storing import new_message, opened
from waiting import wait_until

AGENTS = ("Agent-1", "Agent-2", "Agent-3")


class World:
    """A store, inboxes and a delivery over one folder; its clock stands until it is moved."""

    def __init__(self, engine: Engine, root: Path, buffer_bytes: int = 2**20) -> None:
        self.root = root
        self.engine = engine
        self.now = time.time()
        self.files = Files(ResourceSettings(limit=10, ttl_seconds=60.0), time.monotonic)
        buffers = ResourceSettings(10, 60.0, buffer_bytes, "evict_oldest")
        self.buffers = MessageBuffers(buffers, time.monotonic)
        self.messages = Messages(engine)
        self.inbox = Inbox(root, self.files)
        self.delivery = Delivery(
            self.messages, self.inbox, Formatter(self.buffers), AGENTS, lambda: self.now
        )
        self.messages.on_queued = self.delivery.wake

    def standing(self, agent: str = "Agent-2") -> list[str]:
        return sorted(path.stem for path in (self.root / agent / "inbox").glob("*.md"))

    def state(self, message_id: str) -> MessageState:
        return self.messages.get(message_id).state

    def failures(self) -> dict[str, int]:
        found = self.delivery.sample().failures_total
        return {reason: count for (_, reason), count in found.items() if count}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path / "data") as engine:
        world = World(engine, tmp_path / "data" / "agents")
        yield world
        world.delivery.stop()


def test_a_message_goes_into_the_inbox_and_is_then_delivered(world):
    new = new_message(body="tea\n\nat four?")
    world.messages.enqueue([new])
    world.delivery.start()
    wait_until(lambda: world.state(new.id) is MessageState.DELIVERED)
    assert world.standing() == [new.id]
    file = world.root / "Agent-2" / "inbox" / f"{new.id}.md"
    assert parse_message(file.read_bytes()).body == new.body
    found = world.messages.get(new.id)
    assert (found.transport, found.attempts, found.finished_at) == ("inbox", 1, world.now)
    assert world.buffers.usage().in_use == 0
    assert world.files.usage().in_use == 0


def test_a_new_message_wakes_delivery_from_its_sleep(world, monkeypatch):
    monkeypatch.setattr("leakwarden.messaging.delivery._IDLE_SECONDS", 3600.0)
    world.delivery.start()
    for _ in range(3):
        new = new_message()
        world.messages.enqueue([new])
        wait_until(lambda new=new: world.state(new.id) is MessageState.DELIVERED)


def test_urgent_messages_are_in_the_inbox_before_others_that_came_first(world):
    ordinary = [new_message() for _ in range(3)]
    urgent = new_message(Priority.URGENT)
    world.messages.enqueue([*ordinary, urgent])
    world.delivery.start()
    wait_until(lambda: len(world.standing()) == 4)
    times = {
        path.stem: path.stat().st_mtime_ns
        for path in (world.root / "Agent-2" / "inbox").glob("*.md")
    }
    assert min(times, key=times.get) == urgent.id


def test_a_message_that_already_stands_in_the_inbox_is_only_acknowledged(world):
    new = new_message()
    world.messages.enqueue([new])
    folder = world.root / "Agent-2" / "inbox"
    folder.mkdir(parents=True)
    (folder / f"{new.id}.md").write_bytes(b"as it stood")
    world.delivery.start()
    wait_until(lambda: world.state(new.id) is MessageState.DELIVERED)
    assert (folder / f"{new.id}.md").read_bytes() == b"as it stood"


def test_starting_removes_what_a_crash_left_half_written(world):
    folder = world.root / "Agent-2" / "inbox"
    folder.mkdir(parents=True)
    (folder / f".{'0' * 32}.tmp").touch()
    world.delivery.start()
    assert list(folder.iterdir()) == []


def test_a_message_to_nobody_known_fails_for_good_with_its_reason(world):
    new = new_message(recipient="Agent-9")
    world.messages.enqueue([new])
    world.delivery.start()
    wait_until(lambda: world.state(new.id) is MessageState.FAILED)
    assert world.messages.get(new.id).last_error == "unknown_agent"
    assert not (world.root / "Agent-9").exists()
    assert world.failures() == {"unknown_agent": 1}


def test_a_message_larger_than_the_whole_budget_fails_for_good(tmp_path: Path):
    with opened(tmp_path) as engine:
        world = World(engine, tmp_path / "agents", buffer_bytes=300)
        # Longer than the budget by its body alone, and by its headers.
        long, longer, short = (new_message(body="x" * size) for size in (250, 400, 1))
        world.messages.enqueue([long, longer, short])
        world.delivery.start()
        wait_until(lambda: world.state(short.id) is MessageState.DELIVERED)
        for one in (long, longer):
            wait_until(lambda one=one: world.state(one.id) is MessageState.FAILED)
            assert world.messages.get(one.id).last_error == "too_large"
        world.delivery.stop()


def test_a_failure_is_tried_again_after_a_growing_pause_and_the_eighth_ends_it(world):
    # A file stands where the agent's folder belongs.
    world.root.mkdir()
    (world.root / "Agent-2").write_text("")
    new = new_message()
    world.messages.enqueue([new])
    world.delivery.start()
    pauses = []
    for attempt in range(1, MOST_ATTEMPTS):
        wait_until(
            lambda attempt=attempt: (
                world.state(new.id) is MessageState.QUEUED
                and world.messages.get(new.id).attempts == attempt
                and world.messages.get(new.id).due_at > world.now
            )
        )
        pauses.append(round(world.messages.get(new.id).due_at - world.now))
        world.now = world.messages.get(new.id).due_at
        world.delivery.wake()
    wait_until(lambda: world.state(new.id) is MessageState.FAILED)
    assert pauses == [1, 4, 16, 64, 256, 300, 300]
    assert [attempt.outcome for attempt in world.messages.attempts(new.id)] == [
        *["retry"] * 7,
        "fail",
    ]
    assert world.failures() == {"io": 8}


def test_what_failed_once_is_delivered_once_the_cause_is_gone(world):
    world.root.mkdir()
    obstacle = world.root / "Agent-2"
    obstacle.write_text("")
    new, other = new_message(), new_message(recipient="Agent-3")
    world.messages.enqueue([new, other])
    world.delivery.start()
    wait_until(lambda: world.messages.get(new.id).last_error == "io")
    # One agent's trouble holds up nobody else.
    wait_until(lambda: world.state(other.id) is MessageState.DELIVERED)
    obstacle.unlink()
    world.now += 2
    wait_until(lambda: world.state(new.id) is MessageState.DELIVERED)
    assert [attempt.outcome for attempt in world.messages.attempts(new.id)] == ["retry", "deliver"]


def test_a_repeated_failure_is_logged_once_and_counted_each_time(world, caplog):
    caplog.set_level(logging.WARNING)
    world.messages.enqueue([new_message(recipient="Agent-9") for _ in range(5)])
    world.delivery.start()
    wait_until(lambda: world.failures() == {"unknown_agent": 5})
    assert len([record for record in caplog.records if "unknown_agent" in record.message]) == 1


def test_stopping_finishes_the_batch_in_hand_and_leaves_the_rest_queued(world, monkeypatch):
    monkeypatch.setattr("leakwarden.messaging.delivery._BATCH", 3)
    inside, go_on = threading.Event(), threading.Event()
    publish = Batch.publish

    def slow(batch: Batch) -> dict[str, OSError]:
        inside.set()
        assert go_on.wait(10)
        return publish(batch)

    monkeypatch.setattr(Batch, "publish", slow)
    new = [new_message() for _ in range(5)]
    world.messages.enqueue(new)
    world.delivery.start()
    assert inside.wait(10)
    stopping = threading.Thread(target=world.delivery.stop)
    stopping.start()
    wait_until(lambda: world.delivery._stopping)
    go_on.set()
    stopping.join(10)
    assert [world.state(one.id).value for one in new] == ["delivered"] * 3 + ["queued"] * 2
    world.delivery.start()
    wait_until(lambda: world.state(new[-1].id) is MessageState.DELIVERED)


def test_while_the_store_cannot_commit_delivery_waits_and_then_goes_on(world, caplog):
    world.engine.submit(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchone())
    new = new_message()
    world.messages.enqueue([new])
    outside = sqlite3.connect(world.engine.path, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    world.delivery.start()
    wait_until(lambda: "store_unavailable" in caplog.text)
    outside.execute("ROLLBACK")
    outside.close()
    wait_until(lambda: world.state(new.id) is MessageState.DELIVERED)
    assert world.standing() == [new.id]


def test_a_batch_whose_lease_ran_out_meanwhile_is_found_in_the_inbox_and_acknowledged(
    world, monkeypatch
):
    publish = Batch.publish
    taken = []

    def slow(batch: Batch) -> dict[str, OSError]:
        failed = publish(batch)
        if not taken:
            # The lease ends and somebody puts the message back before the acknowledgement.
            taken.append(True)
            sql = "UPDATE messages SET state = 'queued', due_at = NULL"
            world.engine.submit(lambda connection: connection.execute(sql).rowcount)
        return failed

    monkeypatch.setattr(Batch, "publish", slow)
    new = new_message()
    world.messages.enqueue([new])
    world.delivery.start()
    wait_until(lambda: world.state(new.id) is MessageState.DELIVERED)
    assert world.standing() == [new.id]
    assert world.delivery.sample().attempts_total == {"inbox": 2}


def test_the_sample_has_every_reason_and_priority_from_the_start(world):
    sample = world.delivery.sample()
    assert sample.attempts_total == {"inbox": 0}
    assert sample.failures_total == {("inbox", reason): 0 for reason in REASONS}
    assert sample.queued == {"low": 0, "normal": 0, "high": 0, "urgent": 0}
    assert sample.oldest_queued_at is None
    assert sample.duration_seconds["inbox"].count == 0
    new = new_message(Priority.HIGH, accepted_at=7.0)
    world.messages.enqueue([new])
    assert world.delivery.sample().queued["high"] == 1
    assert world.delivery.sample().oldest_queued_at == 7.0
    world.delivery.start()
    wait_until(lambda: world.state(new.id) is MessageState.DELIVERED)
    sample = world.delivery.sample()
    assert sample.attempts_total == {"inbox": 1}
    assert sample.duration_seconds["inbox"].count == 1


def test_starting_and_stopping_twice_is_once(world):
    world.delivery.start()
    world.delivery.start()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("leakwarden-delivery") == 1
    world.delivery.stop()
    world.delivery.stop()
    assert "leakwarden-delivery" not in {thread.name for thread in threading.enumerate()}
