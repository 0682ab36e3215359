"""Turns for containers that are heavy to start.

A real engine takes a minute of CPU before it answers. On nodes of their own they start side by side; here they share a
few cores, and all at once would outlast their startup probes, be killed, and begin again for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Turns:
    """At most `most` holders at a time, served in the order in which they asked."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._holders: set[Any] = set()

    async def take(self, holder: Any) -> None:
        """Waits for a turn. A holder that has one goes on at once."""
        if holder not in self._holders:
            await self._free.acquire()
            self._holders.add(holder)

    def give_back(self, holder: Any) -> None:
        """Does nothing for whoever has none."""
        if holder in self._holders:
            self._holders.remove(holder)
            self._free.release()
