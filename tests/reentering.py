"""A user's code that comes while its thread holds a ledger's lock: a handler, a `__del__`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from leakwarden.core.ledger import Ledger
from waiting import wait_until


def work_inside_the_ledger(
    ledger: Ledger, elsewhere: Callable[[], object], inside: Callable[[], object]
) -> None:
    """Run `inside` with the ledger's lock held, while another thread's `elsewhere` waits for it.

    AssertionError where the two wait for each other.
    """
    entered, go, results = threading.Event(), threading.Event(), []

    def hold() -> None:
        with ledger._lock:
            entered.set()
            assert go.wait(10)
            results.append(inside())

    holder = threading.Thread(target=hold, daemon=True)
    other = threading.Thread(target=elsewhere, daemon=True)
    holder.start()
    assert entered.wait(10)
    other.start()
    wait_until(lambda: not other.is_alive() or is_inside(other, ledger))
    go.set()
    holder.join(10)
    other.join(10)
    assert not holder.is_alive(), "the two threads wait for each other"
    assert not other.is_alive()
    assert results


def is_inside(thread: threading.Thread, ledger: Ledger) -> bool:
    """True where the thread is at work in the ledger's own module."""
    frame = sys._current_frames().get(thread.ident or 0)
    return (
        frame is not None
        and frame.f_code.co_filename == sys.modules[type(ledger).__module__].__file__
    )
