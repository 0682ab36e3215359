"""What the pipelines of one gateway share, and how a request becomes a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prometheus_client import Counter, Gauge, Histogram

from app.gateway.choose import Pool
from app.gateway.config import ModelRoute
from app.gateway.errors import Problem, retry_after
from app.gateway.metrics import REQUEST_BUCKETS
from app.pipelines.authority import Authority
from app.pipelines.config import CallOut, Model, Pipeline
from app.pipelines.door import Door
from app.pipelines.run import Run

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from app.gateway.exchange import Exchange
    from app.gateway.service import Service, Target

DEFAULT_TOKENS = 4096
"""Output that a client may ask of a pipeline without a model."""


class PipelineMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._steps = Counter(
            "penstock_pipeline_steps", "Steps of pipelines, by what came of them.", ["pipeline", "step", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "penstock_pipeline_step_seconds", "Time of a step.", ["pipeline", "step"], registry=registry,
            buckets=REQUEST_BUCKETS,
        )  # fmt: skip
        self.runs = Gauge("penstock_pipeline_runs", "Runs under way.", ["pipeline"], registry=registry)

    def step(self, pipeline: str, step: str, outcome: str, seconds: float) -> None:
        self._steps.labels(pipeline, step, outcome if outcome in OUTCOMES else "failed").inc()
        self._seconds.labels(pipeline, step).observe(seconds)


OUTCOMES = ("ok", "jumped", "invalid", "cancelled", "timeout")
"""Of a step, in metrics; all else is `failed`."""


class Pipelines:
    """Raises nothing: the configuration was checked."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.config = config = service.config.pipelines
        self.prompts = {(prompt.name, prompt.version): prompt for prompt in config.prompts}
        self.authority = service.keys.steps = Authority()
        self.metrics = PipelineMetrics(service.metrics.registry)
        self.secret: bytes | None = None
        """What call outs are signed with; None: there are none."""
        self._door: Door | None = None
        self._under_way: dict[str, int] = {}
        self.targets: dict[str, Target] = {}
        for pipeline in config.pipelines:
            self._add(pipeline)

    def _add(self, pipeline: Pipeline) -> None:
        from app.gateway.service import Target  # which imports this module

        service, name = self.service, pipeline.name
        routes = [service.routes[step.model] for step in pipeline.steps
                  if isinstance(step, Model) and step.model in service.routes]  # fmt: skip
        output = max((route.max_output_tokens for route in routes), default=DEFAULT_TOKENS)
        context = max((route.context_tokens for route in routes), default=pipeline.max_tokens)
        route = ModelRoute(name=name, selector=name, context_tokens=context, max_output_tokens=output)
        headers = f"x-penstock-colour: {service.config.colour}\r\nx-penstock-model: {name}\r\n".encode()
        self.targets[name] = target = Target(route, Pool(), service.metrics.models[name], headers)
        target.pipeline = pipeline
        service.by_name[name], service.routes[name] = target, route

    @property
    def door(self) -> Door:
        assert self._door is not None  # noqa: S101 - set before the gateway listens
        return self._door

    def open(self, url: str) -> None:
        """`url`: the gateway's inner port."""
        self._door = Door(url)

    def begin(self, exchange: Exchange, pipeline: Pipeline) -> None:
        """Called by the exchange once the guards let it pass."""
        under_way = self._under_way.get(pipeline.name, 0)
        if under_way >= pipeline.max_at_once:
            text = (
                f"{under_way} runs of the pipeline `{pipeline.name}` are under way here, its limit. Try again in 2 s."
            )
            exchange.answer(Problem(503, text, "pipeline_busy", headers=retry_after()))
            return
        self._under_way[pipeline.name] = under_way + 1
        self.metrics.runs.labels(pipeline.name).inc()
        exchange.run = Run(self, pipeline, exchange)

    def ended(self, run: Run) -> None:
        self._under_way[run.pipeline.name] -= 1
        self.metrics.runs.labels(run.pipeline.name).dec()

    def shown(self) -> list[dict[str, Any]]:
        """For the operator: each pipeline's steps, and the secrets by which its hosts check what they are sent."""
        return [
            {
                "name": pipeline.name,
                "steps": [{"name": step.name, "kind": step.kind} for step in pipeline.steps],
                "under_way": self._under_way.get(pipeline.name, 0),
                "call_outs": [self._call_out(step) for step in pipeline.steps if isinstance(step, CallOut)],
            }
            for pipeline in self.config.pipelines
        ]

    def _call_out(self, step: CallOut) -> dict[str, Any]:
        from app.pipelines.outcall import secret_of, shown  # aiohttp takes 8 MB

        host = urlsplit(step.url).hostname or ""
        secret = None if self.secret is None else shown(secret_of(self.secret, host))
        return {"step": step.name, "host": host, "secret": secret}

    async def close(self) -> None:
        if self._door is not None:
            await self._door.close()
