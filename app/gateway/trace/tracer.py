"""Begins and ends the spans of requests, and says what they tell (GenAI semantic conventions of OpenTelemetry)."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from prometheus_client import Counter

from app.gateway.trace.span import Done, Span, Value, new_span, read_parent

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from app.gateway.account import Account
    from app.gateway.exchange import Exchange
    from app.gateway.trace.export import Exporter
    from app.gateway.trace.settings import TraceConfig

OPERATIONS = {"chat": "chat", "completions": "text_completion", "responses": "chat", "embeddings": "embeddings"}
"""Values of `gen_ai.operation.name`; other routes keep their own name."""
MOST_CONTENT_BYTES = 32 * 1024
LONGEST_STATE = 512
_REFERENCE = re.compile(r"([0-9a-f]{32})(?:-([0-9a-f]{16}))?")


class Tracer:
    def __init__(self, config: TraceConfig, registry: CollectorRegistry) -> None:
        self.config = config
        self.exporter: Exporter | None = None
        self._spans = Counter(
            "penstock_trace_spans",
            "Spans: exported, dropped (too many waiting), failed (the collector did not take them).",
            ["result"],
            registry=registry,
        )
        self._results = {name: self._spans.labels(name) for name in ("exported", "dropped", "failed")}

    def count(self, result: str, spans: int) -> None:
        """Any thread may call it."""
        self._results[result].inc(spans)

    def begin(self, given: bytes) -> Span:
        """`given`: the client's header lines `traceparent` and `tracestate`, empty where there are none."""
        config, parent, state = self.config, None, b""
        for line in given.split(b"\r\n") if given else ():
            name, _, value = line.partition(b": ")
            if name == b"traceparent":
                parent = read_parent(value)
            elif name == b"tracestate" and len(value) <= LONGEST_STATE:
                state = b"tracestate: %b\r\n" % value
        return Span(parent, state, config.ratio, follow=config.follow_parent)

    def end(self, exchange: Exchange, span: Span, status: int, outcome: str, account: Account | None) -> None:
        """A request is over: its spans are handed on where it was chosen, or failed on our side."""
        failed = status >= 500 or (status == 200 and outcome != "ok")
        exporter = self.exporter
        if exporter is None or not (span.sampled or (failed and self.config.errors)):
            return
        fields, name = self._describe(exchange, status, outcome, account)
        now = time.time_ns()
        events = span.events
        if exchange.first_event_at:
            after = int((exchange.first_event_at - span.started) * 1e9)
            events.append(("gen_ai.first_token", span.begun + after, {}))
        error = (outcome if outcome != "ok" else str(status)) if failed else ""
        if status >= 400:
            fields["error.type"] = outcome if outcome != "ok" else str(status)
        spans = [Done(span.trace, span.span, span.parent, name, "server", span.begun, now, fields, error, events)]
        for one in span.tries:
            about: dict[str, Value] = {
                "gen_ai.operation.name": fields["gen_ai.operation.name"],
                "gen_ai.request.model": fields.get("gen_ai.request.model", ""),
                "server.address": one.engine,
                "server.port": one.port,
            }
            if one.zone:
                about["cloud.availability_zone"] = one.zone
            if one.reason:
                about["error.type"] = one.reason
            ended = one.ended or now
            spans.append(Done(span.trace, one.span, span.span, name, "client", one.begun, ended, about, one.reason, []))
        exporter.submit(spans)

    def _describe(
        self, exchange: Exchange, status: int, outcome: str, account: Account | None
    ) -> tuple[dict[str, Value], str]:
        """Attributes and name of a request's span. No text of prompt or answer, unless the settings say so."""
        operation = OPERATIONS.get(exchange.route, exchange.route)
        target, key, admitted = exchange.target, exchange.key, exchange.admitted
        fields: dict[str, Value] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "penstock",
            "http.request.method": "POST",
            "http.route": exchange.route,
            "http.response.status_code": status,
            "penstock.request_id": exchange.request_id.decode("ascii"),
            "penstock.outcome": outcome,
            "penstock.colour": exchange.service.config.colour,
            "penstock.tries": exchange.tries,
        }
        if target is not None:
            fields["gen_ai.request.model"] = fields["gen_ai.response.model"] = target.route.name
        if admitted is not None:
            fields["penstock.stream"] = admitted.stream
            if admitted.output_tokens:
                fields["gen_ai.request.max_tokens"] = admitted.output_tokens
        if key is not None:
            fields["penstock.tenant"], fields["penstock.key"] = key.tenant, key.id
        if exchange.feature is not None:
            fields["penstock.feature"] = exchange.feature
        if exchange.guarded:
            fields["penstock.guards"] = exchange.guarded
        if exchange.cache_outcome is not None:
            fields["penstock.cache"] = exchange.cache_outcome
        if account is not None:
            fields["gen_ai.usage.input_tokens"] = account.input_tokens
            fields["gen_ai.usage.output_tokens"] = account.output_tokens
            fields["gen_ai.usage.cache_read.input_tokens"] = account.cached_tokens
            fields["penstock.cost_usd"] = account.cost_usd
        if exchange.first_event_at:
            fields["penstock.ttft_ms"] = round((exchange.first_event_at - exchange.started_at) * 1e3, 3)
        if self.config.content and exchange.body:
            fields["gen_ai.input.messages"] = exchange.body[:MOST_CONTENT_BYTES].decode("utf-8", "replace")
        return fields, operation if target is None else f"{operation} {target.route.name}"

    def score(self, trace: str, name: str, value: float | None, *, label: str = "", explanation: str = "") -> bool:
        """Attaches an evaluation to a trace that was told in `x-penstock-trace`. False for what is no such trace.

        `explanation` is a person's words: it is sent only where the settings let content into traces. A score is sent
        even where its trace was not chosen; the collector then holds the score alone.
        """
        found = _REFERENCE.fullmatch(trace)
        if found is None:
            return False
        about: dict[str, Value] = {"gen_ai.evaluation.name": name}
        if value is not None:
            about["gen_ai.evaluation.score.value"] = float(value)
        if label:
            about["gen_ai.evaluation.score.label"] = label
        if explanation and self.config.content:
            about["gen_ai.evaluation.explanation"] = explanation[:MOST_CONTENT_BYTES]
        now = time.time_ns()
        event = ("gen_ai.evaluation.result", now, about)
        link = (found[1], found[2]) if found[2] else None
        done = Done(
            found[1], new_span(), found[2] or "", f"evaluate {name}", "internal", now, now, about, "", [event], link
        )
        if self.exporter is not None:
            self.exporter.submit([done])
        return True
