"""What the requests of one gateway process share: settings, keys, engines, the client, metrics, and the one timer."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, cast

from uvicorn.server import ServerState

from app.gateway.balance.affinity import sticky_headers
from app.gateway.balance.health import Prober
from app.gateway.balance.metrics import BalanceCollector, BalanceMetrics
from app.gateway.choose import Pool, PoolRules, RetryBudget, Sighting
from app.gateway.client import Client
from app.gateway.config import GatewayConfig, KeyFile, ModelRoute
from app.gateway.cors import Origins
from app.gateway.keys.ring import KeyRing
from app.gateway.limits.limiter import Limiter
from app.gateway.metrics import OTHER, Metrics, ModelMetrics, PoolCollector
from app.gateway.providers.start import outside_targets
from app.gateway.queue.room import WaitingRoom
from app.gateway.routing.metrics import NO_MODEL, RoutingMetrics
from app.gateway.routing.router import Router

if TYPE_CHECKING:
    from app.gateway.balance.hedge import Hedger
    from app.gateway.budget.follow import Follower as BudgetFollower
    from app.gateway.budget.steward import Steward
    from app.gateway.cache.answers import Answers
    from app.gateway.console.web import Console
    from app.gateway.exchange import Exchange
    from app.gateway.feedback.api import Feedback
    from app.gateway.guards.stage import Guards
    from app.gateway.intent.classifier import Intents
    from app.gateway.intent.settings import IntentConfig
    from app.gateway.keys.admin import Admin
    from app.gateway.keys.follower import Follower
    from app.gateway.ledger.writer import Ledger
    from app.gateway.log import Log
    from app.gateway.protocol import Connection
    from app.gateway.providers.outside import Outside
    from app.gateway.routing.course import LastAnswers
    from app.gateway.shadow.mirror import Mirror
    from app.gateway.trace.tracer import Tracer
    from app.jobs.api import JobsApi
    from app.pipelines.config import Pipeline
    from app.pipelines.start import Pipelines
    from app.retrieval.api import RetrievalApi

LONGEST_TICK_SECONDS = 0.25


@dataclass(slots=True, eq=False)
class Target:
    """One model: its route, its engines, its metrics, and the headers that each of its replies bears."""

    route: ModelRoute
    pool: Pool
    metrics: ModelMetrics
    reply_headers: bytes
    in_flight: int = 0
    listed: bool = False
    """True once the engines are known, be it that there are none."""
    room: WaitingRoom | None = None
    hedger: Hedger | None = None
    pipeline: Pipeline | None = None
    """The steps, where the name is a pipeline's."""
    outside: Outside | None = None
    """Who answers for a model that no engine of the platform serves."""
    near: bool = False
    """True where a session or a prefix chooses the engine."""

    @property
    def at_engines(self) -> int:
        """Requests at engines that are still of the set."""
        return sum(engine.in_flight for engine in self.pool.engines.values())


class Service:
    def __init__(
        self, config: GatewayConfig, keys: KeyFile, log: Log, *, zone: str = "", loop: asyncio.AbstractEventLoop
    ) -> None:
        self.config = config
        self.keys = KeyRing(keys.keys, keys.admins)
        self.log = log
        self.loop = loop
        self.sticky_headers = sticky_headers(config.models)
        self.state = ServerState()
        named = (*config.models, *config.outside_models, *config.pipelines.pipelines)
        names = [each.name for each in named]
        self.metrics = Metrics((*names, NO_MODEL), config.colour)
        self.balance_metrics = BalanceMetrics(self.metrics.registry)
        log.on_drop = self.metrics.logs_dropped.inc
        self.other = self.metrics.models[OTHER]
        self.targets: dict[str, Target] = {}
        self.by_name: dict[str, Target] = {}
        for model in config.models:
            headers = f"x-penstock-colour: {config.colour}\r\nx-penstock-model: {model.name}\r\n".encode()
            target = Target(model, Pool(zone, rules=_pool_rules(model)), self.metrics.models[model.name], headers)
            self._furnish(target)
            self.targets[model.name] = target
            self.by_name |= dict.fromkeys((model.name, *model.aliases), target)
        self.outside = outside_targets(self)
        self.routes = {name: target.route for name, target in self.by_name.items()}
        self.last_answers: LastAnswers | None = None
        self.router = Router(self, RoutingMetrics(self.metrics.registry))
        self.intents: Intents | None = None
        """None where nothing is told of what requests are after."""
        if config.intents is not None:
            self.intents = intents_of(config.intents, self.metrics)
        self.pipelines: Pipelines | None = None
        """None where there are none."""
        if config.pipelines.pipelines:
            from app.pipelines.start import Pipelines

            self.pipelines = Pipelines(self)
        self.origins = Origins(config.cors_origins)
        self.plain_headers = f"x-penstock-colour: {config.colour}\r\n".encode()
        self.client = Client(loop, config.timeouts.idle_connection_seconds)
        self.budget = RetryBudget(config.retries.budget_ratio)
        self.exchanges: set[Exchange] = set()
        self.limiter = Limiter(config, self.metrics.registry, log.event)
        self.most_batch_requests = max(1, int(config.max_concurrent_requests * config.batch_share))
        self.cache: Answers | None = None
        self.tracer: Tracer | None = None
        """None where traces are off."""
        self.guards: Guards | None = None
        """None where no guard is configured."""
        self.key_follower: Follower | None = None
        self.admin: Admin | None = None
        """None where no keys are kept in a database."""
        self.steward: Steward | None = None
        """None where no budget acts."""
        self.budget_follower: BudgetFollower | None = None
        self.feedback: Feedback | None = None
        """None where clients cannot rate answers."""
        self.shadow: Mirror | None = None
        """None where nothing is copied to the other colour."""
        self._id_prefix, self._id_numbers = os.urandom(8).hex().encode(), count()
        self.ledger: Ledger | None = None
        """None where no database is configured."""
        self.jobs: JobsApi | None = None
        """None where there are no files, batches and jobs."""
        self.retrieval: RetrievalApi | None = None
        """None where no documents are kept."""
        self.console: Console | None = None
        """None where there is no page for operators."""
        self.recent: deque[bytes] | None = None
        """Log lines of what failed on our side, the newest last, for the console."""
        self.draining = False
        self.started_at = int(time.time())
        self.date_header = b""
        self._date_second = 0
        times = config.timeouts
        shortest = min(
            times.connect_seconds,
            times.first_byte_seconds,
            times.between_bytes_seconds,
            times.total_seconds,
            times.idle_connection_seconds,
        )
        self._tick_seconds = min(LONGEST_TICK_SECONDS, shortest / 4)
        self._timer: asyncio.TimerHandle | None = None
        self.metrics.registry.register(PoolCollector(lambda: self))
        self.metrics.registry.register(BalanceCollector(lambda: self))
        self._prober = Prober(self)

    def _furnish(self, target: Target) -> None:
        route = target.route
        target.near = route.sticky is not None or route.balance.policy == "prefix"
        if route.queue is not None:
            target.room = WaitingRoom(self, target, route.queue, self.balance_metrics)
        if route.hedge is not None:
            from app.gateway.balance.hedge import Hedger  # imports the exchange's half, which imports this module

            target.hedger = Hedger(route.hedge, self.balance_metrics, route.name)

    def fresh_request_id(self) -> bytes:
        """Unique over all gateways and restarts: 8 random bytes of this process, and a count."""
        return b"req-%b%08x" % (self._id_prefix, next(self._id_numbers))

    def start(self) -> None:
        self._tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.shadow is not None:
            self.shadow.close()
        self.client.close()
        for target in self.outside.values():
            if target.outside is not None:
                target.outside.client.close()

    def connections(self) -> list[Connection]:
        """The client connections; uvicorn's set is typed for its own protocols."""
        return cast("list[Connection]", list(self.state.connections))

    def _tick(self) -> None:
        """The one sweep: every deadline of every request is looked at here, a quarter of a second late at most."""
        now = monotonic()
        self._timer = self.loop.call_later(self._tick_seconds, self._tick)
        for exchange in [exchange for exchange in self.exchanges if exchange.deadline <= now]:
            exchange.expired(now)
        self._prober.look(now, self._tick_seconds)
        for target in self.targets.values():
            if target.room is not None:
                target.room.tick(now)
        self.client.expire(now)
        for target in self.outside.values():
            if target.outside is not None:
                target.outside.client.expire(now)
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            date = formatdate(second, usegmt=True).encode()
            self.date_header = b"date: %b\r\n" % date
            self.state.default_headers = [(b"date", date)]
            for connection in self.connections():
                connection.check(now)

    def update_engines(self, model: str, sightings: Iterable[Sighting]) -> None:
        """Takes over the whole set of a model's engines. Streams of engines that left go on."""
        target = self.targets[model]
        target.listed = True
        for engine in target.pool.update(sightings, monotonic()):
            self.client.drop(engine)
        if target.room is not None:
            target.room.freed()

    def not_ready(self) -> list[str]:
        """The models that cannot be served now."""
        return [
            name
            for name, target in self.targets.items()
            if target.pool.ready == 0
            and target.route.required
            and name not in self.router.covered
            and not _holds(target)
        ]


def intents_of(config: IntentConfig, metrics: Metrics) -> Intents:
    """Raises SettingsError."""
    from app.gateway.intent.classifier import Intents
    from app.gateway.settings import SettingsError

    try:
        return Intents(config, metrics.registry)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _holds(target: Target) -> bool:
    """True for a model whose requests wait while its engines come up from zero."""
    queue = target.route.queue
    return queue is not None and queue.from_zero and target.listed


def _pool_rules(route: ModelRoute) -> PoolRules:
    return PoolRules(
        route.balance.policy,
        route.balance.load_factor,
        route.max_in_flight_per_engine or 0,
        route.slow_start_seconds,
    )
