"""Addresses of one node's pods: each used by one pod at a time, and not again for a while after it."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST, LAST = 2, 254


class ExhaustedError(RuntimeError):
    """No address is free."""


class Addresses:
    """Hands out last octets FIRST to LAST in a circle. Times by `clock`, in seconds."""

    def __init__(self, quarantine_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quarantine = quarantine_seconds
        self._clock = clock
        self._used: set[int] = set()
        self._freed: dict[int, float] = {}
        self._next = FIRST

    def take(self, wished: int | None = None) -> int:
        """A free octet: `wished` where it is free (a pod keeps its address over the agent's restart), else the next of
        the circle. Raises ExhaustedError."""
        if wished is not None and FIRST <= wished <= LAST and wished not in self._used:
            self._used.add(wished)
            return wished
        now = self._clock()
        for step in range(LAST - FIRST + 1):
            octet = FIRST + (self._next - FIRST + step) % (LAST - FIRST + 1)
            if octet not in self._used and self._freed.get(octet, -1e9) + self._quarantine <= now:
                self._used.add(octet)
                self._next = octet + 1
                return octet
        raise ExhaustedError("every pod address of the node is in use or was just given up")

    def free(self, octet: int) -> None:
        if octet in self._used:
            self._used.discard(octet)
            self._freed[octet] = self._clock()
