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
    """Of the adapter, or the next above it that vLLM knows: 1, 8, 16, 32, 64, 128, 256, 320 or 512."""


class ScalingShape(TypedDict):
    max_replicas: int
    """Most engines of the model in the colour."""
    target_per_replica: int
    """Requests that wait or run, for one engine."""
    to_zero: bool
    """Without demand there may be no engine at all; the first request brings one."""
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
    """More names that clients may send; SGLang takes none."""
    kind: str
    """`vllm`, `sglang`, `tgi` or `openai-compatible`: whose command line, probes and metrics the engine has."""
    image: NotRequired[pulumi.Input[str]]
    """In place of the release's."""
    source: pulumi.Input[str]
    """What the engine loads: a path, a name, or an s3:// address."""
    streamed: bool
    """Weights come straight from S3 to the GPU; not with TGI and `openai-compatible`."""
    max_model_len: int
    """Prompt and output of one request together, in tokens."""
    quantisation: str
    """Of the weights, as the engine's own flag has it, such as awq, gptq or fp8; `none`: no flag is given."""
    prefix_caching: bool
    """Beginnings that prompts share are computed once; read by vLLM and SGLang."""
    chunked_prefill: bool
    """Long prompts are read in parts, between the tokens of others; read by vLLM and SGLang."""
    gpus: int
    """Of one pod."""
    tensor_parallel: int
    """GPUs that share each layer; it divides the GPUs of all pods of one engine, the rest are pipeline stages."""
    nodes: int
    """Pods of one engine."""
    instance_types: Sequence[str]
    """Nodes with the wanted GPU; empty: any GPU node."""
    own_nodes: NotRequired[bool]
    """It runs on nodes of its colour alone."""
    lora_adapters: Sequence[LoraShape]
    """LoRA adapters that vLLM serves beside the model; the other engines take none."""
    lora_bucket: NotRequired[pulumi.Input[str]]
    """The bucket of adapters whose source is weights://<prefix>."""
    arguments: Sequence[str]
    """More arguments, as they stand."""
    cpu_millicores: int
    memory_mib: int
    shared_memory_mib: int
    """Room in /dev/shm, in MiB; what fills it is part of the pod's memory."""
    compile_cache_mib: int
    """Disk of one pod for what the engine compiles, in MiB; a restarted container finds it again."""
    batch: bool
    """Gives way to interactive pods."""
    startup_seconds: int
    """It is restarted when it does not answer by then."""
    replicas: int
    """The floor where it scales, else the number."""
    spot_share: NotRequired[int]
    """Per cent of the replicas that may be on spot nodes; without it pods go wherever there is a GPU."""
    scaling: NotRequired[ScalingShape]
    """The number follows the demand, by KEDA; without it it is fixed. Not for engines of several pods."""
