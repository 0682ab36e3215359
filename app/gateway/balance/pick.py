"""One engine out of several, as pure functions: by turns, by share of the load, by a key with bounded load.

An engine's share is its weight, less while it is fresh (slow start): then it grows from a tenth of the weight to all of
it. Nothing here keeps what clients send: memory is two numbers for each engine.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.gateway.choose import Engine

LEAST_SHARE = 0.1
BASE_ROOM = 4
"""Requests that an engine may always have before its keys go elsewhere: it batches so few at hardly any cost."""
_MASK = (1 << 64) - 1


def seed(name: str) -> int:
    """64 bits that stand for an engine, the same in every gateway."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def session_key(tenant: str, session: bytes) -> int:
    """64 bits for a tenant's session. Equal names of two tenants are two sessions."""
    return int.from_bytes(blake2b(session, digest_size=8, person=_person(tenant)).digest(), "big")


def _person(tenant: str) -> bytes:
    return blake2b(tenant.encode(), digest_size=16).digest()


def prefix_key(prefix: bytes) -> int:
    """32 bits for a prompt's beginning. No guard against made-up collisions: these meet the bound of the load."""
    return zlib.crc32(prefix)


def score(key: int, engine_seed: int) -> int:
    """Rendezvous hashing: the engine with the highest score is the key's home. 64 bits (splitmix64's finaliser)."""
    mixed = ((key ^ engine_seed) + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


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
    shares = [share(engine, now) for engine in engines]
    each = factor * (sum(engine.in_flight for engine in engines) + 1) / sum(shares)
    return [
        max(ceil(each * part), ceil(BASE_ROOM * part / engine.weight))
        for engine, part in zip(engines, shares, strict=True)
    ]


def affine(engines: Sequence[Engine], key: int, factor: float, now: float) -> tuple[Engine, bool]:
    """The key's engine: its home while that is within its bound, else the next in the key's own order.

    The second value is True at home. Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016), by
    rendezvous instead of a ring: when an engine goes only its own keys move, and they spread over all others.
    """
    home: Engine | None = None
    best: Engine | None = None
    home_score = best_score = -1
    for engine, bound in zip(engines, bounds(engines, factor, now), strict=True):
        found = score(key, engine.seed)
        if found > home_score:
            home, home_score = engine, found
        if found > best_score and engine.in_flight < bound:
            best, best_score = engine, found
    assert best is not None  # noqa: S101 - see `bounds`
    return best, best is home
