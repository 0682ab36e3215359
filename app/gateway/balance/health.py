"""Finds engines that have requests and say nothing: are they at work, or do they hang?

An unstreamed generation is silent until it is done, and a hung engine is silent too. So after `silence_seconds` the
engine is asked on a connection of its own (GET /health); any answer below 500 means that it lives. After
`attempts` failed probes in a row it counts as hung: what waits for it goes to another engine at once, and it gets
nothing new before a probe succeeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.gateway.attempt import Attempt
    from app.gateway.choose import Engine
    from app.gateway.client import Connection
    from app.gateway.service import Service, Target

STALL_SECONDS = 0.5
"""When the sweep comes so late the gateway itself stood still: answers may lie unread, so no probe has failed."""


class Probe:
    """One question to one engine; the client's `Sink`."""

    def __init__(self, service: Service, engine: Engine, deadline: float) -> None:
        self.deadline = deadline
        self.alive: bool | None = None
        """None while it is open."""
        self._client = service.client
        self._connection: Connection | None = None
        head = b"GET /health HTTP/1.1\r\nhost: %b:%d\r\n\r\n" % (engine.host.encode(), engine.port)
        self._client.send(engine, self, head, b"", fresh=True)

    def give_up(self) -> None:
        if self._connection is not None:
            self._connection.abort()
        else:
            self._client.cancel_connect(self)
        self.alive = False

    def upstream_connected(self, connection: Connection) -> None:
        self._connection = connection

    def upstream_unreachable(self, error: OSError) -> None:
        self.alive = False

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.alive = status < 500

    def upstream_data(self, data: bytes) -> None: ...

    def upstream_end(self) -> None: ...

    def upstream_lost(self, *, stale: bool) -> None:
        self.alive = bool(self.alive)

    def upstream_fault(self, error: Exception) -> None:
        self.alive = bool(self.alive)


class Prober:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._rules = service.config.health
        self._open: dict[Engine, Probe] = {}
        self._failed: dict[Engine, int] = {}
        self._next: dict[Engine, float] = {}
        self._looked_at = 0.0

    def look(self, now: float, period: float) -> None:
        """Called by the sweep, every `period` seconds."""
        rules = self._rules
        if not rules.enabled:
            return
        if now - self._looked_at > period + STALL_SECONDS:
            for probe in self._open.values():
                probe.deadline = now + rules.timeout_seconds
        self._looked_at = now
        for target in self._service.targets.values():
            for engine in target.pool.engines.values():
                if engine.hung or (engine.in_flight and now - engine.heard_at >= rules.silence_seconds):
                    self._follow(target, engine, now)
                elif engine in self._next:
                    self._forget(engine)
        for engine in [engine for engine in self._next if engine.left]:
            self._forget(engine)

    def _forget(self, engine: Engine) -> None:
        probe = self._open.pop(engine, None)
        if probe is not None and probe.alive is None:
            probe.give_up()
        self._failed.pop(engine, None)
        self._next.pop(engine, None)

    def _follow(self, target: Target, engine: Engine, now: float) -> None:
        probe = self._open.get(engine)
        if probe is not None:
            if probe.alive is None:
                if now < probe.deadline:
                    return
                probe.give_up()
            del self._open[engine]
            self._judge(target, engine, bool(probe.alive), now)
        if now >= self._next.get(engine, 0.0):
            self._next[engine] = now + self._rules.silence_seconds
            self._open[engine] = Probe(self._service, engine, now + self._rules.timeout_seconds)

    def _judge(self, target: Target, engine: Engine, alive: bool, now: float) -> None:
        if alive:
            self._failed.pop(engine, None)
            if engine.hung:
                target.pool.lives(engine, now)
                self._tell(target, engine, hung=False)
            return
        failed = self._failed[engine] = self._failed.get(engine, 0) + 1
        if failed < self._rules.attempts:
            self._next[engine] = now
            return
        if not engine.hung:
            self._service.balance_metrics.hangs.labels(target.route.name).inc()
            self._tell(target, engine, hung=True)
        target.pool.hangs(engine, now)
        for attempt in self._attempts(engine):
            attempt.engine_hangs()

    def _attempts(self, engine: Engine) -> list[Attempt]:
        found = []
        for exchange in self._service.exchanges:
            second = None if exchange.hedge is None else exchange.hedge.second
            found += [one for one in (exchange.attempt, second) if one is not None and one.engine is engine]
        return found

    def _tell(self, target: Target, engine: Engine, *, hung: bool) -> None:
        self._service.log.event("engine", model=target.route.name, engine=engine.name, zone=engine.zone, hung=hung)
