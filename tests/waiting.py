"""Waiting for what can be observed, with a bound, in place of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 10.0, every: float = 0.01) -> T:
    """The first truthy answer of `condition`; AssertionError after `seconds` without one."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {seconds} s; last answer: {answer!r}")
        time.sleep(every)
