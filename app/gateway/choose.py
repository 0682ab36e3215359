"""Which engine gets a request, and which engine rests after a failure, without I/O.

Least in-flight work of this gateway, the own zone first. Work in the own zone may grow to `SPILL_BASE` + `SPILL_FACTOR`
times that of the best engine elsewhere before requests cross zones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

SPILL_BASE, SPILL_FACTOR = 2, 1.25
COOL_DOWN_SECONDS, LONGEST_COOL_DOWN_SECONDS = 1.0, 15.0
DRAIN_REST_SECONDS = 5.0
"""How long an engine that says it drains is passed over: its pod's deletion is known by then."""


@dataclass(slots=True, eq=False)
class Engine:
    """One engine, known by `key` (the pod's UID). `name` is for logs, `zone` is empty where unknown."""

    key: str
    name: str
    host: str
    port: int
    zone: str = ""
    ready: bool = True
    draining: bool = False
    in_flight: int = 0
    probes: int = 0
    """Requests under way that were sent after failures, to see whether the engine answers again."""
    failures: int = 0
    cool_until: float = 0.0
    rest_until: float = 0.0

    @property
    def state(self) -> str:
        return "draining" if self.draining else "ready" if self.ready else "starting"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of an engine from outside: a pod's address, zone and state."""

    key: str
    name: str
    host: str
    port: int
    zone: str
    ready: bool
    draining: bool


class Pool:
    """The engines of one model. Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, zone: str = "", pick: Callable[[int], int] = random.randrange) -> None:
        self.zone = zone
        self.engines: dict[str, Engine] = {}
        self._serving: list[Engine] = []
        self._troubled = False
        self._pick = pick

    def update(self, sightings: Iterable[Sighting]) -> list[Engine]:
        """Takes over the whole set. Engines that stay keep their work and history. Returns those that left."""
        before, self.engines = self.engines, {}
        for seen in sightings:
            engine = before.get(seen.key)
            if engine is None or (engine.host, engine.port) != (seen.host, seen.port):
                engine = Engine(seen.key, seen.name, seen.host, seen.port)
            engine.zone, engine.ready, engine.draining = seen.zone, seen.ready, seen.draining
            self.engines[seen.key] = engine
        self._serving = [engine for engine in self.engines.values() if engine.ready and not engine.draining]
        return [engine for engine in before.values() if self.engines.get(engine.key) is not engine]

    @property
    def ready(self) -> int:
        return len(self._serving)

    def choose(self, now: float, tried: Collection[Engine] = ()) -> Engine | None:
        """The engine for a request that failed on `tried`. None where no other engine is ready."""
        candidates = self._serving
        if self._troubled:
            candidates = self._without_resting(now)
        if tried:
            candidates = [engine for engine in candidates if engine not in tried]
            if not candidates:
                candidates = [engine for engine in self._serving if engine not in tried]
        return self._least(candidates)

    def _least(self, candidates: list[Engine]) -> Engine | None:
        count = len(candidates)
        if count < 2:
            return candidates[0] if candidates else None
        own: Engine | None = None
        other: Engine | None = None
        start = self._pick(count)  # a random start makes ties random
        for index in range(start, start + count):
            engine = candidates[index - count if index >= count else index]
            if engine.zone == self.zone:
                if own is None or engine.in_flight < own.in_flight:
                    own = engine
            elif other is None or engine.in_flight < other.in_flight:
                other = engine
        if own is None or other is None:
            return own or other
        return other if own.in_flight > SPILL_BASE + SPILL_FACTOR * other.in_flight else own

    def _without_resting(self, now: float) -> list[Engine]:
        """Leaves out engines that drain or cool down, of the latter at most half: the next to wake is kept first."""
        self._troubled = any(engine.failures or engine.rest_until > now for engine in self._serving)
        awake = [engine for engine in self._serving if engine.rest_until <= now]
        # Once its time is up an engine gets one request as a probe, and the rest when that succeeds.
        cooling = [e for e in awake if e.failures and (e.cool_until > now or e.probes > 0)]
        if cooling:
            cooling.sort(key=lambda engine: engine.cool_until)
            out = set(map(id, cooling[len(cooling) - min(len(cooling), len(awake) // 2) :]))
            awake = [engine for engine in awake if id(engine) not in out]
        return awake or self._serving

    def failed(self, engine: Engine, now: float, *, grow: bool = True) -> None:
        """Cools the engine down for 1 s, with `grow` twice as long for each failure in a row, up to 15 s."""
        if engine.cool_until > now:  # requests that were already under way fail together: that is one failure
            return
        engine.failures = engine.failures + 1 if grow else max(engine.failures, 1)
        seconds = COOL_DOWN_SECONDS * 2 ** (min(engine.failures, 10) - 1) if grow else COOL_DOWN_SECONDS
        engine.cool_until = now + min(seconds, LONGEST_COOL_DOWN_SECONDS)
        self._troubled = True

    def drains(self, engine: Engine, now: float) -> None:
        """The engine said that it drains: no failure, but nothing new for it while others are there."""
        engine.rest_until = now + DRAIN_REST_SECONDS
        self._troubled = True

    def succeeded(self, engine: Engine) -> None:
        engine.failures = 0
        engine.cool_until = 0.0


class RetryBudget:
    """Retries as a share of the requests of ten seconds, and ten more, so that little traffic can retry too."""

    WINDOW_SECONDS = 10
    FLOOR = 10

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._requests = [0] * self.WINDOW_SECONDS
        self._retries = [0] * self.WINDOW_SECONDS
        self._second = 0

    def _turn(self, now: float) -> int:
        second = int(now)
        for passed in range(max(self._second + 1, second - self.WINDOW_SECONDS + 1), second + 1):
            self._requests[passed % self.WINDOW_SECONDS] = self._retries[passed % self.WINDOW_SECONDS] = 0
        self._second = max(second, self._second)
        return self._second % self.WINDOW_SECONDS

    def request(self, now: float) -> None:
        self._requests[self._turn(now)] += 1

    def take(self, now: float) -> bool:
        """True, and counted, when one more retry is within the budget."""
        slot = self._turn(now)
        if sum(self._retries) >= self.FLOOR + self._ratio * sum(self._requests):
            return False
        self._retries[slot] += 1
        return True
