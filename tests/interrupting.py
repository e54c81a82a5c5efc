"""A handler at each point in turn where CPython might run one inside core/.

It runs them on entering a function, after a call and on a jump: backward ones, and 3.10 on any
conditional one. Chance would hit few of these points.
"""

from __future__ import annotations

import sys
from dis import opname
from pathlib import Path

from leakwarden.core import ledger as ledger_module

CORE = str(Path(ledger_module.__file__).parent)
CALLS = ("CALL", "PRECALL", "BEFORE_WITH", "SETUP_WITH", "WITH_EXCEPT")


class Interruption:
    """Calls `handler` once, at point number `at` inside core/; `reached` says whether it did."""

    def __init__(self, handler, at):
        self.handler = handler
        self.left = at
        self.reached = False
        self.previous = {}

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.enter)

    def __exit__(self, *raised):
        sys.settrace(self.before)
        self.previous.clear()

    def enter(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(CORE):
            return None
        frame.f_trace = self.step  # 3.13 turns opcode events on only for a frame that is traced
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.step

    def step(self, frame, event, arg):
        if event == "opcode" and not self.reached and self.is_point(frame):
            if not self.left:
                self.reached = True
                sys.settrace(None)
                self.handler()
            self.left -= 1
        if event == "return":
            self.previous.pop(frame, None)  # a frame keeps its objects alive
        return self.step

    def is_point(self, frame):
        """Whether CPython could run a handler between the instruction before and this one."""
        here = frame.f_lasti
        before = self.previous.get(frame)
        self.previous[frame] = here
        if before is None or here < before:
            return True
        name = opname[frame.f_code.co_code[before]]
        jumped = here != before + 2 and name.startswith(("POP_JUMP", "JUMP_IF", "JUMP_ABSOLUTE"))
        return name.startswith(CALLS) or (jumped and sys.version_info < (3, 11))


def trace_once(call):
    """Let `call` be traced to its end: 3.12 has no points in what it has never traced before."""
    with Interruption(None, -1):
        call()
