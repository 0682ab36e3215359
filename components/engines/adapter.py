"""What an engine is to the platform: a small object with all that differs from kind to kind. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pulumi

    from components.engines.shape import EngineShape

Feature = Literal[
    "aliases", "lora_adapters", "prefix_caching", "chunked_prefill", "quantisation", "streamed", "nodes", "pipeline"
]
"""Keys of a model's entry that not every engine can follow."""

PORT = 8000
"""All engines listen there, whatever their own default is."""
HOST = "$(POD_IP)"
"""Filled in by the kubelet."""
CACHE_FOLDER = "/var/cache/penstock"
ADAPTERS_FOLDER = "/var/adapters"
"""Where LoRA adapters of the weights bucket lie in the pod."""
GPU_MEMORY_SHARE = 0.90
"""Of a GPU's memory, for weights and key-value cache: above it the first large batch may find none left."""
WEIGHTS_SCHEME = "weights://"


@dataclass(frozen=True)
class Metrics:
    """Names in the engine's `/metrics`; None: it does not tell."""

    running: str | None = None
    """Gauge: requests that make tokens."""
    waiting: str | None = None
    """Gauge: requests that wait inside the engine."""
    kv_cache_usage: str | None = None
    """Gauge, 0 to 1."""
    preemptions: str | None = None
    """Counter."""
    ttft: str | None = None
    """Histogram: seconds to the first token."""
    itl: str | None = None
    """Histogram: seconds between two tokens."""

    @property
    def watched(self) -> tuple[str, ...]:
        """What alarms and dashboard may read, in their order."""
        names = (self.waiting, self.running, self.kv_cache_usage, self.preemptions, self.ttft)
        return tuple(name for name in names if name is not None)


@dataclass(frozen=True)
class Drain:
    """What the engine does with open requests when it is told to go."""

    signal: str = "SIGTERM"
    flag: str | None = None
    """Takes the seconds that open requests are given; None: it has no such flag."""
    fixed_seconds: int | None = None
    """Built in where there is no flag; None: it waits until all have ended, and the pod's grace period is the bound."""


@dataclass(frozen=True)
class Engine:
    kind: str
    command: tuple[str, ...]
    """Empty: the image's own."""
    arguments: Callable[[EngineShape, int], list[pulumi.Input[str]]]
    """From the model's entry and the seconds of the drain."""
    served_name_flag: str | None
    features: frozenset[Feature]
    metrics: Metrics
    drain: Drain
    startup_path: str = "/v1/models"
    ready_path: str = "/v1/models"
    live_path: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)
    usage_in_events: bool = False
    """It knows `stream_options.continuous_usage_stats`, by which a stream that breaks is counted exactly."""
    worker_arguments: tuple[str, ...] = ()
    """Of the pods behind the first one, where a model stretches over several nodes."""

    def takes(self, feature: Feature) -> bool:
        return feature in self.features


def lora_path(name: str, source: str) -> str:
    """Where the engine finds an adapter: one of the bucket is copied into the pod before the engine starts."""
    return f"{ADAPTERS_FOLDER}/{name}" if source.startswith(WEIGHTS_SCHEME) else source
