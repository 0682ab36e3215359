"""One routed request on its way down a chain: which model is asked next, what is told, and what its breaker learns."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from app.gateway.account import Usage, settle
from app.gateway.balance import placing
from app.gateway.errors import no_engine
from app.gateway.limits.charge import reservation
from app.gateway.retry import Failure, bad_output
from app.gateway.routing.adapt import body_for, held
from app.gateway.routing.answers import EVENTS, JSON, TEXT_ROUTES, answer, text_of
from app.gateway.routing.judge import judge

if TYPE_CHECKING:
    import asyncio

    from app.gateway.errors import Problem
    from app.gateway.exchange import Exchange
    from app.gateway.limits.limiter import Permit
    from app.gateway.routing.config import Route
    from app.gateway.routing.decide import Decision, Wishes
    from app.gateway.routing.features import Features
    from app.gateway.routing.router import Router
    from app.gateway.service import Target

CACHE_SECONDS = 0.5
"""How long the cache may take to find a last answer."""
_HEALTHY = frozenset(
    {"refused", "shutting_down", "total_timeout", "no_engine", "untranslatable", "outside_full", "rate_limited"}
    | {"empty_output", "cut_output", "wrong_format"}
)
"""Failures that say nothing against a model's health: a breaker does not count them."""
_ANOTHER_CAN = frozenset({"context_length_exceeded", "unsupported_route", "model_not_found"})
"""Errors of a request with one model that may be none with another."""
_NO_TOKENS = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)


class LastAnswers(Protocol):
    """What a cache offers to the end of a chain: the last answer kept for the same request, fresh or not."""

    def look_up(self, exchange: Exchange, found: Callable[[bytes | None], None]) -> None:
        """Calls `found` once, now or later, with the JSON body of a whole chat or completion reply, or None."""


class Course:
    __slots__ = (
        "_asked",
        "_asked_at",
        "_at",
        "_bad",
        "_base",
        "_entered",
        "_exchange",
        "_left",
        "_may_fall",
        "_most",
        "_probe",
        "_router",
        "_settings",
        "_skipped",
        "_timer",
        "decision",
        "fallback",
        "features",
        "named",
    )

    def __init__(
        self,
        router: Router,
        exchange: Exchange,
        settings: Route,
        decision: Decision,
        features: Features,
        wishes: Wishes,
        most: int,
    ) -> None:
        self.named = ""
        """What the kept body names as its model."""
        self._may_fall = wishes.fallback
        self._most = most
        self._router = router
        self._exchange = exchange
        self._settings = settings
        self.decision = decision
        self.features = features
        self.fallback = ""
        """The last step down the chain, as the header tells it."""
        self._at = 0
        self._asked = 0
        self._asked_at = 0.0
        self._base = b""
        self._left = "" if not decision.chain else decision.chain[0]
        self._skipped: Target | None = None
        self._entered: Target | None = None
        self._probe = False
        self._bad: tuple[Target, float, bytes, bytes, Usage | None, int] | None = None
        """The first answer that was no good, and what it cost: passed on where nothing better comes."""
        self._timer: asyncio.TimerHandle | None = None

    # -- what the exchange tells --

    def start(self, base: bytes) -> None:
        """The request may go on. `base` is its body without a ceiling of the gateway."""
        self._base = base
        if self.decision.text is not None:
            self._answer(self.decision.text)
        else:
            self._next(None)

    def failed(self, failure: Failure) -> bool:
        """The model failed, with all of its engines that could be tried. True when something else answers."""
        self._learn(failure)
        if not _moves_on(failure):
            return False
        return self._next(failure)

    def other_engine(self, failure: Failure) -> None:
        """The same model's next engine is asked."""
        self._tell("engine", self._left, failure.reason, step=False)

    def faulty(self, content_type: bytes, body: bytes, usage: Usage | None, status: int) -> Failure | None:
        """Judges a whole answer before it is passed on."""
        exchange, target = self._exchange, self._exchange.target
        if not self._settings.check_output or target is None:
            return None
        fault = judge(exchange.route, body, self.features)
        if fault is None:
            return None
        metrics = self._router.metrics
        metrics.discarded.labels(target.route.name, fault).inc()
        if not self._more():  # nothing better can come
            return None
        cost = settle(usage, 0, target.route).cost_usd
        if self._bad is None:
            self._bad = (target, cost, content_type, body, usage, status)
        else:
            metrics.discarded_cost.labels(target.route.name).inc(cost)
        return bad_output(fault, target.route.name)

    def ended(self, outcome: str) -> None:
        """The request is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._bad is not None:
            wasted, cost, *_ = self._bad
            self._router.metrics.discarded_cost.labels(wasted.route.name).inc(cost)
        target, self._entered = self._entered, None
        if target is None:
            return
        exchange, now = self._exchange, monotonic()
        breaker = self._router.breakers.get(target.route.name)
        if breaker is None:
            return
        begun = exchange.first_event_at
        if outcome == "ok" or (outcome == "client_gone" and begun):
            slow = begun - self._asked_at > self._router.config.routing.breaker.slow_seconds if begun else False
            breaker.succeeded(now, probe=self._probe, slow=slow)
        elif (
            exchange.response_started
            and outcome not in ("client_gone", "shutting_down")
            and (now < exchange.total_deadline)
        ):
            breaker.failed(now, probe=self._probe)
        else:
            breaker.forget(probe=self._probe)

    def pass_to(self, exchange: Exchange) -> None:
        """An identical request takes the answer under way over, whichever model gives it by now."""
        old = self._exchange
        if old.target is not None and exchange.target is not old.target:
            exchange.turn_to(old.target, old.body, b"")
        exchange.route_lines, exchange.times = old.route_lines, old.times
        exchange.model_permit, old.model_permit = old.model_permit, exchange.model_permit
        self._exchange, exchange.course, old.course = exchange, self, None

    def ceiling(self, model: str) -> int:
        """The client's own ceiling of output with a model; 0 where it has none."""
        key = self._exchange.key
        own = None if key is None else key.ceilings.get(model)
        return self._most if own is None else min(self._most or own, own)

    # -- the chain --

    def _more(self) -> bool:
        """Whether anything stands behind the model that is asked now."""
        settings, text = self._settings, self._exchange.route in TEXT_ROUTES
        behind = text and (settings.cached or settings.knowledge or settings.canned is not None)
        return self._at < len(self.decision.chain) or (behind and self._may_fall)

    def _learn(self, failure: Failure) -> None:
        target, self._entered = self._entered, None
        if target is None:
            return
        breaker = self._router.breakers.get(target.route.name)
        if breaker is None:
            return
        now = monotonic()
        if failure.wait_seconds:
            breaker.hold(now + failure.wait_seconds)
        if failure.reason in _HEALTHY:
            breaker.forget(probe=self._probe)
        else:
            breaker.failed(now, probe=self._probe)

    def _next(self, failure: Failure | None) -> bool:
        """Asks the next model that can be asked. `failure` is that of the one before."""
        exchange, router, chain = self._exchange, self._router, self.decision.chain
        now = monotonic()
        reason = "" if failure is None else failure.reason
        while self._at < len(chain) and now < exchange.total_deadline:
            target = router.targets[chain[self._at]]
            self._at += 1
            if failure is not None and not _helps(target, failure, exchange):
                continue
            breaker = router.breakers.get(target.route.name)
            closed = breaker is not None and not breaker.allows(now)
            if closed or not target.pool.ready:  # nobody waits for engines while something else can answer
                if self._skipped is None or not self._skipped.pool.ready:
                    self._skipped = target if target.pool.ready else self._skipped or target
                reason = reason or ("circuit_open" if closed else "no_engine")
                continue
            if reason:
                kind = "model" if target.outside is None else "outside"
                self._tell(kind, target.route.name, reason)
            self._ask(target)
            return True
        return self._without_model(failure, reason or "circuit_open", 0)

    def _ask(self, target: Target) -> None:
        exchange = self._exchange
        self._leave_limits()
        if target is not exchange.target:
            if exchange.hedge is not None:
                exchange.hedge.close()
            route = held(target.route, self.ceiling(target.route.name))
            exchange.turn_to(
                target,
                *body_for(exchange.route, self._base, self.named, self.features.asked_tokens, route),
            )
        plan = None if exchange.key is None else exchange.service.limiter.model_plan(exchange.key, target.route)
        if plan is None:
            self._begin(target)
            return
        assert exchange.admitted is not None  # noqa: S101 - a course follows admission
        exchange.deadline = inf  # it was the last attempt's; limits answer within 50 ms
        tokens, nano = reservation(exchange.admitted, len(self._base), target.route)
        exchange.model_permit = permit = exchange.service.limiter.permit(plan, tokens, nano)
        permit.ask(lambda problem: self._limited(target, permit, problem))

    def _limited(self, target: Target, permit: Permit, problem: Problem | None) -> None:
        """The model's own limits let the request in or not: then the next model is asked."""
        exchange = self._exchange
        if exchange.response_complete or exchange.model_permit is not permit:
            return
        try:
            if problem is None:
                self._begin(target)
            else:
                self._left = target.route.name
                failure = Failure("limit", problem, rest="no")
                if not self._next(failure):
                    exchange.answer(problem)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            exchange.broke(error)

    def _begin(self, target: Target) -> None:
        exchange, router = self._exchange, self._router
        exchange.times = self._times(target)
        self._asked += 1
        self._left = target.route.name
        self._entered = target
        self._asked_at = monotonic()
        breaker = router.breakers.get(target.route.name)
        self._probe = breaker is not None and breaker.enter(self._asked_at)
        placing.place(exchange, target, self._asked_at)

    def _leave_limits(self) -> None:
        """The last model's own limits get back what was reserved there: another one answers."""
        permit, self._exchange.model_permit = self._exchange.model_permit, None
        if permit is not None:
            permit.settle(0, 0)

    def _times(self, target: Target) -> Any:
        config = self._router.config.timeouts if target.outside is None else target.outside.times
        if not self._more():
            return config
        own = (self._settings.first_byte_seconds, self._settings.answer_seconds)
        names = ("first_byte_seconds", "answer_seconds")
        changes = {name: value for name, value in zip(names, own, strict=True) if value is not None}
        return config.model_copy(update=changes) if changes else config

    # -- behind the last model --

    def _without_model(self, failure: Failure | None, reason: str, stage: int) -> bool:
        """The kept answer, the knowledge file, the template. False when the client must get the error."""
        exchange, settings, router = self._exchange, self._settings, self._router
        if exchange.route in TEXT_ROUTES and self._may_fall:
            last = exchange.service.last_answers
            if stage == 0 and settings.cached and last is not None and exchange.route != "responses":
                self._look_up(last, failure, reason)
                return True
            if settings.knowledge and router.knowledge is not None:
                text = router.knowledge.look_up(self.features.text)
                if text is not None:
                    self._tell("knowledge", "knowledge", reason)
                    self._answer(text)
                    return True
            if settings.canned is not None:
                self._tell("canned", "canned", reason)
                self._answer(router.plans[settings.name].rules.fill(settings.canned, {}))
                return True
        if self._skipped is not None and not self._asked:  # a breaker alone never makes an error
            self._ask(self._skipped)
            return True
        if self._bad is not None:  # no worse than without a chain
            target, _, content_type, body, usage, status = self._bad
            self._bad = None
            self._tell("model", target.route.name, "nothing_better")
            self._leave_limits()
            exchange.turn_to(target, exchange.body, b"")
            exchange.reply(content_type, body, usage, status)
            return True
        return False

    def _look_up(self, last: LastAnswers, failure: Failure | None, reason: str) -> None:
        exchange = self._exchange
        waiting = [True]
        exchange.deadline = inf  # the timer below is the deadline now

        def found(body: bytes | None) -> None:
            if not waiting or exchange.response_complete:
                return
            waiting.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            text = None if body is None else text_of(body)
            if text is not None:
                self._tell("cache", "cache", reason)
                self._answer(text)
            elif not self._without_model(failure, reason, 1):
                exchange.answer(failure.problem if failure is not None else no_engine(self._left))

        self._timer = exchange.service.loop.call_later(CACHE_SECONDS, found, None)
        last.look_up(exchange, found)

    def _answer(self, text: str) -> None:
        """Nothing is charged: no model made this."""
        exchange, admitted = self._exchange, self._exchange.admitted
        assert admitted is not None  # noqa: S101 - a course follows admission
        self._leave_limits()
        if exchange.target is not self._router.none:
            exchange.turn_to(self._router.none, b"", b"")
        content_type, body = answer(
            exchange.route,
            text,
            model=admitted.model,
            identity=exchange.request_id.decode("ascii"),
            stream=admitted.stream,
            usage=admitted.stream and not admitted.add_usage,
        )
        if content_type == JSON:
            exchange.reply(content_type, body, _NO_TOKENS, 200)
            return
        exchange.relay(body, b"" if exchange.response_started else exchange.begin(EVENTS, 200))
        exchange.end("ok", _NO_TOKENS, 0)

    def _tell(self, kind: str, to: str, reason: str, *, step: bool = True) -> None:
        exchange = self._exchange
        after = self._left
        self.fallback = f"{kind}; to={to}; after={after}; reason={reason}"
        line = f"x-penstock-fallback: {self.fallback}\r\n".encode()
        exchange.route_lines = exchange.route_lines.partition(b"x-penstock-fallback:")[0] + line
        if step:
            self._router.metrics.fallbacks.labels(self._settings.name, to, reason).inc()
            if exchange.cache_part is not None:
                exchange.cache_part.turned(exchange.route_lines)

    def log_fields(self) -> dict[str, str]:
        return {"asked": self._settings.name, "routed": self.decision.reason} | (
            {"fallback": self.fallback} if self.fallback else {}
        )


def _moves_on(failure: Failure) -> bool:
    """Whether another model may answer after this failure. Errors of the client are the client's affair."""
    if failure.reason == "shutting_down":
        return False
    return failure.reason != "refused" or failure.problem.status >= 500 or failure.problem.code in _ANOTHER_CAN


def _helps(target: Target, failure: Failure, exchange: Exchange) -> bool:
    if target.outside is not None and exchange.route not in target.outside.routes(target.route.name):
        return False
    if failure.problem.code == "context_length_exceeded" and exchange.target is not None:
        return target.route.context_tokens > exchange.target.route.context_tokens
    return True
