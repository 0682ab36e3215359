"""A queue that is fair between tenants, without I/O: deficit round robin, interactive requests before batch ones.

A request's cost is its estimated tokens, so that a tenant with long prompts gets no more of the engines than one with
many short ones (Shreedhar and Varghese 1995). An idle tenant saves nothing up. Memory is that of what waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

QUANTUM_TOKENS = 4096
Item = TypeVar("Item")


@dataclass(slots=True, eq=False)
class Waiter(Generic[Item]):
    item: Item
    tenant: str
    batch: bool = False
    cost: int = 1
    """Estimated tokens."""


class _Round(Generic[Item]):
    """The tenants of one priority, in turn."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[Waiter[Item]]] = {}
        self.turns: deque[str] = deque()
        self.deficits: dict[str, int] = {}

    def copy(self) -> _Round[Item]:
        other: _Round[Item] = _Round()
        other.queues = {tenant: queue.copy() for tenant, queue in self.queues.items()}
        other.turns, other.deficits = self.turns.copy(), self.deficits.copy()
        return other

    def push(self, waiter: Waiter[Item]) -> None:
        queue = self.queues.get(waiter.tenant)
        if queue is None:
            queue = self.queues[waiter.tenant] = deque()
            self.turns.append(waiter.tenant)
            self.deficits[waiter.tenant] = 0
        queue.append(waiter)

    def pop(self) -> Waiter[Item] | None:
        passed = 0
        while self.turns:
            tenant = self.turns[0]
            queue = self.queues[tenant]
            if self.deficits[tenant] >= queue[0].cost:
                waiter = queue.popleft()
                self.deficits[tenant] -= waiter.cost
                self._tidy(tenant)
                return waiter
            self.deficits[tenant] += QUANTUM_TOKENS
            self.turns.rotate(-1)
            passed += 1
            if passed == len(self.turns):
                self._skip_rounds()
        return None

    def _skip_rounds(self) -> None:
        """A whole round served nobody: the rounds that would not either are passed at once."""
        rounds = min(
            ceil((queue[0].cost - self.deficits[name]) / QUANTUM_TOKENS) for name, queue in self.queues.items()
        )
        if rounds > 1:
            for tenant in self.deficits:
                self.deficits[tenant] += (rounds - 1) * QUANTUM_TOKENS

    def remove(self, waiter: Waiter[Item]) -> bool:
        queue = self.queues.get(waiter.tenant)
        if queue is None or waiter not in queue:
            return False
        queue.remove(waiter)
        self._tidy(waiter.tenant)
        return True

    def _tidy(self, tenant: str) -> None:
        if not self.queues[tenant]:
            del self.queues[tenant], self.deficits[tenant]
            self.turns.remove(tenant)


class FairQueue(Generic[Item]):
    def __init__(self) -> None:
        self._interactive: _Round[Item] = _Round()
        self._batch: _Round[Item] = _Round()
        self.interactive = self.batch = 0
        """How many wait."""

    def __len__(self) -> int:
        return self.interactive + self.batch

    def push(self, waiter: Waiter[Item]) -> None:
        (self._batch if waiter.batch else self._interactive).push(waiter)
        self._count(waiter, 1)

    def pop(self) -> Waiter[Item] | None:
        """The next one; None when nobody waits."""
        waiter = self._interactive.pop() or self._batch.pop()
        if waiter is not None:
            self._count(waiter, -1)
        return waiter

    def remove(self, waiter: Waiter[Item]) -> bool:
        """Takes one out that waits no longer. False when it is not there."""
        there = (self._batch if waiter.batch else self._interactive).remove(waiter)
        if there:
            self._count(waiter, -1)
        return there

    def _count(self, waiter: Waiter[Item], by: int) -> None:
        if waiter.batch:
            self.batch += by
        else:
            self.interactive += by

    def in_order(self) -> Iterator[Waiter[Item]]:
        """All, in the order in which they would come out if nobody else came. Takes time for each that waits."""
        for one in (self._interactive.copy(), self._batch.copy()):
            while (waiter := one.pop()) is not None:
                yield waiter
