from __future__ import annotations

import gc
import threading
import tracemalloc

import pytest

from forking import in_forked_child
from leakwarden.core.errors import LimitExceeded
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.message_buffers import MessageBuffers
from leakwarden.managers.stale import StaleHandle


@pytest.fixture
def buffers(clock):
    return MessageBuffers(ResourceSettings(4, 600.0, 100, "evict_oldest"), clock)


def test_a_lent_buffer_gives_its_bytes_inside_and_its_budget_back_after(buffers):
    with buffers.lend(b"message") as data:
        assert data == b"message"
        usage = buffers.usage()
        assert (usage.in_use, usage.bytes, usage.active) == (1, 7, 1)
    usage = buffers.usage()
    assert (usage.in_use, usage.bytes, usage.closed_total["released"]) == (0, 0, 1)


def test_a_message_of_exactly_the_budget_fits_and_one_byte_more_is_refused_in_bytes(buffers):
    with buffers.lend(bytes(100)):
        pass
    with pytest.raises(LimitExceeded) as caught:
        buffers.lend(bytes(101))
    assert (caught.value.unit, caught.value.limit) == ("bytes", 100)
    assert buffers.usage().rejected_total == 1


def test_the_oldest_buffer_that_nobody_uses_makes_room_and_its_bytes_are_freed(buffers, clock):
    with buffers.lend(bytes(30)) as used:
        oldest = buffers.lend(bytes(30))
        clock.advance(1)
        newer = buffers.lend(bytes(30))
        with buffers.lend(bytes(40)):
            assert oldest.data is None
            assert newer.data is not None
            assert len(used) == 30
            usage = buffers.usage()
            assert (usage.bytes, usage.closed_total["evicted"]) == (100, 1)
    assert newer.close() is True
    assert oldest.close() is False


def test_where_every_buffer_is_in_use_a_new_one_is_refused(buffers):
    with buffers.lend(bytes(60)), buffers.lend(bytes(40)):
        with pytest.raises(LimitExceeded) as caught:
            buffers.lend(b"x")
        assert (caught.value.unit, caught.value.in_use) == ("bytes", 100)
        assert buffers.usage().in_use == 2


def test_the_number_of_buffers_is_bounded_too(buffers):
    lent = [buffers.lend(b"x") for _ in range(5)]
    assert [each.data for each in lent] == [None, b"x", b"x", b"x", b"x"]


def test_entering_what_was_evicted_is_a_stale_handle(buffers):
    buffer = buffers.lend(bytes(60))
    with buffers.lend(bytes(60)), pytest.raises(StaleHandle, match="message_buffer"):
        buffer.__enter__()


def test_a_buffer_is_good_for_one_with(buffers):
    buffer = buffers.lend(b"x")
    with buffer:
        pass
    assert buffer.data is None
    with pytest.raises(StaleHandle):
        buffer.__enter__()


def test_a_buffer_unused_for_its_time_to_live_is_let_go_by_a_cleanup(buffers, clock):
    forgotten = buffers.lend(b"forgotten")
    with buffers.lend(b"slow"):
        clock.advance(600)
        assert (buffers.usage().stale, buffers.usage().pinned) == (1, 1)
        assert buffers.close_stale() == 1
    assert forgotten.data is None
    assert buffers.usage().closed_total["cleanup"] == 1


def test_a_buffer_dropped_unreturned_frees_its_memory_and_is_counted_as_finalizer(buffers):
    buffers.lend(b"dropped")
    gc.collect()
    usage = buffers.usage()
    assert (usage.bytes, usage.closed_total["finalizer"]) == (0, 1)


def test_memory_stays_within_the_budget_whatever_is_lent(clock):
    buffers = MessageBuffers(ResourceSettings(256, 600.0, 1_000_000, "evict_oldest"), clock)
    tracemalloc.start()
    held = [buffers.lend(bytes(50_000)) for _ in range(2000)]
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(each.data is not None for each in held) == 20
    assert peak < 2_500_000
    assert current < 2_500_000


def test_a_with_gives_back_when_its_block_raises(buffers):
    with pytest.raises(KeyError), buffers.lend(b"x"):
        raise KeyError
    assert buffers.usage().in_use == 0


def test_leases_name_the_caller(buffers):
    buffer = buffers.lend(b"x")
    assert buffers.leases()[0].file.endswith("test_message_buffers.py")
    buffer.close()


def test_threads_that_lend_stay_within_the_budget_and_leave_nothing(clock):
    buffers = MessageBuffers(ResourceSettings(256, 600.0, 1000, "evict_oldest"), clock)
    failures = []

    def work():
        try:
            for _ in range(500):
                left = buffers.lend(bytes(100))
                with buffers.lend(bytes(100)) as data:
                    assert len(data) == 100
                    assert buffers.usage().bytes <= 1000
                left.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert (buffers.usage().in_use, buffers._lent) == (0, set())


def test_a_forked_child_keeps_nothing_of_what_its_parent_lent(buffers):
    held = [buffers.lend(b"x") for _ in range(3)]

    def story():
        kept = len(buffers._lent)
        with buffers.lend(bytes(100)) as data:
            return kept, len(data)

    assert in_forked_child(story) == (0, 100)
    assert all(each.close() for each in held)
