from __future__ import annotations

import gc
import sys
import threading

import pytest

from forking import in_forked_child
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.validation_history import ValidationHistory, ValidationRecord
from reentering import work_inside_the_ledger


def record(number, sender="Agent-1"):
    return ValidationRecord(
        at=float(number),
        sender=sender,
        recipients=1,
        outcome="accepted",
        code=None,
        size_bytes=10,
    )


def history_of(clock, limit=3, ttl_seconds=60.0, limit_bytes=None, overflow="evict_oldest"):
    return ValidationHistory(ResourceSettings(limit, ttl_seconds, limit_bytes, overflow), clock)


def ats(history, most=100):
    return [each.at for each in history.recent(most)]


def test_recent_is_newest_first_and_at_most_as_many_as_asked(clock):
    history = history_of(clock)
    for number in range(3):
        assert history.record(record(number)) is True
    assert ats(history) == [2, 1, 0]
    assert ats(history, 2) == [2, 1]
    assert ats(history, 0) == []


def test_a_full_history_lets_the_oldest_go(clock):
    history = history_of(clock)
    for number in range(5):
        history.record(record(number))
    assert ats(history) == [4, 3, 2]
    usage = history.usage()
    assert (usage.in_use, usage.closed_total["evicted"], usage.rejected_total) == (3, 2, 0)
    assert usage.bounded_by_eviction


def test_records_go_exactly_at_their_time_to_live(clock):
    history = history_of(clock)
    history.record(record(0))
    clock.advance(30)
    history.record(record(1))
    clock.advance(29.999)
    assert history.close_stale() == 0
    clock.advance(0.001)
    assert history.close_stale() == 1
    assert ats(history) == [1]
    assert history.usage().closed_total["expired"] == 1


def test_the_bytes_of_what_is_kept_are_bounded(clock):
    history = history_of(clock, limit=None, limit_bytes=10_000)
    for number in range(100):
        history.record(record(number, sender="x" * 900))
    usage = history.usage()
    assert 8_000 < usage.bytes <= 10_000
    assert len(history.recent()) == usage.in_use < 12


def test_a_record_over_the_whole_budget_is_refused_counted_and_does_not_raise(clock):
    history = history_of(clock, limit_bytes=500)
    assert history.record(record(0, sender="x" * 1000)) is False
    assert (history.recent(), history.usage().rejected_total) == ([], 1)


def test_a_history_that_is_set_to_reject_keeps_the_first_ones(clock):
    history = history_of(clock, overflow="reject")
    assert [history.record(record(number)) for number in range(4)] == [True, True, True, False]
    assert ats(history) == [2, 1, 0]


def test_memory_stays_bounded_under_a_hundred_thousand_records(clock):
    history = history_of(clock, limit=100)
    for number in range(1000):
        history.record(record(number))
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(100_000):
        history.record(record(number))
    gc.collect()
    # A hundred records and their leases were replaced by as many: each has several blocks.
    assert sys.getallocatedblocks() - before < 1000
    assert len(history.recent(1000)) == history.usage().in_use == 100


def test_threads_that_record_leave_the_history_and_its_accounts_in_step(clock):
    history = history_of(clock, limit=50)

    def work():
        for number in range(500):
            history.record(record(number))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    usage = history.usage()
    assert len(history.recent(1000)) == usage.in_use == 50
    assert usage.closed_total["evicted"] == 1950
    assert usage.closed_total["finalizer"] == 0


def test_a_record_has_no_room_for_the_text_of_a_message():
    with pytest.raises(AttributeError):
        object.__setattr__(record(0), "body", "secret")
    assert set(ValidationRecord.__dataclass_fields__) == {
        "at", "sender", "recipients", "outcome", "code", "size_bytes",
    }  # fmt: skip


def test_the_history_tells_its_leases_oldest_first(clock):
    history = history_of(clock)
    history.record(record(0))
    clock.advance(5)
    history.record(record(1))
    assert [info.age_seconds for info in history.leases()] == [5, 0]


def test_a_forked_child_begins_empty_and_records(clock):
    history = history_of(clock)
    history.record(record(99))

    def story():
        before = ats(history)
        for number in range(10):
            history.record(record(number))
        return before, ats(history), history.usage().in_use

    assert in_forked_child(story) == ([], [9, 8, 7], 3)
    assert ats(history) == [99]


def test_a_thread_that_records_blocks_no_one_who_holds_the_ledger(clock):
    history = history_of(clock)
    work_inside_the_ledger(
        history.ledger,
        lambda: history.record(record(1)),
        lambda: (history.record(record(2)), history.recent(), history.close_stale()),
    )
    assert sorted(ats(history)) == [1, 2]
