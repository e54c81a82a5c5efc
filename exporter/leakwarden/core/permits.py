"""A limit that costs one deque.pop to take from and one deque.append to give back to.

A permit is a place in a deque; whoever pops one may hold a lease, and appends it again when the
lease is closed. Both are single C calls, so taking needs no lock, and there are never more
leases than permits. Permits are minted when the deque runs empty, never beyond the limit, so that
a high limit costs no memory before it is used.
"""

from __future__ import annotations

import sys
from collections import deque
from itertools import repeat

# Minting takes the ledger's lock; by 64 that is nothing, and 64 permits are 512 bytes.
_MOST_MINTED = 64


class Permits:
    """At most `limit` permits in hands (None: no bound).

    Anyone takes one by `free.pop()`, which raises IndexError where none is free, and gives it back
    by `returned.append(None)`: spelt out, for a method around each would double its cost. The
    methods are for holders of the ledger's lock.
    """

    __slots__ = ("_limit", "_minted", "free", "returned")

    def __init__(self, limit: int | None) -> None:
        self._limit = sys.maxsize if limit is None else limit
        self._minted = 0
        self.returned: deque[None] = deque()
        self.free = self.returned

    def resize(self, limit: int | None) -> None:
        """Put `limit` in force. Below what is in hands, nothing is taken until enough came back."""
        self._limit = sys.maxsize if limit is None else limit
        self._burn()

    def mint(self) -> bool:
        """True where the caller now has a permit; False at the limit."""
        self._burn()
        try:
            self.free.pop()
        except IndexError:
            pass
        else:
            return True
        while self._minted < self._limit:
            # Half of what is left at most: a signal handler that comes before the extend still
            # finds something to mint, and is not refused below the limit.
            some = min(_MOST_MINTED, (self._limit - self._minted + 1) // 2)
            # No call stands between this look and the addition, so no handler runs there.
            if self._minted + some <= self._limit:
                self._minted += some
                self.returned.extend(repeat(None, some - 1))
                return True
        return False

    def _burn(self) -> None:
        """Destroy what is free above the limit; while more is in hands, nothing is free."""
        if self._minted > self._limit:
            # First of all: what comes back meanwhile is to be burnt, not taken.
            self.free = deque()
            try:
                while self._minted > self._limit:
                    self.returned.pop()
                    self._minted -= 1
            except IndexError:
                return
        self.free = self.returned
