"""One engine out of several, as pure functions: by turns, by share of the load, by a key with bounded load.

An engine's share is its weight, less while it is fresh (slow start): then it grows from a tenth of the weight to all of
it. Of what clients send a fixed number of hashes is kept (`Known`), and nothing else.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from app.gateway.choose import Engine

LEAST_SHARE = 0.1
BASE_ROOM = 4
"""Requests that an engine may always have before its keys go elsewhere: it batches so few at hardly any cost."""
MARKED_BYTES = (*(size for power in range(8, 16) for size in (1 << power, 3 << power - 1)), 1 << 16)
"""Lengths of beginnings that are known again: 256 bytes to 64 KiB, each half as long again or a third longer."""
_MASK = (1 << 64) - 1
MOST_KNOWN = 8192
"""About 1 MB for a model."""


def seed(name: str) -> int:
    """64 bits that stand for an engine, the same in every gateway."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def session_key(tenant: str, session: bytes) -> int:
    """64 bits for a tenant's session. Equal names of two tenants are two sessions."""
    return int.from_bytes(blake2b(session, digest_size=8, person=_person(tenant)).digest(), "big")


def _person(tenant: str) -> bytes:
    return blake2b(tenant.encode(), digest_size=16).digest()


def prefix_key(prefix: Buffer) -> int:
    """32 bits for a prompt's beginning. No guard against made-up collisions: these meet the bound of the load."""
    return zlib.crc32(prefix)


def prefix_marks(prompt: bytes | memoryview) -> tuple[int, ...]:
    """One number for each length of `MARKED_BYTES` that the prompt has: equal beginnings have equal numbers."""
    marks = []
    view, start, found = memoryview(prompt), 0, 0
    size = len(view)
    for end in MARKED_BYTES:
        if end > size:
            break
        found = zlib.crc32(view[start:end], found)
        start = end
        marks.append(end << 32 | found)
    return tuple(marks)


class Known:
    """Which engine last had a prompt's beginning; the longest one counts. Of fixed size: the oldest are forgotten."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._engines: dict[int, Engine] = {}

    def __len__(self) -> int:
        return len(self._engines)

    def find(self, marks: tuple[int, ...]) -> Engine | None:
        for mark in reversed(marks):
            engine = self._engines.get(mark)
            if engine is not None and not engine.left:
                return engine
        return None

    def keep(self, marks: tuple[int, ...], engine: Engine) -> None:
        engines = self._engines
        for mark in marks:
            engines.pop(mark, None)
            engines[mark] = engine
        while len(engines) > self._most:
            del engines[next(iter(engines))]


def score(key: int, engine_seed: int) -> int:
    """Rendezvous hashing: the engine with the highest score is the key's home. 64 bits, mixed as MurmurHash3 does."""
    mixed = (key ^ engine_seed) * 0xFF51AFD7ED558CCD & _MASK
    return (mixed ^ mixed >> 33) * 0xC4CEB9FE1A85EC53 & _MASK


def share(engine: Engine, now: float) -> float:
    """The part of the load that an engine should have, relative to others."""
    if now >= engine.fresh_until:
        return engine.weight
    grown = 1 - (engine.fresh_until - now) / engine.fresh_seconds
    return engine.weight * max(LEAST_SHARE, grown)


def by_turns(engines: Sequence[Engine], now: float, *, weighted: bool) -> Engine:
    """The next one in turn (nginx's smooth weighted round robin). The turns are kept in the engines."""
    total, best = 0.0, engines[0]
    for engine in engines:
        part = share(engine, now)
        if not weighted:
            part /= engine.weight
        engine.turn += part
        total += part
        if engine.turn > best.turn:
            best = engine
    best.turn -= total
    return best


def least_for_share(engines: Sequence[Engine], now: float, pick: Callable[[int], int]) -> Engine:
    """The engine that has the least work for its share once it gets this request too; ties are random."""
    start = pick(len(engines))
    turned = [*engines[start:], *engines[:start]]
    return min(turned, key=lambda engine: (engine.in_flight + 1) * engine.weight / share(engine, now))


def bounds(engines: Sequence[Engine], factor: float, now: float) -> list[int]:
    """The requests that each engine may have once one more is placed: `factor` times its share of them all, rounded up.

    The bounds sum up to more than there are requests, so one engine always has room.
    """
    if not any(engine.fresh_until > now or engine.weight != 1.0 for engine in engines):
        most = ceil(factor * (sum([engine.in_flight for engine in engines]) + 1) / len(engines))
        return [max(most, BASE_ROOM)] * len(engines)
    shares = [share(engine, now) for engine in engines]
    each = factor * (sum([engine.in_flight for engine in engines]) + 1) / sum(shares)
    return [
        max(ceil(each * part), ceil(BASE_ROOM * part / engine.weight))
        for engine, part in zip(engines, shares, strict=True)
    ]


def affine(
    engines: Sequence[Engine], key: int, factor: float, now: float, known: Engine | None = None
) -> tuple[Engine, bool]:
    """The key's engine: the `known` one or else its home while that is within its bound, else the next in its order.

    The second value is True for the first choice. Consistent hashing with bounded loads (Mirrokni, Thorup,
    Zadimoghaddam 2016), by rendezvous instead of a ring: when an engine goes only its own keys move, and they spread
    over all others.
    """
    each = bounds(engines, factor, now)
    if known is not None and known in engines and known.in_flight < each[engines.index(known)]:
        return known, True
    scores = [score(key, engine.seed) for engine in engines]
    first = scores.index(max(scores))
    if engines[first].in_flight < each[first]:
        return engines[first], known is None
    room = [index for index, engine in enumerate(engines) if engine.in_flight < each[index]]
    return engines[max(room, key=scores.__getitem__)], False
