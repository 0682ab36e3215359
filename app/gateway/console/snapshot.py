"""What one gateway tells the others for the console: sums since its start, its engines, its last errors. Bounded.

It is taken once a second, and only while somebody looks: the hot path counts what it counts anyway.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from app.gateway.metrics import version

if TYPE_CHECKING:
    from prometheus_client import Counter

    from app.gateway.metrics import ModelMetrics
    from app.gateway.service import Service

MOST_MODELS = 100
MOST_ENGINES = 200
MOST_ERRORS = 50


class ModelSums(msgspec.Struct, array_like=True):
    """Counters of one model since the gateway's start, and two gauges. `ttft`, `itl`: histogram counts by bucket."""

    requests: float = 0
    failed: float = 0
    """5xx, and streams that ended with an error event."""
    refused: float = 0
    """4xx but 499."""
    left: float = 0
    """499: the client left first."""
    input_tokens: float = 0
    output_tokens: float = 0
    cost_usd: float = 0
    in_flight: int = 0
    waiting: int = 0
    ttft: list[int] = []
    itl: list[int] = []


class EngineSeen(msgspec.Struct, array_like=True):
    name: str
    model: str
    zone: str
    state: str
    in_flight: int


class Failure(msgspec.Struct):
    """One request that failed on our side; no prompt, no answer, no key."""

    time: float
    request_id: str
    status: int
    outcome: str
    model: str | None = None
    tenant: str | None = None
    key: str | None = None
    engine: str | None = None
    zone: str | None = None
    duration_ms: float = 0


class Snapshot(msgspec.Struct):
    id: str
    """Of the process: a restarted gateway is another one."""
    name: str
    colour: str
    zone: str
    version: str
    at: float
    started_at: int
    draining: bool
    connections: int
    viewers: int
    models: dict[str, ModelSums]
    engines: list[EngineSeen]
    errors: list[Failure]
    health: dict[str, bool]
    """Dependencies that this gateway has, and whether each answers."""
    retried: float = 0
    resumed: float = 0
    engines_left_out: int = 0


_failure = msgspec.json.Decoder(Failure).decode
"""From a log line of ours, of which it takes what it shows."""


def take(service: Service, identity: str, name: str, zone: str, viewers: int = 0) -> Snapshot:
    """Of now. `name`: the pod's."""
    models: dict[str, ModelSums] = {}
    engines: list[EngineSeen] = []
    left_out = 0
    cut = _by_label(service.metrics.interrupted, "model")
    for metrics in list(service.metrics.models.values())[:MOST_MODELS]:
        sums = _sums(metrics)
        sums.failed += cut.get(metrics.model, 0)
        if sums.requests or metrics.model in service.targets or metrics.model in service.outside:
            models[metrics.model] = sums
    for model, target in service.targets.items():
        if model in models:
            models[model].in_flight = target.in_flight
            models[model].waiting = 0 if target.room is None else len(target.room)
        seen = list(target.pool.engines.values())
        room = max(0, MOST_ENGINES - len(engines))
        left_out += max(0, len(seen) - room)
        engines += [EngineSeen(one.name, model, one.zone, one.state, one.in_flight) for one in seen[:room]]
    for model, target in service.outside.items():
        if model in models:
            models[model].in_flight = target.in_flight
    return Snapshot(
        id=identity,
        name=name,
        colour=service.config.colour,
        zone=zone,
        version=version(),
        at=time.time(),
        started_at=service.started_at,
        draining=service.draining,
        connections=len(service.state.connections),
        viewers=viewers,
        models=models,
        engines=engines,
        errors=[_failure(line) for line in list(service.recent or ())[-MOST_ERRORS:]],
        health=_health(service),
        retried=sum(_by_label(service.metrics.retries, "reason").values()),
        resumed=sum(_by_label(service.metrics.resumed, "outcome").values()),
        engines_left_out=left_out,
    )


def _sums(metrics: ModelMetrics) -> ModelSums:
    sums = ModelSums(
        input_tokens=metrics.input_tokens.value,
        output_tokens=metrics.output_tokens.value,
        cost_usd=metrics.cost.value,
        ttft=list(metrics.ttft.counts),
        itl=list(metrics.itl.counts),
    )
    for status, count in metrics.by_status().items():
        sums.requests += count
        if status >= 500:
            sums.failed += count
        elif status == 499:
            sums.left += count
        elif status >= 400:
            sums.refused += count
    return sums


def _by_label(counter: Counter, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in counter.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                name = sample.labels[label]
                found[name] = found.get(name, 0) + sample.value
    return found


def _health(service: Service) -> dict[str, bool]:
    link, follower, ledger = service.limiter.link, service.key_follower, service.ledger
    found = {} if link is None else {"limits": link.up}
    if follower is not None:
        found["keys"] = follower.up
    if ledger is not None:
        found["ledger"] = ledger.up
    return found
