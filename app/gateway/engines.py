"""A request at engines: tries, failures, what goes on elsewhere, and how it ends where nothing does."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.attempt import Attempt
from app.gateway.balance import placing
from app.gateway.continuation import DONE
from app.gateway.resume import Resumption
from app.gateway.stages import Stages

if TYPE_CHECKING:
    from app.gateway import retry
    from app.gateway.account import Usage
    from app.gateway.choose import Engine
    from app.gateway.exchange import Exchange
    from app.gateway.service import Target


class AtEngines(Stages):
    def try_engine(self: Exchange, engine: Engine, *, fresh: bool = False) -> None:
        self.tries += not fresh
        self.tried.append(engine)
        self.attempt = Attempt(self, engine)
        self.attempt.start(fresh=fresh)

    def attempt_failed(self: Exchange, attempt: Attempt, failure: retry.Failure) -> None:
        """Nothing of this attempt was relayed: another engine may try, else the client gets the reason."""
        target, service = self.target, self.service
        assert target is not None  # noqa: S101 - an attempt follows admission
        now, engine = monotonic(), attempt.engine
        if failure.rest == "drain":
            target.pool.drains(engine, now)
        elif failure.rest != "no":
            target.pool.failed(engine, now, grow=failure.rest == "growing")
        if self.hedge is not None and (failure.retry or attempt is not self.attempt) and self.hedge.goes_on(attempt):
            return
        if self.resumption is not None:
            if not self.resumption.failed(engine, failure):
                self._end_broken(*_told(failure))
            return
        if self._unheld and failure.problem.code == "context_length_exceeded":
            # Prompt and ceiling do not fit the model together: then its context holds the answer below the ceiling.
            self.body, self._unheld = self._unheld, b""
            self.try_engine(engine, fresh=True)
            return
        if failure.retry and now < self.total_deadline:
            if failure.reason == "stale_connection":
                service.metrics.retries.labels(failure.reason).inc()
                self.try_engine(engine, fresh=True)
                return
            more = self.tries - self.tries_before < service.config.retries.attempts
            other = placing.choose(self, target, now) if more else None
            waits = other is None and placing.may_wait(self, target, failure, more=more)
            paced = waits and failure.reason in placing.PACED
            if (other is not None or waits) and (paced or not failure.budgeted or service.budget.take(now)):
                service.metrics.retries.labels(failure.reason).inc()
                if self.course is not None:
                    self.course.other_engine(failure)
                if other is not None:
                    self.try_engine(other)
                else:
                    placing.wait(self, target, engine, failure, now)
                return
        if self.course is None or not self.course.failed(failure):
            self.answer(failure.problem)

    def stream_broke(self: Exchange, engine: Engine, last_at: float, usage: Usage | None) -> bool:
        """A stream lost its engine after `last_at`. True when it goes on elsewhere, or is whole and ended."""
        if self.resumption is None:
            self.resumption = Resumption(self)
        if self.resumption.broke(engine, last_at, usage):
            return True
        if self.resumption.whole:
            self._end_broken("", "")
            return True
        return False

    def go_on(self: Exchange, engine: Engine, *, fresh: bool = False) -> None:
        """Asks an engine to continue the stream."""
        self.try_engine(engine, fresh=fresh)

    def _end_broken(self, message: str, code: str) -> None:
        """No engine goes on with this stream. Where only its end is missing the client gets that."""
        resumption = self.resumption
        assert resumption is not None  # noqa: S101 - the stream broke
        if resumption.whole:
            self._account(self.status, "ok", resumption.usage, resumption.plan.seen)
            self.relay(DONE)
            self.end("ok", resumption.usage, resumption.plan.seen)
        else:
            self.cut_stream(message, code, None, resumption.plan.seen)

    # -- another model, another request's answer --

    def turn_to(self, target: Target, body: bytes, unheld: bytes) -> None:
        """Another model is to answer, with the body given, and `unheld` where that has a ceiling of the gateway."""
        if self.target is not None:
            self.target.in_flight -= 1
        target.in_flight += 1
        self.target, self.body, self._unheld = target, body, unheld
        self.tries_before, self.tried, self.hedge, self.times = self.tries, [], None, None

    def take_over(self: Exchange, other: Exchange) -> None:
        """Goes on with the answer under way of an identical request whose client left: its engine works on."""
        if other.course is not None:
            other.course.pass_to(self)
        self.attempt, other.attempt = other.attempt, None
        self.kept, other.kept = other.kept, None
        self.counted = other.counted
        self.resumption, other.resumption = other.resumption, None
        self.tries, other.tries = other.tries, 0
        self.tried, self._unheld = other.tried, other._unheld
        self.deadline, self.total_deadline = other.deadline, other.total_deadline


def _told(failure: retry.Failure) -> tuple[str, str]:
    """Message and code of the event that ends a stream when the last engine asked to continue it failed so."""
    if failure.reason in ("shutting_down", "total_timeout"):
        return failure.problem.message, failure.problem.code or "upstream_interrupted"
    return "The engine was lost in the middle of the answer, and no other one could go on.", "upstream_interrupted"
