"""A model's entry as manifests and adapters read it."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi


class LoraShape(TypedDict):
    name: str
    """The name that clients send."""
    source: str
    """A path or name that the image knows, or weights://<prefix>."""
    rank: int


class ScalingShape(TypedDict):
    max_replicas: int
    target_per_replica: int
    """Requests that wait or run, for one engine."""
    to_zero: bool
    cooldown_seconds: int
    """Without demand for so long, a model that may goes to zero."""
    stabilisation_seconds: int
    """The most demand of this time counts when engines are taken away."""


class EngineShape(TypedDict):
    model: str
    """The name that clients send."""
    slug: str
    """The model's name as it may stand in object names."""
    aliases: Sequence[str]
    kind: str
    """A key of `components.engines.ENGINES`."""
    image: NotRequired[pulumi.Input[str]]
    """In place of the release's."""
    source: pulumi.Input[str]
    """What the engine loads: a path, a name, or an s3:// address."""
    streamed: bool
    """Weights come straight from S3 to the GPU."""
    max_model_len: int
    quantisation: str
    prefix_caching: bool
    chunked_prefill: bool
    gpus: int
    """Of one pod."""
    tensor_parallel: int
    nodes: int
    """Pods of one engine."""
    instance_types: Sequence[str]
    """Nodes with the wanted GPU; empty: any GPU node."""
    own_nodes: NotRequired[bool]
    """It runs on nodes of its colour alone."""
    lora_adapters: Sequence[LoraShape]
    lora_bucket: NotRequired[pulumi.Input[str]]
    """The bucket of adapters whose source is weights://<prefix>."""
    arguments: Sequence[str]
    """More arguments, as they stand."""
    cpu_millicores: int
    memory_mib: int
    shared_memory_mib: int
    compile_cache_mib: int
    batch: bool
    """Gives way to interactive pods."""
    startup_seconds: int
    """It is restarted when it does not answer by then."""
    replicas: int
    """The floor where it scales, else the number."""
    spot_share: NotRequired[int]
    """Per cent of the replicas that may be on spot nodes; without it pods go wherever there is a GPU."""
    scaling: NotRequired[ScalingShape]
