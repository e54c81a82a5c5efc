"""One transaction for many pieces of work: one fdatasync, yet each fails alone.

Rows for the same statement share one statement of many rows. Should that raise,
and for all other work, each piece runs in a SAVEPOINT of its own, so that a bad
row is rolled back by itself. Trouble of the disk fails the whole batch: nothing of
it is kept and nobody is told otherwise.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path

from leakwarden.messaging.store.items import Item
from leakwarden.messaging.store.trouble import Trouble, trouble_of

# sqlite3 lets go of the GIL for each row of an executemany, and where the event loop is busy takes
# as long to get it back; 32 rows of a message in one statement take 3.8 us a row against 6.4.
# What is more goes into the next statement, so that few different ones are ever prepared.
_ROWS_A_STATEMENT = 32


def run_batch(
    connection: sqlite3.Connection,
    items: Sequence[Item],
    path: Path,
    observe_commit: Callable[[float], None],
) -> Trouble | None:
    """None once all that did not fail by itself is durable; else why nothing of the batch is.

    Fills `result` or `error` of every item. `observe_commit` gets the seconds that COMMIT took.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        if len(items) == 1:
            items[0].apply(connection)
        else:
            _apply_each_alone(connection, items, path)
        started = time.perf_counter()
        connection.execute("COMMIT")
        observe_commit(time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001 - it is handed to the callers, each in its thread
        _roll_back(connection)
        trouble = trouble_of(error, path)
        for item in items:
            item.error = error if trouble is None else trouble.error()
        return trouble
    except BaseException:
        # A KeyboardInterrupt on a caller's thread must not leave a transaction open.
        _roll_back(connection)
        raise
    return None


def _roll_back(connection: sqlite3.Connection) -> None:
    # SQLite itself rolls back on most of these errors, and a broken disk may refuse this too.
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _apply_each_alone(connection: sqlite3.Connection, items: Sequence[Item], path: Path) -> None:
    for sql, group in groupby(items, key=lambda item: item.sql):
        alike = list(group)
        if sql is None or len(alike) == 1 or not _apply_together(connection, sql, alike, path):
            for item in alike:
                _apply_in_savepoint(connection, item, path)


def _apply_together(
    connection: sqlite3.Connection, sql: str, items: list[Item], path: Path
) -> bool:
    """True where all rows of all `items` are in; False leaves no trace of them."""
    rows = [row for item in items for row in item.rows]
    connection.execute("SAVEPOINT alike")
    try:
        for start in range(0, len(rows), _ROWS_A_STATEMENT):
            some = rows[start : start + _ROWS_A_STATEMENT]
            connection.execute(_for_rows(sql, len(some)), list(chain.from_iterable(some)))
    except Exception as error:
        if trouble_of(error, path) is not None:
            raise
        connection.execute("ROLLBACK TO alike")
        connection.execute("RELEASE alike")
        return False
    connection.execute("RELEASE alike")
    return True


@lru_cache
def _for_rows(sql: str, rows: int) -> str:
    """`sql`, which ends in the VALUES of one row, for that many."""
    _, separator, values = sql.rpartition(" VALUES ")
    if not separator:
        raise ValueError(f"no VALUES to repeat in {sql!r}")
    return sql + f", {values}" * (rows - 1)


def _apply_in_savepoint(connection: sqlite3.Connection, item: Item, path: Path) -> None:
    connection.execute("SAVEPOINT item")
    try:
        item.apply(connection)
    except Exception as error:
        if trouble_of(error, path) is not None:
            raise
        item.error = error
        connection.execute("ROLLBACK TO item")
    connection.execute("RELEASE item")
