"""The end of a request: what it used goes to metrics, limits, ledger and log, once."""

from __future__ import annotations

from functools import lru_cache
from time import monotonic, time
from typing import TYPE_CHECKING

from app.gateway.balance.placing import log_fields
from app.gateway.log import inner, shown
from app.gateway.redact import redacted

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
    about = _about(
        exchange.route,
        None if target is None else target.route.name,
        status,
        outcome,
        stream,
        None if key is None else key.id,
        None if key is None else key.tenant,
        None if attempt is None else attempt.engine.name,
        None if attempt is None else attempt.engine.zone,
    )
    request_id = redacted(exchange.request_id) if exchange.id_given else exchange.request_id
    first = exchange.first_event_at
    ttft = f"{(first - exchange.started_at) * 1e3:.2f}" if first else "null"
    line = (
        f'{{"time":{time():.3f},"event":"request","request_id":"{request_id.decode("ascii")}",{about},'
        f'"tries":{exchange.tries},"ttft_ms":{ttft},"duration_ms":{seconds * 1e3:.2f}'
    )
    more: dict[str, object] = {}
    if exchange.queued_seconds or exchange.hedge is not None:
        more |= log_fields(exchange)
    if exchange.step is not None:
        more["pipeline"], more["step"] = exchange.step.pipeline, exchange.step.name
    if exchange.intent is not None:
        more["intent"] = exchange.intent
    if exchange.course is not None:
        more |= exchange.course.log_fields()
    if target is not None and account is not None:
        target.in_flight -= 1
        if not account.saved:
            metrics.input_tokens.value += account.input_tokens
            metrics.output_tokens.value += account.output_tokens
            metrics.cached_tokens.value += account.cached_tokens
            metrics.cost.value += account.cost_usd
        if service.cache is not None:
            service.cache.count(exchange)
        line += (
            f',"input_tokens":{account.input_tokens},"output_tokens":{account.output_tokens},'
            f'"cached_tokens":{account.cached_tokens},"cost_usd":{round(account.cost_usd, 9)!r},'
            f'"estimated":{"true" if account.estimated else "false"}'
        )
        if exchange.cache_outcome is not None:
            more["cache"] = exchange.cache_outcome
    if exchange.span is not None and service.tracer is not None:
        service.tracer.end(exchange, exchange.span, status, outcome, account)
        line += f',"trace":"{exchange.span.trace}"'
    if exchange.guarded:
        more["guards"] = exchange.guarded
    if exchange.resumption is not None:
        more |= exchange.resumption.log_fields()
    whole = b"%b,%b}" % (line.encode(), inner(more)) if more else line.encode() + b"}"
    if service.recent is not None and (status >= 500 or (status < 400 and outcome != "ok")):
        service.recent.append(whole)
    service.log.whole(whole)


@lru_cache(maxsize=4096)
def _about(
    route: str,
    model: str | None,
    status: int,
    outcome: str,
    stream: bool,
    key: str | None,
    tenant: str | None,
    engine: str | None,
    zone: str | None,
) -> str:
    """The part of a line that many requests share."""
    return (
        f'"route":{shown(route)},"model":{shown(model)},"status":{status},"outcome":{shown(outcome)},'
        f'"stream":{"true" if stream else "false"},"key":{shown(key)},"tenant":{shown(tenant)},'
        f'"engine":{shown(engine)},"zone":{shown(zone)}'
    )
