"""From a request that ends to its row."""

from __future__ import annotations

import hashlib
import time
from time import monotonic
from typing import TYPE_CHECKING

from app.gateway.ledger.row import Row, mean_itl_ms
from app.jobs.ticket import billed_as

if TYPE_CHECKING:
    from app.gateway.account import Account
    from app.gateway.exchange import Exchange
    from app.gateway.ledger.writer import Ledger


def record(ledger: Ledger, exchange: Exchange, status: int, outcome: str, account: Account) -> None:
    """Gives the ledger the row of a request that was admitted: it has a key and a model."""
    key, target, attempt, admitted = exchange.key, exchange.target, exchange.attempt, exchange.admitted
    assert key is not None  # noqa: S101 - a request without a key is not admitted
    assert target is not None  # noqa: S101 - an admitted request has a model
    stream = admitted is not None and admitted.stream
    now, begun = monotonic(), exchange.started_at
    # A stream that came in one piece is settled before its first event is handed out, which is now.
    first = exchange.first_event_at or (now if stream and outcome == "ok" else 0.0)
    engine = None if attempt is None else attempt.engine
    paid = status == 200 and outcome == "ok"
    again = billed_as(exchange.request_id, paid=paid) if key.job else None
    identity, ended = again or (ledger.next_id(), time.time())
    pipeline, step = exchange.step, None
    if (
        again and pipeline is not None
    ):  # each request of a run has its row, and a second attempt of the job the same ones
        identity = hashlib.sha256(f"{identity} {pipeline.name} {pipeline.call}".encode()).hexdigest()[:32]
    name = None if target.pipeline is None else target.pipeline.name
    if pipeline is not None:
        name, step = pipeline.pipeline, pipeline.name
    ledger.record(
        Row(
            id=identity,
            ended=ended,
            request_id=exchange.request_id.decode("ascii"),
            tenant=key.tenant,
            key_id=key.id,
            feature=exchange.feature,
            model=target.route.name,
            colour=exchange.service.config.colour,
            zone=engine.zone if engine is not None and engine.zone else None,
            engine=None if engine is None else engine.name,
            route=exchange.route,
            status=status,
            outcome=outcome,
            stream=stream,
            input_tokens=account.input_tokens,
            output_tokens=account.output_tokens,
            cached_tokens=account.cached_tokens,
            estimated=account.estimated,
            ttft_ms=(first - begun) * 1e3 if first else None,
            itl_ms=mean_itl_ms(now - first, account.output_tokens) if first else None,
            duration_ms=(now - begun) * 1e3,
            tries=exchange.tries,
            resumed=0 if exchange.resumption is None else exchange.resumption.resumed,
            # Of a job only the answer is billed, and not the tries before it.
            cost_usd=0.0 if key.job and not paid else account.cost_usd,
            cache=exchange.cache_outcome,
            intent=exchange.intent,
            pipeline=name,
            step=step,
        )
    )
