"""Hedging: a short, unstreamed request that takes unusually long is sent to a second engine; the first answer counts.

The slower engine's connection is closed, by which it stops. The request is accounted once, with the usage of the
answer that the client gets; what the other engine did by then is the price, bounded by a budget of its own.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.attempt import Attempt
from app.gateway.choose import RetryBudget

if TYPE_CHECKING:
    from app.gateway.balance.metrics import BalanceMetrics
    from app.gateway.balance.settings import HedgeRules
    from app.gateway.exchange import Exchange

WINDOW = 128
"""Requests whose durations tell the p95."""
ENOUGH = 20
"""With fewer the p95 is not known, and nothing is sent twice."""
RENEWED_EVERY = 16
BUDGET_FLOOR = 1


class Delays:
    """The p95 of the last durations, in seconds; renewed every few."""

    def __init__(self) -> None:
        self._last = [0.0] * WINDOW
        self._count = 0
        self.p95: float | None = None

    def add(self, seconds: float) -> None:
        self._last[self._count % WINDOW] = seconds
        self._count += 1
        if self._count >= ENOUGH and (self._count == ENOUGH or not self._count % RENEWED_EVERY):
            known = sorted(self._last[: min(self._count, WINDOW)])
            self.p95 = known[int(0.95 * (len(known) - 1) + 0.5)]


class Hedger:
    """One model's hedging."""

    def __init__(self, rules: HedgeRules, metrics: BalanceMetrics, model: str) -> None:
        self._rules = rules
        self.delays = Delays()
        self.budget = RetryBudget(rules.budget_ratio, BUDGET_FLOOR)
        self._family = metrics.hedged
        self._model = model

    def count(self, outcome: str) -> None:
        self._family.labels(self._model, outcome).inc()

    def watch(self, exchange: Exchange) -> Hedge | None:
        """Looks after a request that was just sent. None for one that is never sent twice."""
        admitted = exchange.admitted
        if admitted is None or admitted.stream or admitted.output_tokens > self._rules.max_output_tokens:
            return None
        self.budget.request(exchange.started_at)
        return Hedge(self, exchange, self._rules.delay_seconds or self.delays.p95)


class Hedge:
    """One request that may be sent twice."""

    __slots__ = ("_exchange", "_hedger", "_sent_at", "_timer", "second", "sent")

    def __init__(self, hedger: Hedger, exchange: Exchange, delay: float | None) -> None:
        self.second: Attempt | None = None
        self.sent = False
        self._hedger = hedger
        self._exchange = exchange
        self._sent_at = monotonic()
        self._timer: asyncio.TimerHandle | None = None
        if delay is not None:
            self._timer = exchange.service.loop.call_later(delay, self._send)

    def _send(self) -> None:
        self._timer = None
        exchange, now = self._exchange, monotonic()
        target, first = exchange.target, exchange.attempt
        if target is None or first is None or exchange.tries != 1 or not first.waiting:
            return
        engine = target.pool.choose(now, [first.engine])
        if engine is None or engine.failures:
            return
        if not self._hedger.budget.take(now):
            self._hedger.count("no_budget")
            return
        self.sent = True
        exchange.tried.append(engine)
        self.second = Attempt(exchange, engine)
        self.second.start(fresh=False)

    def answered(self, attempt: Attempt) -> None:
        """An answer begins: it is the one that counts."""
        self._stop_timer()
        second, self.second = self.second, None
        if second is None:
            return
        first, self._exchange.attempt = self._exchange.attempt, attempt
        loser = first if attempt is second else second
        if loser is not None:
            loser.abort()
        self._hedger.count("second" if attempt is second else "first")

    def goes_on(self, attempt: Attempt) -> bool:
        """An attempt failed. True when the other one is still under way."""
        self._stop_timer()
        second, self.second = self.second, None
        if second is None:
            return False
        if attempt is not second:
            self._exchange.attempt = second
        self._hedger.count("failed")
        self._exchange.deadline = self._exchange.total_deadline
        return True

    def expired(self, now: float) -> bool:
        """A deadline passed. True when it was that of the second engine's connection, and the first goes on."""
        second = self.second
        if second is None:
            return False
        self.second = None
        connecting = not second.connected
        second.abort()
        self._hedger.count("failed")
        if now >= self._exchange.total_deadline or not connecting:
            return False
        if self._exchange.target is not None:
            self._exchange.target.pool.failed(second.engine, now)
        self._exchange.deadline = self._exchange.total_deadline
        return True

    def close(self, status: int = 0) -> None:
        """The request ends; `status` 200 tells how long such requests take."""
        self._stop_timer()
        second, self.second = self.second, None
        if second is not None:
            second.abort()
        if status == 200:
            self._hedger.delays.add(monotonic() - self._sent_at)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
