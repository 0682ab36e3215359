"""The KV cache as a count of blocks, and the prefix cache over it. Pure.

A full block is known by the chained hash of all tokens up to its end. Blocks in use are counted per hash; blocks that
no sequence uses stay cached until the space is needed, the least recently used first. A block that is not full yet
belongs to one sequence and is only counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

BLOCK = 16
"""Tokens in a block: vLLM's default on GPUs."""


def chain(tokens: Sequence[int], salt: int = 0, previous: Sequence[int] = ()) -> list[int]:
    """Hashes of the full blocks of `tokens`, each over all tokens before it; `previous` are those already known."""
    hashes = list(previous)
    last = hashes[-1] if hashes else salt
    for start in range(len(hashes) * BLOCK, len(tokens) - BLOCK + 1, BLOCK):
        last = hash((last, *tokens[start : start + BLOCK]))
        hashes.append(last)
    return hashes


class BlockPool:
    """`capacity` blocks. Invariant: used + cached but idle <= capacity."""

    def __init__(self, capacity: int, *, caching: bool = True) -> None:
        self.capacity = capacity
        self.caching = caching
        self._pinned: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._private = 0

    @property
    def used(self) -> int:
        """Blocks that sequences hold."""
        return len(self._pinned) + self._private

    @property
    def idle(self) -> int:
        """Blocks that are cached and held by none."""
        return len(self._idle)

    def leading_hits(self, hashes: Sequence[int], most: int) -> int:
        """How many of the first `most` blocks are cached, without a gap."""
        if not self.caching:
            return 0
        hits = 0
        for value in hashes[:most]:
            if value not in self._pinned and value not in self._idle:
                break
            hits += 1
        return hits

    def pin(self, hashes: Sequence[int]) -> None:
        """Takes cached blocks into use."""
        for value in hashes:
            self._idle.pop(value, None)
            self._pinned[value] = self._pinned.get(value, 0) + 1

    def allocate(self, blocks: int) -> bool:
        """Takes empty blocks, dropping idle ones if needed; False, and nothing taken, where there are too few."""
        if self.used + blocks > self.capacity:
            return False
        self._private += blocks
        self._evict()
        return True

    def seal(self, value: int) -> None:
        """One of the caller's empty blocks is full now and may be shared."""
        self._private -= 1
        self.pin((value,))
        self._evict()

    def release(self, hashes: Sequence[int], private: int) -> None:
        """Gives a sequence's blocks back. Its last block is dropped first when space is needed."""
        self._private -= private
        for value in reversed(hashes):
            count = self._pinned[value] - 1
            if count:
                self._pinned[value] = count
            else:
                del self._pinned[value]
                if self.caching:
                    self._idle[value] = None
        self._evict()

    def _evict(self) -> None:
        while self._idle and self.used + len(self._idle) > self.capacity:
            self._idle.popitem(last=False)
