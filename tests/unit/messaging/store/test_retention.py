from __future__ import annotations

import pytest

from leakwarden.messaging.store import retention as module
from leakwarden.messaging.store.messages import Failure, Messages
from leakwarden.messaging.store.retention import Retention
from storing import new_message

NOW = 1_800_000_000.0


def finish(messages: Messages, at: float, count: int = 1) -> list[str]:
    messages.enqueue([new_message(accepted_at=at) for _ in range(count)])
    ids = [message.id for message in messages.claim(count, at, 60)]
    messages.ack(ids, at, "inbox")
    return ids


def test_only_what_finished_before_the_time_is_deleted(engine, messages):
    (old,), (exactly,), (young,) = (finish(messages, at) for at in (NOW - 1, NOW, NOW + 1))
    assert Retention(engine).retain(NOW) == 1
    assert messages.get(old) is None
    assert messages.get(exactly) is not None
    assert messages.get(young) is not None


def test_what_waits_or_is_under_way_is_never_deleted(engine, messages):
    messages.enqueue([new_message(accepted_at=1.0) for _ in range(3)])
    under_way, paused = messages.claim(2, 1.0, 60)
    messages.retry([Failure(paused.id, "io", 5.0)], 2.0)
    assert Retention(engine).retain(NOW) == 0
    assert messages.get(under_way.id) is not None
    assert len(messages.page()) == 3


def test_what_failed_for_good_goes_too_with_its_history(engine, messages):
    messages.enqueue([new_message(accepted_at=1.0)])
    (claimed,) = messages.claim(1, 1.0, 60)
    messages.retry([Failure(claimed.id, "io", None)], 1.0)
    assert Retention(engine).retain(NOW) == 1
    sql = "SELECT count(*) FROM attempts"
    assert engine.read(lambda connection: connection.execute(sql).fetchone()) == (0,)


def test_one_transaction_deletes_at_most_as_many_as_asked_the_oldest_first(engine, messages):
    for at in (3.0, 1.0, 2.0):
        finish(messages, at)
    assert Retention(engine).retain(NOW, most=2) == 2
    assert [message.finished_at for message in messages.page()] == [3.0]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_of_them_go_in_as_many_transactions_as_it_takes(engine, messages, monkeypatch, count):
    monkeypatch.setattr(module, "MOST_ROWS", 2)
    finish(messages, 1.0, count)
    commits = engine.sample().commit_duration_seconds.count
    assert Retention(engine).retain_all(NOW) == count
    assert messages.page() == []
    assert engine.sample().commit_duration_seconds.count - commits == count // 2 + 1
