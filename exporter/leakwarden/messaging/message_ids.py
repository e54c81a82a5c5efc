"""Ids of messages: they sort by time, and no two are ever equal."""

from __future__ import annotations

import os
import secrets
import struct
import threading


class MessageIds:
    """Makes the ids of one process: UUIDv7 (RFC 9562 section 5.7), 32 lower-case hex digits.

    The first 48 bits are milliseconds, so file names sort by time. Each id is greater than the
    one before it, in whatever thread and even when the clock stands or runs back: then the 74
    random bits of the last id are raised by a random step (section 6.2, method 2). After a fork
    the child begins anew, so the two never go on from the same number.
    """

    _RANDOM_BITS = 74
    _LOW_BITS = (1 << 62) - 1
    _VERSION_AND_VARIANT = 7 << 76 | 0b10 << 62
    _STEP_BITS = 48  # 2**25 ids within one millisecond before the time part has to lend one
    # Asking the kernel takes 0.5 us for one step and 1.7 for 64.
    _STEPS = struct.Struct("64Q")

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()  # a new one, since a fork may have copied a held one
        self._last_ms = -1
        self._last_random = 0
        self._steps: list[int] = []
        self._pid = os.getpid()

    def new(self, now_unix: float) -> str:
        """A new id for the time `now_unix`, or for that of the last id where that is later."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            now_ms = int(now_unix * 1000)
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                # The top bit stays clear, so that there is always room to count up.
                self._last_random = secrets.randbits(self._RANDOM_BITS - 1)
            else:
                self._last_random += 1 + self._step()
                self._last_ms += self._last_random >> self._RANDOM_BITS
                self._last_random &= (1 << self._RANDOM_BITS) - 1
            ms, random = self._last_ms, self._last_random
        number = ms << 80 | random >> 62 << 64 | random & self._LOW_BITS | self._VERSION_AND_VARIANT
        return number.to_bytes(16, "big").hex()

    def _step(self) -> int:
        """A random number of _STEP_BITS bits; the caller holds the lock."""
        if not self._steps:
            drawn = self._STEPS.unpack(os.urandom(self._STEPS.size))
            self._steps = [number >> (64 - self._STEP_BITS) for number in drawn]
        return self._steps.pop()
