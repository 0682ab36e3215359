"""Which engine gets a request, and which engine rests after a failure, without I/O.

The policy is the model's, least in-flight work of this gateway where it names none; the own zone comes first. Work in
the own zone may grow to `SPILL_BASE` + `SPILL_FACTOR` times that of the best engine elsewhere before requests cross
zones.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from app.gateway.balance import pick as balance
from app.gateway.balance.settings import BalancePolicy

SPILL_BASE, SPILL_FACTOR = 2, 1.25
COOL_DOWN_SECONDS, LONGEST_COOL_DOWN_SECONDS = 1.0, 15.0
HUNG_REST_SECONDS = 3.0
FULL_PAUSE_SECONDS, FULL_MEMORY_SECONDS = 0.5, 10.0
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
    weight: float = 1.0
    fresh_seconds: float = 1.0
    """How long the slow start lasts that ends at `fresh_until`."""
    fresh_until: float = 0.0
    full_until: float = 0.0
    takes: int = 0
    """What it had when it refused one more, for a while; 0: it refused none."""
    told_full_at: float = 0.0
    turn: float = 0.0
    """Its place in the round: see `by_turns`."""
    heard_at: float = 0.0
    """When a byte came from it, or a request met it idle."""
    left: bool = False
    """True once it is no longer of the set."""
    hung: bool = False
    """True from failed probes to the next that succeeds: it has a connection and says nothing."""
    tls: ssl.SSLContext | None = None
    """Of an outside provider; engines are asked in plain HTTP."""
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        self.seed = balance.seed(self.key)

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
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Near:
    """What keeps a request near an engine: a key, of a session or of a prompt's beginning, and `prefix_marks`."""

    key: int
    session: bool = False
    marks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolRules:
    """How one model's requests are spread. `most_in_flight` (of one engine) 0: no bound."""

    policy: BalancePolicy = "least"
    load_factor: float = 1.25
    most_in_flight: int = 0
    slow_start_seconds: float = 0.0


class Pool:
    """The engines of one model. Times are seconds of one monotonic clock, given by the caller."""

    def __init__(
        self,
        zone: str = "",
        pick: Callable[[int], int] = random.randrange,
        rules: PoolRules = PoolRules(),
    ) -> None:
        self.zone = zone
        self.rules = rules
        self.at_home = self.moved = self.spilled = 0
        """Requests that went to their key's engine, that its load sent to another, and that crossed zones by load."""
        self._fresh_until = 0.0
        self.known = balance.Known() if rules.policy == "prefix" else None
        self.engines: dict[str, Engine] = {}
        self._serving: list[Engine] = []
        self._troubled = self._narrow = False
        self._pick = pick

    def update(self, sightings: Iterable[Sighting], now: float = 0.0) -> list[Engine]:
        """Takes over the whole set. Engines that stay keep their work and history. Returns those that left."""
        before, self.engines = self.engines, {}
        served = set(self._serving)
        for seen in sightings:
            engine = before.get(seen.key)
            if engine is None or (engine.host, engine.port) != (seen.host, seen.port):
                engine = Engine(seen.key, seen.name, seen.host, seen.port)
            engine.zone, engine.ready, engine.draining = seen.zone, seen.ready, seen.draining
            engine.weight = seen.weight
            self.engines[seen.key] = engine
        self._serving = [engine for engine in self.engines.values() if engine.ready and not engine.draining]
        if self.rules.slow_start_seconds and served:  # where all are fresh none is
            for engine in self._serving:
                if engine not in served:
                    engine.fresh_seconds = self.rules.slow_start_seconds
                    engine.fresh_until = self._fresh_until = now + engine.fresh_seconds
        gone = [engine for engine in before.values() if self.engines.get(engine.key) is not engine]
        for engine in gone:
            engine.left = True
        return gone

    def keep(self, engine: Engine) -> None:
        """Has this one engine for good: an outside provider, which several models share."""
        self.engines = {engine.key: engine}
        self._serving = [engine]

    @property
    def ready(self) -> int:
        return len(self._serving)

    def choose(
        self,
        now: float,
        tried: Collection[Engine] = (),
        near: Near | None = None,
        *,
        over: bool = False,
    ) -> Engine | None:
        """The engine for a request that failed on `tried`. None where no other engine is ready and has room.

        `near` is what keeps the request at an engine: a session does so in all zones, so that every gateway finds the
        same one; of a prompt's beginnings the engine that had the longest comes before the key's home. `over`: the
        bound of an engine's requests does not hold for this one.
        """
        candidates = self._candidates(now, tried, over=over)
        if not candidates or (len(candidates) == 1 and near is None):
            return candidates[0] if candidates else None
        rules = self.rules
        if near is not None:
            marks = near.marks
            known = self.known.find(marks) if marks and self.known is not None else None
            engines = candidates if near.session else self._near(candidates)
            engine, home = balance.affine(engines, near.key, rules.load_factor, now, known)
            self.at_home += home
            self.moved += not home
            if marks and self.known is not None:
                self.known.keep(marks, engine)
            return engine
        if rules.policy == "round-robin" or rules.policy == "weighted":
            return balance.by_turns(self._near(candidates), now, weighted=rules.policy == "weighted")
        if now < self._fresh_until:
            return balance.least_for_share(self._near(candidates), now, self._pick)
        return self._least(candidates)

    def has_room(self, now: float) -> bool:
        """True when `choose` would find an engine."""
        return bool(self._candidates(now, ()))

    def _candidates(self, now: float, tried: Collection[Engine], *, over: bool = False) -> list[Engine]:
        candidates = self._serving
        if self._troubled:
            candidates = self._without_resting(now)
        if tried:
            candidates = [engine for engine in candidates if engine not in tried]
            if not candidates:
                candidates = [engine for engine in self._serving if engine not in tried]
        if self._narrow and not over:
            candidates = [engine for engine in candidates if _has_room(engine, now)]
        most = self.rules.most_in_flight
        if most and not over:
            candidates = [engine for engine in candidates if engine.in_flight < most]
        return candidates

    def _near(self, candidates: list[Engine]) -> list[Engine]:
        """Those of the own zone, or those elsewhere once the own zone is much busier."""
        own = [engine for engine in candidates if engine.zone == self.zone]
        if not own or len(own) == len(candidates):
            return candidates
        other = [engine for engine in candidates if engine.zone != self.zone]
        least = min(engine.in_flight for engine in other)
        if min(engine.in_flight for engine in own) > SPILL_BASE + SPILL_FACTOR * least:
            self.spilled += 1
            return other
        return own

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
        if own.in_flight > SPILL_BASE + SPILL_FACTOR * other.in_flight:
            self.spilled += 1
            return other
        return own

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

    def hangs(self, engine: Engine, now: float) -> None:
        """Probes found it hung, or still do: it rests until the next one."""
        if not engine.hung:
            self.failed(engine, now)
            engine.hung = True
        engine.cool_until = max(engine.cool_until, now + HUNG_REST_SECONDS)

    def lives(self, engine: Engine, now: float) -> None:
        """A hung engine answers probes again: it may have one request."""
        engine.hung = False
        engine.cool_until = now

    def full(self, engine: Engine, now: float) -> None:
        """It took no more than it has. It gets that much again after a pause, and from then on a little more."""
        engine.full_until = now + FULL_PAUSE_SECONDS
        engine.takes = max(1, engine.in_flight)
        engine.told_full_at = now
        self._narrow = True

    @property
    def resting(self) -> int:
        """Serving engines that failed and have not answered since."""
        return sum(engine.failures > 0 for engine in self._serving)

    def drains(self, engine: Engine, now: float) -> None:
        """The engine said that it drains: no failure, but nothing new for it while others are there."""
        engine.rest_until = now + DRAIN_REST_SECONDS
        self._troubled = True

    def succeeded(self, engine: Engine) -> None:
        engine.failures = 0
        engine.cool_until = 0.0
        engine.hung = False


def _has_room(engine: Engine, now: float) -> bool:
    if engine.full_until > now:
        return False
    since = now - engine.told_full_at
    if since > FULL_MEMORY_SECONDS:
        engine.takes = 0
    return not engine.takes or engine.in_flight < engine.takes + int(since) * max(1, engine.takes // 8)


class RetryBudget:
    """Retries as a share of the requests of ten seconds, and ten more, so that little traffic can retry too."""

    WINDOW_SECONDS = 10
    FLOOR = 10

    def __init__(self, ratio: float, floor: int = FLOOR) -> None:
        self._ratio = ratio
        self._floor = floor
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
        if sum(self._retries) >= self._floor + self._ratio * sum(self._requests):
            return False
        self._retries[slot] += 1
        return True
