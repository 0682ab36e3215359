"""The stages of a request between its arrival and an engine: admit, route, guards, limits, cache.

Each stage is one call into its own package; some answer later, by a callback. A stage that is not configured costs one
test. Whatever a stage raises ends in `broke`.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.admit import GENERATING, RESUMABLE, Refused, admit
from app.gateway.arrival import Arrival
from app.gateway.balance import placing
from app.gateway.errors import Problem
from app.gateway.keys.signer import await_signer
from app.gateway.limits.charge import reservation
from app.gateway.progress import Kept
from app.gateway.rewrite import COUNTED, hold_output, include_usage
from app.gateway.routing.features import read_features

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.gateway.service import Target


class Stages(Arrival):
    def admit(self: Exchange) -> None:
        """The request is here, and whose it is. Called again once an issuer was asked."""
        service = self.service
        if self.token is not None and await_signer(self):
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        try:
            admitted = admit(self.route, body, service.routes if self.key is None else self.key.visible(service.routes))
            target = service.by_name[admitted.model]
            if service.steward is not None:
                service.steward.require(self.key)
            if service.intents is not None and self.intent is None and self.route in GENERATING:
                intent = service.intents.classify(read_features(body).text)
                service.intents.count(intent)
                self.intent = intent.name
            if target.pipeline is not None:
                self._require_chat(admitted.model)
            elif self.wishes or admitted.model in service.router.plans or (self.key and self.key.most_usd):
                target, body = service.router.take(self, admitted, body)
        except Refused as refused:
            self.answer(refused.problem)
            return
        self.admitted = admitted
        self.target = target
        target.in_flight += 1
        if service.guards is not None:
            body = service.guards.request(self, body)
            if self.response_complete:
                return
        if target.pipeline is not None:
            self.body = body
            if service.guards is not None:
                service.guards.classify(self, body, self._ask_limits)
            else:
                self._ask_limits()
            return
        self.body = include_usage(body, admitted.stream_options) if admitted.add_usage else body
        if admitted.add_limit:
            self._unheld = self.body
            self.body = hold_output(
                self.body, admitted.add_limit, min(admitted.ceiling, target.route.max_output_tokens)
            )
        if admitted.stream and self.route in RESUMABLE and service.config.resume.enabled:
            self.kept = Kept(service.config.resume.max_kept_bytes)
            # A client that has an opinion of its own on this option gets what the engine makes of it.
            self.counted = COUNTED not in (admitted.stream_options or b"")
        if service.guards is not None:
            service.guards.classify(self, body, self._ask_limits)
        else:
            self._ask_limits()

    def _require_chat(self: Exchange, name: str) -> None:
        """Raises Refused: a pipeline answers chats alone."""
        if self.route != "chat":
            text = f"`{name}` is a pipeline: ask it at /v1/chat/completions."
            raise Refused(Problem(404, text, "unsupported_route", "model"))

    def _ask_limits(self: Exchange) -> None:
        """The guards let it pass; they may have taken their time."""
        try:
            self._limit()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            self.broke(error)

    def _limit(self: Exchange) -> None:
        service, target, admitted = self.service, self.target, self.admitted
        assert target is not None  # noqa: S101 - the request is admitted
        assert admitted is not None  # noqa: S101
        if target.pipeline is not None and service.pipelines is not None:  # its steps are limited, each by itself
            service.pipelines.begin(self, target.pipeline)
            return
        # A chain may bring it to several models: each one's own limits are then asked for on its way (`Course`).
        route = target.route if self.course is None else None
        plan = None if self.key is None else service.limiter.plan(self.key, route)
        if plan is None:
            self._look(target)
            return
        tokens, nano = reservation(admitted, self._size, target.route)
        self.permit = service.limiter.permit(plan, tokens, nano)
        self.permit.ask(self._limits_answered)

    def _limits_answered(self: Exchange, problem: Problem | None) -> None:
        """The limits let this request in or not; it may have ended meanwhile."""
        permit, target = self.permit, self.target
        if self.response_complete or permit is None or target is None:
            return
        self.limit_lines = permit.lines
        try:
            if problem is not None:
                self.answer(problem)
            else:
                self._look(target)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            self.broke(error)

    def _look(self: Exchange, target: Target) -> None:
        """In the cache, where there is one; then to an engine."""
        known = self.course is not None and self.course.decision.text is not None
        if self.service.cache is None or known or not self.service.cache.look(self):
            self._begin(target)

    def begin_at_engine(self: Exchange) -> None:
        """The cache has nothing for this request."""
        if self.target is not None:
            try:
                self._begin(self.target)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
                self.broke(error)

    def _begin(self: Exchange, target: Target) -> None:
        service = self.service
        now = self.started_at = monotonic()
        self.total_deadline = now + service.config.timeouts.total_seconds
        service.budget.request(now)
        if self.course is not None:
            self.course.start(self._unheld or self.body)
        else:
            placing.place(self, target, now)
