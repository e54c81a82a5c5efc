"""The scheduled sweep: closes what is past its time and deletes finished rows past theirs.

Nothing else closes a lease for being stale, so what is stale stays visible as
stale until the sweep. Each step is isolated: one that raises is logged by its
name, and the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

Step = Callable[[], int]

_log = logging.getLogger(__name__)


class Cleanup:
    """Runs named steps in order; each returns how many it closed or deleted."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}

    def add(self, name: str, step: Step) -> None:
        """Run `step` in each sweep from now on, after those already there."""
        self._steps[name] = step

    def run(self) -> dict[str, int | None]:
        """What each step closed or deleted, by name; None for a step that raised."""
        done: dict[str, int | None] = {}
        for name, step in list(self._steps.items()):
            done[name] = self._try(name, step)
        closed = {name: count for name, count in done.items() if count}
        if closed:
            _log.info("cleanup.done %s", " ".join(f"{k}={v}" for k, v in closed.items()))
        return done

    @staticmethod
    def _try(name: str, step: Step) -> int | None:
        try:
            return step()
        except Exception:  # noqa: BLE001 - the edge of the loop
            # A user's kind or a full disk must not stop the others.
            _log.exception("cleanup.step_failed step=%s", name)
            return None
