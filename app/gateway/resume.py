"""One stream that lost its engine: asks another one to go on, as often as the settings allow."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.account import Usage
from app.gateway.choose import Engine
from app.gateway.continuation import Continuation, NotResumable, continuation, finish_event
from app.gateway.retry import Failure

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange


class Resumption:
    """Made at a stream's first break, and kept over later ones."""

    __slots__ = (
        "_broke_at",
        "_exchange",
        "_tried",
        "_tries",
        "_waiting",
        "plan",
        "reason",
        "resumed",
        "stall",
        "usage",
        "whole",
    )

    def __init__(self, exchange: Exchange) -> None:
        self.plan = Continuation(b"")
        self.resumed = 0
        """How often another engine went on."""
        self.stall = 0.0
        """The longest time in which the client got nothing because of a break, in seconds."""
        self.reason = ""
        """Why the stream did not go on."""
        self.whole = False
        """True when the client has the whole text: what is missing is the end of the stream."""
        self.usage: Usage | None = None
        """Of a whole stream, where it is known."""
        self._exchange = exchange
        self._broke_at = 0.0
        self._tries = 0
        self._tried: list[Engine] = []
        self._waiting = False

    def pass_to(self, exchange: Exchange) -> None:
        """Another client gets the stream from now on."""
        self._exchange = exchange

    def broke(self, engine: Engine, last_at: float, usage: Usage | None) -> bool:
        """The stream's engine is lost. True when another engine is asked.

        `last_at` is when its last event came, `usage` what it told before.
        """
        exchange = self._exchange
        if not self._waiting:
            self._broke_at, self._tried = last_at, []
        self._tried.append(engine)
        if exchange.kept is None:
            return self._gives_up("disabled", "disabled")
        progress = exchange.kept.progress()
        if exchange.counted and usage is not None:
            progress.told(usage)
        try:
            self.plan = continuation(exchange.route, exchange.body, progress)
        except NotResumable as refusal:
            return self._gives_up("not_resumable", refusal.reason)
        self.whole = self.plan.only_usage
        if self.whole and usage is not None and (progress.usage_told or _unasked(exchange)):
            self.usage = usage
            return self._gives_up("completed", "")
        if self.plan.finish:
            exchange.relay(finish_event(exchange.route, progress, "length"))
        return self._ask_another()

    def failed(self, engine: Engine, failure: Failure) -> bool:
        """An engine that was asked did not begin. True when it, or another one, is asked again."""
        if failure.reason == "stale_connection":
            self._exchange.go_on(engine, fresh=True)
            return True
        if not failure.retry:
            return self._gives_up("failed", failure.reason)
        if failure.budgeted and not self._exchange.service.budget.take(monotonic()):
            return self._gives_up("failed", "retry_budget")
        return self._ask_another()

    def _ask_another(self) -> bool:
        # The first engine asked is not counted as a retry: a dead engine's streams move once, nothing is multiplied.
        exchange, now = self._exchange, monotonic()
        service, target = exchange.service, exchange.target
        if now >= exchange.total_deadline:
            return self._gives_up("failed", "total_timeout")
        if self._tries >= service.config.resume.attempts:
            return self._gives_up("failed", "attempts")
        engine = target.pool.choose(now, self._tried, over=True) if target is not None else None
        if engine is None:
            return self._gives_up("no_engine", "no_engine")
        self._tries += 1
        self._tried.append(engine)
        self._waiting = True
        exchange.go_on(engine)
        return True

    def _gives_up(self, outcome: str, reason: str) -> bool:
        self.reason = reason
        self._exchange.service.metrics.resumed.labels("completed" if self.whole else outcome).inc()
        return False

    def goes_on(self, now: float) -> None:
        """An event of the engine that was asked is passed on."""
        if not self._waiting:
            return
        self._waiting = False
        self.resumed += 1
        seconds = now - self._broke_at
        self.stall = max(self.stall, seconds)
        exchange = self._exchange
        exchange.service.metrics.resumed.labels("resumed").inc()
        if exchange.target is not None:
            exchange.target.metrics.stall.observe(seconds)

    def log_fields(self) -> dict[str, object]:
        fields: dict[str, object] = {"resumed": self.resumed}
        if self.resumed:
            fields["stall_ms"] = round(self.stall * 1e3, 2)
        if self.reason:
            fields["not_resumed"] = self.reason
        return fields


def _unasked(exchange: Exchange) -> bool:
    """True when the client gets no usage event."""
    return exchange.admitted is not None and exchange.admitted.add_usage
