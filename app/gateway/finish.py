"""The end of a request: what it used goes to metrics, limits, ledger and log, once."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from app.gateway.balance.placing import log_fields

if TYPE_CHECKING:
    from app.gateway.account import Account
    from app.gateway.exchange import Exchange


def finish(exchange: Exchange, status: int, outcome: str, account: Account | None) -> None:
    """Accounts a request. `account`: what it used; None for one that was not admitted. The ledger has it already."""
    service, target, attempt = exchange.service, exchange.target, exchange.attempt
    service.exchanges.discard(exchange)
    seconds = monotonic() - exchange.started_at
    metrics = service.other if target is None else target.metrics
    stream = exchange.admitted is not None and exchange.admitted.stream
    metrics.count(status, stream=stream)
    metrics.duration.observe(seconds)
    key = exchange.key
    fields: dict[str, object] = {
        "time": round(time(), 3),
        "event": "request",
        "request_id": exchange.request_id.decode("ascii"),
        "route": exchange.route,
        "model": None if target is None else target.route.name,
        "status": status,
        "outcome": outcome,
        "stream": stream,
        "key": None if key is None else key.id,
        "tenant": None if key is None else key.tenant,
        "engine": None if attempt is None else attempt.engine.name,
        "zone": None if attempt is None else attempt.engine.zone,
        "tries": exchange.tries,
        "ttft_ms": round((exchange.first_event_at - exchange.started_at) * 1e3, 2) if exchange.first_event_at else None,
        "duration_ms": round(seconds * 1e3, 2),
    }
    if exchange.queued_seconds or exchange.hedge is not None:
        fields |= log_fields(exchange)
    if exchange.course is not None:
        fields |= exchange.course.log_fields()
    if target is not None and account is not None:
        target.in_flight -= 1
        if not account.saved:
            metrics.input_tokens.value += account.input_tokens
            metrics.output_tokens.value += account.output_tokens
            metrics.cached_tokens.value += account.cached_tokens
            metrics.cost.value += account.cost_usd
        if service.cache is not None:
            service.cache.count(exchange)
        fields["input_tokens"] = account.input_tokens
        fields["output_tokens"] = account.output_tokens
        fields["cached_tokens"] = account.cached_tokens
        fields["cost_usd"] = round(account.cost_usd, 9)
        fields["estimated"] = account.estimated
        if exchange.cache_outcome is not None:
            fields["cache"] = exchange.cache_outcome
    if exchange.span is not None and service.tracer is not None:
        service.tracer.end(exchange, exchange.span, status, outcome, account)
        fields["trace"] = exchange.span.trace
    if exchange.guarded:
        fields["guards"] = exchange.guarded
    if exchange.resumption is not None:
        fields |= exchange.resumption.log_fields()
    service.log.line(fields)
