"""A forked child that answers or is ended, so that one that hangs fails its test at once."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_forked_child(function: Callable[[], T], seconds: float = 10.0) -> T:
    """What `function()` returned in a forked child; AssertionError without an answer in time.

    EOFError where the child died of it. The child is ended in any case.
    """
    fork = multiprocessing.get_context("fork")
    answer, ours = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: ours.send(function()), daemon=True)
    with warnings.catch_warnings():  # from 3.12 on Python warns of what this is about
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    ours.close()
    try:
        assert answer.poll(seconds), f"the child did not answer within {seconds} s"
        return answer.recv()
    finally:
        child.kill()
        child.join(10)
        answer.close()
