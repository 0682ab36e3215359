"""The guards' place in the life of a request: what an exchange calls, and what the client and the operator are told."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from app.gateway.admit import GENERATING
from app.gateway.errors import NO_RETRY, Problem
from app.gateway.guards.inspect import Findings, Plan
from app.gateway.guards.screen import Screen
from app.gateway.guards.settings import GuardModes
from app.gateway.tally import Spread

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from app.gateway.exchange import Exchange
    from app.gateway.guards.classifier import Outcome
    from app.gateway.guards.settings import GuardConfig
    from app.gateway.reply import Reply

BUCKETS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)
JUDGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
UNREADABLE = Problem(400, "A text of the request cannot be read as Unicode.", "invalid_json")
_ADVICE = {
    "pii_input": "it holds personal data or a secret ({kinds}). Take it out of the request and send it again",
    "pii_output": "the answer held personal data or a secret ({kinds}). Ask without such data",
    "injection": "a text in it looks like prompt injection. Take out what addresses the model's instructions, or send "
    "text of your own application as `system` message",
    "topics": "it touches a topic that is not allowed here ({kinds}). Ask about something else",
    "lengths": "it is longer than is allowed here ({kinds}). Send less: leave out old messages or shorten them",
    "classifier": "the content check refused it. Change what you ask",
}


def blocked(guard: str, kinds: list[str], limits: GuardConfig) -> Problem:
    """The refusal, with the header that names the guard."""
    shown = [f"{kind}: {getattr(limits, kind)}" if guard == "lengths" else kind for kind in kinds]
    message = f"The request was refused: {_ADVICE[guard].format(kinds=', '.join(shown))}."
    return Problem(400, message, "content_blocked", type="content_blocked", headers=(NO_RETRY,))


UNJUDGED = Problem(
    503,
    "The content check did not answer, and without it nothing is let through. Try again in 2 s.",
    "guard_unavailable",
    headers=((b"retry-after", b"2"),),
)


class Guards:
    """All guards of one gateway."""

    def __init__(self, config: GuardConfig, registry: CollectorRegistry, *, key: str = "") -> None:
        self.config = config
        self._default = self._plan(config.modes)
        self._plans = {tenant: self._plan(config.of_tenant(tenant)) for tenant in config.tenants}
        self._found = Counter(
            "penstock_guard_findings",
            "What guards found in requests and answers.",
            ["guard", "kind", "action"],
            registry=registry,
        )
        self._seconds = Spread(
            "penstock_guard_seconds", "Time to inspect a request.", (), buckets=BUCKETS, registry=registry
        ).child()
        self._judged = Counter(
            "penstock_guard_classifications",
            "Judgements of the classifier: passed, flagged, timeout, error, full (too many waiting).",
            ["outcome"],
            registry=registry,
        )
        self._judge_seconds = Histogram(
            "penstock_guard_classifier_seconds",
            "Time to the classifier's judgement.",
            buckets=JUDGE_BUCKETS,
            registry=registry,
        )
        self.judge = None
        if config.classifier is not None:
            from app.gateway.guards.classifier import Judge

            self.judge = Judge(config.classifier, key, self._on_outcome)

    def _plan(self, modes: GuardModes) -> Plan | None:
        return None if all(mode == "off" for _, mode in modes) else Plan(self.config, modes)

    def of(self, exchange: Reply) -> Plan | None:
        """The plan of the request's tenant; None where every guard is off."""
        key = exchange.key
        return self._default if key is None else self._plans.get(key.tenant, self._default)

    def request(self, exchange: Exchange, body: bytes) -> bytes:
        """The body to go on with. A request that is refused is answered here."""
        plan = self.of(exchange)
        if plan is None:
            return body
        if plan.output is not None and exchange.route in GENERATING:
            exchange.screen = Screen(plan)
        if not plan.looks:
            return body
        begun = perf_counter()
        try:
            body, findings = plan.inspect(exchange.route, body)
        except ValueError:
            exchange.answer(UNREADABLE)
            return body
        self._seconds.observe(perf_counter() - begun)
        if findings is not None:
            self._tell(exchange, findings)
            if refusal := findings.refused_by:
                exchange.answer(blocked(*refusal, self.config))
        return body

    def classify(self, exchange: Exchange, body: bytes, then: Callable[[], None]) -> None:
        """Goes on with `then`: now, or once the classifier let the request pass."""
        plan, judge, settings = self.of(exchange), self.judge, self.config.classifier
        if plan is None or judge is None or settings is None or plan.modes.classifier == "off":
            then()
            return
        if plan.modes.classifier == "flag":
            if settings.sample_ratio >= 1 or random.random() < settings.sample_ratio:  # noqa: S311 - a sample, no secret
                judge.ask(plan.prompt_text(body, settings.max_characters), self._flagged_later(exchange))
            then()
            return

        def judged(outcome: Outcome) -> None:
            if exchange.response_complete:
                return
            if outcome == "flagged":
                findings = Findings()
                findings.add("classifier", "flagged", "refuse")
                self._tell(exchange, findings)
                exchange.answer(blocked("classifier", [], self.config))
            elif outcome != "passed" and settings.on_failure == "refuse":
                exchange.answer(UNJUDGED)
            else:
                then()

        judge.ask(plan.prompt_text(body, settings.max_characters), judged)

    def _flagged_later(self, exchange: Exchange) -> Callable[[Outcome], None]:
        request_id, log = exchange.request_id.decode("ascii"), exchange.service.log
        tenant = None if exchange.key is None else exchange.key.tenant

        def judged(outcome: Outcome) -> None:
            if outcome == "flagged":
                self._found.labels("classifier", "flagged", "flag").inc()
                log.event("guard", request_id=request_id, tenant=tenant, guards="classifier=flag;flagged=1")

        return judged

    def reply(self, exchange: Reply, body: bytes) -> tuple[bytes, Problem | None]:
        """A whole answer, masked, or why it cannot be given."""
        plan = self.of(exchange)
        if plan is None:
            return body, None
        try:
            body, findings = plan.answer(body)
        except (ValueError, AttributeError):
            return body, None
        if findings is None:
            return body, None
        self._tell(exchange, findings)
        refusal = findings.refused_by
        return body, None if refusal is None else blocked(*refusal, self.config)

    def ended(self, exchange: Exchange) -> None:
        """A screened stream is over."""
        screen = exchange.screen
        if screen is not None and screen.findings.modes:
            self._tell(exchange, screen.findings)
            screen.findings = Findings()

    def _tell(self, exchange: Reply, findings: Findings) -> None:
        for (guard, kind), count in findings.counts.items():
            self._found.labels(guard, kind, findings.modes[guard]).inc(count)
        told = findings.header()
        exchange.guarded = f"{exchange.guarded}, {told}" if exchange.guarded else told
        if exchange.span is not None:
            exchange.span.event("penstock.guard", guards=told)
        exchange.guard_lines = b"x-penstock-guard: %b\r\n" % exchange.guarded.encode("latin-1", "replace")

    def _on_outcome(self, outcome: Outcome, seconds: float) -> None:
        self._judged.labels(outcome).inc()
        if seconds:
            self._judge_seconds.observe(seconds)

    async def close(self) -> None:
        if self.judge is not None:
            await self.judge.close()
