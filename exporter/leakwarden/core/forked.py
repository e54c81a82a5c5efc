"""What a forked child must not inherit: let go in the child before anything else runs there."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


def call_in_forked_children(obj: T, start_empty: Callable[[T], None]) -> None:
    """Call `start_empty(obj)` in every child forked from now on, as long as `obj` lives."""
    _calls()[obj] = start_empty


@cache
def _calls() -> WeakKeyDictionary[Any, Callable[[Any], None]]:
    """One hook for all, for Python cannot remove one.

    So this is state of the module all the same: a hook is the process's own, and one for each
    object would outlive it, and be paid for at each fork for ever. To ask for the pid instead
    would cost each acquire 50 ns.
    """
    calls: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()

    def call_all() -> None:
        for obj, start_empty in list(calls.items()):
            start_empty(obj)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call_all)
    return calls
