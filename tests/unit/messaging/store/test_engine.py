from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from leakwarden.core.errors import ConfigError, Unavailable
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.items import Item
from leakwarden.messaging.store.messages import INSERT, Messages
from leakwarden.messaging.store.rows import values_of
from leakwarden.settings import StoreSettings
from storing import new_message, opened
from waiting import wait_until


def pragma(name: str):
    return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]


def count(engine: Engine) -> int:
    """As a second program sees it."""
    with closing(sqlite3.connect(engine.path)) as outside:
        return outside.execute("SELECT count(*) FROM messages").fetchone()[0]


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """A transaction as long as the block, so that all that comes meanwhile gathers in one batch."""
    started, go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> None:
        started.set()
        assert go_on.wait(10)

    thread = threading.Thread(target=engine.submit, args=(work,))
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        go_on.set()
        thread.join()


def test_what_work_returns_comes_back_and_what_it_raises_is_undone(engine):
    def bad(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, values_of(new_message()))
        raise LookupError("of its own")

    with pytest.raises(LookupError):
        engine.submit(bad)
    assert count(engine) == 0
    assert engine.submit(lambda connection: connection.execute("SELECT 7").fetchone()) == (7,)
    assert engine.healthy() is None


def test_everything_handed_in_while_a_commit_runs_shares_the_next_one(engine):
    results: list[int] = []

    def send(number: int) -> None:
        results.append(engine.submit(lambda _: number))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    with held(engine):
        for thread in threads:
            thread.start()
        wait_until(lambda: len(engine._queue) == 8)
        before = engine.sample().commit_duration_seconds.count
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(8))
    # One for what held them up, and at most two for the eight.
    assert engine.sample().commit_duration_seconds.count - before <= 3


def test_in_one_batch_a_bad_row_and_a_bad_piece_of_work_fail_alone(engine):
    twice = new_message()
    Messages(engine).enqueue([twice])
    outcomes: dict[str, BaseException | None] = {}

    def send(name: str, call) -> None:
        try:
            call()
            outcomes[name] = None
        except Exception as error:
            outcomes[name] = error

    def bad(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, values_of(new_message()))
        raise LookupError("of its own")

    def good(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, values_of(new_message()))

    calls = {
        "good rows": lambda: engine.append(INSERT, [values_of(new_message())]),
        "bad rows": lambda: engine.append(INSERT, [values_of(new_message()), values_of(twice)]),
        "more good rows": lambda: engine.append(INSERT, [values_of(new_message())] * 1),
        "bad work": lambda: engine.submit(bad),
        "good work": lambda: engine.submit(good),
    }
    threads = [threading.Thread(target=send, args=item) for item in calls.items()]
    with held(engine):
        for thread in threads:
            thread.start()
        wait_until(lambda: len(engine._queue) == len(calls))
    for thread in threads:
        thread.join()
    assert [name for name, error in outcomes.items() if error is None] == [
        name for name in outcomes if "good" in name
    ]
    assert isinstance(outcomes["bad rows"], sqlite3.IntegrityError)
    assert isinstance(outcomes["bad work"], LookupError)
    assert count(engine) == 1 + 3


def test_coroutines_get_results_and_errors_of_their_own(engine):
    def bad(connection: sqlite3.Connection) -> None:
        raise LookupError("of its own")

    async def ask() -> list:
        good = [engine.submit_async(lambda _, number=number: number) for number in range(5)]
        return await asyncio.gather(*good, engine.submit_async(bad), return_exceptions=True)

    *results, error = asyncio.run(ask())
    assert results == list(range(5))
    assert isinstance(error, LookupError)


def test_coroutines_that_ask_in_one_turn_of_their_loop_share_one_commit(engine):
    async def ask() -> None:
        await asyncio.gather(*(engine.submit_async(lambda _: None) for _ in range(16)))

    before = engine.sample().commit_duration_seconds.count
    asyncio.run(ask())
    assert engine.sample().commit_duration_seconds.count - before == 1


def test_a_cancelled_coroutine_takes_nobody_with_it_and_its_work_stays(engine):
    async def ask() -> None:
        with held(engine):
            sending = asyncio.create_task(engine.append_async(INSERT, [values_of(new_message())]))
            other = asyncio.create_task(engine.append_async(INSERT, [values_of(new_message())]))
            while len(engine._queue) < 2:  # noqa: ASYNC110 - the queue has no event
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
        await other
        assert sending.cancelled()

    asyncio.run(ask())
    assert count(engine) == 2


def test_a_loop_that_ended_before_its_answer_does_not_stop_the_writer(engine):
    async def ask_and_leave() -> None:
        task = asyncio.create_task(engine.append_async(INSERT, [values_of(new_message())]))
        while not engine._queue:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        task.cancel()

    with held(engine):
        asyncio.run(ask_and_leave())
    assert engine.submit(lambda _: 1) == 1
    wait_until(lambda: count(engine) == 1)


def test_many_threads_and_loops_lose_nothing(engine):
    messages = Messages(engine)
    sent: list[str] = []

    def by_thread() -> None:
        for _ in range(30):
            one = new_message()
            messages.enqueue([one])
            sent.append(one.id)

    def by_loop() -> None:
        async def one_by_one() -> None:
            for _ in range(10):
                one = new_message()
                await messages.enqueue_async([one])
                sent.append(one.id)

        async def all_of_them() -> None:
            await asyncio.gather(*(one_by_one() for _ in range(4)))

        asyncio.run(all_of_them())

    threads = [threading.Thread(target=call) for call in [by_thread] * 6 + [by_loop] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(sent) == 6 * 30 + 2 * 40
    assert sorted(sent) == sorted(one.id for one in messages.page(most=1000))


def test_another_program_that_holds_the_write_lock_makes_it_unavailable_until_it_lets_go(
    engine, monkeypatch
):
    engine.submit(lambda connection: connection.execute("PRAGMA busy_timeout = 10").fetchone())
    with closing(sqlite3.connect(engine.path, isolation_level=None)) as outside:
        outside.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as error:
            Messages(engine).enqueue([new_message()])
        assert "locked" in error.value.message
        assert "locked" in engine.healthy()
        outside.execute("ROLLBACK")
        # By itself: nobody sends anything.
        wait_until(lambda: engine.healthy() is None)
    assert count(engine) == 0
    Messages(engine).enqueue([new_message()])
    assert count(engine) == 1


def test_the_log_is_emptied_once_nobody_writes(engine):
    log = engine.path.with_name(f"{engine.path.name}-wal")
    Messages(engine).enqueue([new_message()])
    assert log.stat().st_size > 0
    wait_until(lambda: log.stat().st_size == 0)
    # And again after the writer has gone to sleep for good.
    wait_until(lambda: engine._commits == engine._tidied_commits)
    Messages(engine).enqueue([new_message()])
    wait_until(lambda: log.stat().st_size == 0)


def test_pages_of_deleted_rows_go_back_to_the_disk(engine):
    Messages(engine).enqueue([new_message(body="x" * 8000) for _ in range(200)])
    wait_until(lambda: engine.read(pragma("page_count")) > 200)
    engine.submit(lambda connection: connection.execute("DELETE FROM messages").rowcount)
    wait_until(lambda: engine.read(pragma("page_count")) < 50)


def test_the_sample_has_the_bytes_of_both_files_and_every_commit(engine):
    before = engine.sample().commit_duration_seconds.count
    Messages(engine).enqueue([new_message()])
    sample = engine.sample()
    assert sample.commit_duration_seconds.count == before + 1
    wait_until(
        lambda: (
            engine.sample().bytes
            == sum(
                path.stat().st_size
                for path in engine.path.parent.glob("*.db*")
                if not path.name.endswith("-shm")
            )
        )
    )


@pytest.mark.parametrize(("setting", "number"), [("full", 2), ("normal", 1)])
def test_the_settings_of_the_database_are_what_was_asked(tmp_path: Path, setting, number):
    with opened(tmp_path, StoreSettings(synchronous=setting)) as engine:
        assert engine.submit(pragma("synchronous")) == number
        assert engine.submit(pragma("journal_mode")) == "wal"
        assert engine.submit(pragma("auto_vacuum")) == 2
        assert engine.submit(pragma("journal_size_limit")) == 16 * 2**20
        assert engine.submit(pragma("user_version")) == 1


def test_a_reader_cannot_write_and_sees_only_what_is_committed(engine):
    sql = "DELETE FROM messages"
    with pytest.raises(Unavailable):
        engine.read(lambda connection: connection.execute(sql).rowcount)

    def insert_and_look(connection: sqlite3.Connection) -> int:
        connection.execute(INSERT, values_of(new_message()))
        return count(engine)

    assert engine.submit(insert_and_look) == 0
    assert count(engine) == 1


def test_a_backup_is_a_whole_database_that_opens_elsewhere(engine, tmp_path: Path):
    Messages(engine).enqueue([new_message() for _ in range(3)])
    other = tmp_path / "other"
    other.mkdir()
    engine.backup(other / "leakwarden.db")
    with opened(other) as copy:
        assert count(copy) == 3
    # The reader that wrote it is a reader again.
    with pytest.raises(Unavailable):
        engine.read(lambda connection: connection.execute("DELETE FROM messages").rowcount)
    with pytest.raises(ConfigError, match="already there"):
        engine.backup(other / "leakwarden.db")
    with pytest.raises(ConfigError, match="cannot be written"):
        engine.backup(tmp_path / "missing" / "backup.db")


def test_before_open_and_after_close_nothing_is_taken(tmp_path: Path):
    engine = Engine(tmp_path, StoreSettings())
    assert engine.healthy() == "the store is not open"
    with pytest.raises(Unavailable):
        engine.submit(lambda _: None)
    engine.open()
    engine.close()
    engine.close()
    for call in (
        lambda: engine.submit(lambda _: None),
        lambda: engine.append(INSERT, []),
        lambda: engine.read(lambda _: None),
        lambda: asyncio.run(engine.submit_async(lambda _: None)),
        lambda: engine.backup(tmp_path / "b.db"),
    ):
        with pytest.raises(Unavailable):
            call()


def test_close_commits_what_was_handed_in_and_wakes_everybody(tmp_path: Path):
    engine = Engine(tmp_path, StoreSettings())
    engine.open()
    outcomes: list[str] = []

    def send() -> None:
        while True:
            one = new_message()
            try:
                Messages(engine).enqueue([one])
            except Unavailable:
                return
            outcomes.append(one.id)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(outcomes) > 50)
    engine.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert not engine.path.with_name(f"{engine.path.name}-wal").exists()
    with closing(sqlite3.connect(engine.path)) as outside:
        stored = {row[0] for row in outside.execute("SELECT id FROM messages")}
    assert set(outcomes) <= stored


def test_what_comes_in_the_instant_after_the_writer_ended_is_refused_and_not_left_waiting(engine):
    engine.close()
    late = Item(work=lambda _: None)
    late.gate = threading.Lock()
    late.gate.acquire()
    engine._put((late,))  # as by a caller that had found the store open
    assert late.gate.acquire(timeout=10)
    assert isinstance(late.error, Unavailable)


def test_an_engine_can_be_opened_again(tmp_path: Path):
    engine = Engine(tmp_path, StoreSettings())
    for expected in (1, 2):
        engine.open()
        Messages(engine).enqueue([new_message()])
        assert count(engine) == expected
        engine.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_refused_and_the_parent_goes_on(engine):
    Messages(engine).enqueue([new_message()])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            Messages(engine).enqueue([new_message()])
        except Unavailable:
            engine.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    Messages(engine).enqueue([new_message()])
    assert count(engine) == 2
    assert engine.healthy() is None


def test_the_writer_thread_has_its_name_and_ends_with_close(tmp_path: Path):
    with opened(tmp_path):
        assert "leakwarden-store" in {thread.name for thread in threading.enumerate()}
    assert "leakwarden-store" not in {thread.name for thread in threading.enumerate()}
