"""Everything `penstock status` shows. Sources are asked at once, each with a time-out; what is missing is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from infra.ops import kube, scrape, traffic
from infra.ops.errors import NotRunningError, PenstockError
from infra.ops.stacks import StackAccess, State
from infra.ops.weights import Weights, read, read_text

T = TypeVar("T")

SOURCE_SECONDS = 15.0
PORTS = {"gateway": 8080, "engine": 8000}
WORKERS = 12


@dataclass(frozen=True)
class Status:
    """One look at a stack. A part that could not be had is None or left out, and `missing` says why."""

    stack: str
    state: str
    urls: Mapping[str, str]
    models: tuple[str, ...]
    region: str = ""
    weights_file: Weights | None = None
    weights_live: Weights | None = None
    targets: Mapping[str, traffic.TargetHealth] = field(default_factory=dict)
    pods: tuple[kube.Pod, ...] = ()
    engines: Mapping[str, scrape.EngineFigures] = field(default_factory=dict)
    gateways: Mapping[str, scrape.GatewayFigures] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> scrape.GatewayFigures:
        return scrape.total(self.gateways.values())

    @property
    def weights_differ(self) -> bool:
        return None not in (self.weights_file, self.weights_live) and self.weights_file != self.weights_live

    def as_dict(self) -> dict[str, Any]:
        """The keys are public: `penstock status --help` documents them."""
        return {
            "stack": self.stack,
            "state": self.state,
            "region": self.region,
            "urls": dict(self.urls),
            "models": list(self.models),
            "weights": {
                "file": self.weights_file.as_dict() if self.weights_file else None,
                "live": self.weights_live.as_dict() if self.weights_live else None,
                "differ": self.weights_differ,
            },
            "targets": {colour: {"healthy": h.healthy, "total": h.total} for colour, h in self.targets.items()},
            "pods": [asdict(pod) for pod in self.pods],
            "engines": {name: asdict(figures) for name, figures in self.engines.items()},
            "gateways": {name: asdict(figures) for name, figures in self.gateways.items()},
            "totals": asdict(self.total),
            "missing": dict(self.missing),
        }


class _Collector:
    """Runs the sources side by side and keeps the reasons of those that fail."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.missing: dict[str, str] = {}

    def ask(self, source: Callable[..., T], *arguments: Any) -> Future[T]:
        return self._pool.submit(source, *arguments)

    def take(self, part: str, future: Future[T]) -> T | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return future.result(SOURCE_SECONDS)
        except FutureTimeoutError:
            self.missing[part] = f"no answer within {SOURCE_SECONDS:.0f} s"
        except (PenstockError, BotoCoreError, ClientError, OSError, ValueError, LookupError) as error:
            self.missing[part] = " ".join(str(error).split()) or type(error).__name__
        return None


def collect(access: StackAccess) -> Status:
    """Raises PenstockError where not even the stack's state can be read."""
    state = access.state()
    if not state.deployed:
        raise NotRunningError(f"The stack {access.name} is not deployed.", "Run `penstock up`.")
    pool = ThreadPoolExecutor(WORKERS, "status")
    try:
        return _collect(access, state, _Collector(pool))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _collect(access: StackAccess, state: State, collector: _Collector) -> Status:
    outputs = state.outputs
    namespace = str(outputs.get("namespace", "penstock"))
    region = str(outputs.get("region", ""))
    file = collector.ask(lambda: read(read_text(access.stack_file), access.stack_file.name))
    way = traffic.route(state)
    balancer = access.aws("elbv2")
    live = collector.ask(traffic.live_weights, balancer, way)
    health = collector.ask(traffic.target_health, balancer, way)
    cluster = collector.take("cluster", collector.ask(kube.connect, access, str(state.output("clusterName")), region))
    pods = (collector.take("pods", collector.ask(cluster.pods, namespace)) if cluster else None) or []
    engines, gateways = _figures(collector, cluster, namespace, pods) if cluster else ({}, {})
    urls = {
        "gateway": outputs.get("gatewayUrl"),
        "kubernetes": cluster.url if cluster else None,
        "database": outputs.get("databaseAddress"),
        "cache": outputs.get("cacheAddress"),
    }
    return Status(
        stack=access.name,
        state="deployed",
        urls={name: url for name, url in urls.items() if isinstance(url, str)},
        models=tuple(outputs.get("models") or ()),
        region=region,
        weights_file=collector.take("weights in the stack file", file),
        weights_live=collector.take("weights in the load balancer", live),
        targets=collector.take("target health", health) or {},
        pods=tuple(pods),
        engines=engines,
        gateways=gateways,
        missing=collector.missing,
    )


def _figures(
    collector: _Collector, cluster: kube.Cluster, namespace: str, pods: Sequence[kube.Pod]
) -> tuple[dict[str, scrape.EngineFigures], dict[str, scrape.GatewayFigures]]:
    asked = {
        pod: collector.ask(cluster.metrics, namespace, pod, PORTS[pod.app])
        for pod in pods
        if pod.app in PORTS and pod.phase == "Running" and pod.ip
    }
    engines: dict[str, scrape.EngineFigures] = {}
    gateways: dict[str, scrape.GatewayFigures] = {}
    for pod, future in asked.items():
        text = collector.take(f"metrics of {pod.name}", future)
        if text is None:
            continue
        if pod.app == "engine":
            engines[pod.name] = scrape.engine(text)
        else:
            gateways[pod.name] = scrape.gateway(text)
    return engines, gateways
