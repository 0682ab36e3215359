"""One load after another, each at a higher rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from infra.ops.endpoint import Endpoint
from infra.ops.errors import UsageError
from infra.ops.load.generator import Load, Plan
from infra.ops.load.knee import Step, knee
from infra.ops.load.records import Records, percentile

MOST_RATES = 20
REST_SECONDS = 1.0
"""Between two rates, for the engines to run empty."""


@dataclass(frozen=True)
class Sweep:
    steps: tuple[Step, ...]
    records: tuple[Records, ...]
    """Of each step."""

    @property
    def knee(self) -> float | None:
        return knee(self.steps)


def rates_of(text: str) -> tuple[float, ...]:
    """`5,10,20` as rates. Raises UsageError for anything but rising positive numbers."""
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or len(rates) > MOST_RATES or min(rates) <= 0 or list(rates) != sorted(set(rates)):
        raise UsageError(f"--sweep is {text!r}; allowed: up to {MOST_RATES} rising rates, such as 5,10,20.")
    return rates


async def sweep(endpoint: Endpoint, plan: Plan, rates: Sequence[float], begun: Callable[[float, Load], None]) -> Sweep:
    """`begun` is told of each rate when its run begins. A run that was stopped is the last. Raises UsageError."""
    if plan.workload is None or plan.clients:
        raise UsageError("--sweep needs --workload, and no --clients.")
    steps, kept = [], []
    for number, rate in enumerate(rates):
        if number:
            await asyncio.sleep(REST_SECONDS)
        running = Load(endpoint, replace(plan, rate=rate, seed=plan.seed + number))
        begun(rate, running)
        records = await running.run()
        steps.append(step_of(rate, records, running.now))
        kept.append(records)
        if running.stopped_early:
            break
    return Sweep(tuple(steps), tuple(kept))


def step_of(rate: float, records: Records, seconds: float) -> Step:
    whole = [each for each in records.streams if not each.failure]
    ttft = [each.ttft for each in whole if each.ttft is not None]
    latency = [each.duration for each in whole]
    gaps = records.all_gaps()
    return Step(
        rate=rate,
        sent=len(records.streams),
        failed=len(records.streams) - len(whole),
        seconds=seconds,
        tokens=sum(each.tokens for each in records.streams),
        ttft_p50=percentile(ttft, 50),
        ttft_p95=percentile(ttft, 95),
        itl_p50=gaps.percentile(50),
        itl_p95=gaps.percentile(95),
        itl_p99=gaps.percentile(99),
        latency_p50=percentile(latency, 50),
        latency_p95=percentile(latency, 95),
    )
