"""The entry of one model: what is served under which names, by which engine, on which GPUs, and how many of it."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field

from app.gateway.config import Name
from infra.settings.gateway import Limits
from infra.settings.kinds import Decimal, Percent, Strict, Tokens, Truth, Whole
from infra.settings.serving import Balance, Hedge, Queue, Sticky

WEIGHTS_SCHEME = "weights://"
Source = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./:-]+$")]
Argument = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]


class LoraAdapter(Strict):
    name: Name = Field(description="What clients send as `model`. Its price, limits and queue are the model's.")
    source: Source = Field(
        description="`weights://<prefix>` in the platform's bucket, or a path or name that the engine's image knows."
    )
    rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = Field(description="Of the adapter, or the next above it.")


class Scaling(Strict):
    """More engines with more demand. release.<colour>.engineReplicas is the floor."""

    max_replicas: Whole = Field(ge=1, le=500, description="Of each colour.")
    target_per_replica: Whole = Field(
        ge=1, le=10_000, description="Requests that wait or run, for each engine: one more comes for each so many."
    )
    to_zero: Truth = Field(description="Without demand no engine stays; the first request waits in the queue.")


class KvCache(Strict):
    """The model's shape, as its config.json has it, and what shall fit into the memory that weights leave."""

    layers: Whole = Field(ge=1, le=1000, description="num_hidden_layers: those that attend to all tokens.")
    heads: Whole = Field(ge=1, le=1024, description="num_key_value_heads.")
    head_dim: Whole = Field(ge=8, le=2048, description="head_dim, or hidden_size over num_attention_heads.")
    bytes_per_value: Literal[1, 2] = Field(description="2 for 16-bit values, 1 for --kv-cache-dtype fp8.")
    full_length_requests: Whole = Field(ge=1, le=10_000, description="Requests of maxModelLen that fit at once.")


class Model(Strict):
    name: Name = Field(description="What clients send as `model`.")
    aliases: tuple[Name, ...] = Field(description="Other names for the same model.")
    source: Source = Field(
        description="`weights://<prefix>` in the platform's bucket, or a path or name that the engine's image knows.",
    )
    weights_gib: Decimal = Field(ge=0, le=4096, description="Size of the weights: the time to start follows from it.")
    engine: Literal["vllm", "sglang", "tgi", "openai-compatible"] = Field(
        description="The server in the engine's image. The last one is any other with OpenAI's API."
    )
    arguments: tuple[Argument, ...] = Field(
        max_length=50, description="More arguments of the engine, one an entry; all of an openai-compatible one."
    )
    max_model_len: Tokens = Field(description="Prompt and output of one request together, in tokens.")
    max_output_tokens: Tokens = Field(description="Ceiling for the output of one request, in tokens.")
    quantisation: Literal["none", "awq", "gptq", "fp8"] = Field(
        description="Of the weights; fp8 needs GPUs of the generations Ada or Hopper."
    )
    kv_cache: KvCache | None = Field(description="The cache's size is checked by it; null: it is not checked.")
    prefix_caching: Truth = Field(description="Beginnings that prompts share are computed once.")
    chunked_prefill: Truth = Field(description="Long prompts are read in parts, between the tokens of others.")
    lora_adapters: tuple[LoraAdapter, ...] = Field(max_length=32, description="Served beside the model, vLLM alone.")
    gpu_type: Literal["A10G", "L4", "L40S", "A100-40", "A100-80", "H100", "H200"] | None = Field(
        description="Only nodes with this GPU; null: any."
    )
    gpus: Whole = Field(ge=1, le=8, description="GPUs of one engine pod.")
    tensor_parallel: Whole = Field(
        ge=1, le=64, description="GPUs that share each layer; it divides gpus x nodes. The rest are pipeline stages."
    )
    nodes: Whole = Field(ge=1, le=8, description="Pods of one engine, on a node each; above 1 as a LeaderWorkerSet.")
    cpu_millicores: Whole = Field(ge=100, le=192_000, description="CPU request of one engine pod.")
    memory_mib: Whole = Field(ge=256, le=2_000_000, description="Memory request of one engine pod.")
    shared_memory_mib: Whole = Field(ge=64, le=1_000_000, description="Of memoryMib, for /dev/shm.")
    compile_cache_mib: Whole = Field(ge=64, le=1_000_000, description="Disk of one pod for what engines compile.")
    required: Truth = Field(description="Gateways are ready only with an engine of it; false: without one, too.")
    priority: Literal["interactive", "batch"] = Field(description="batch gives its nodes to interactive pods.")
    spot_share: Percent | None = Field(
        description="Of engineReplicas, per cent that may be on spot nodes; what scaling adds is on spot while there "
        "is some. null: pods go wherever there is a GPU."
    )
    scaling: Scaling | None = Field(description="null: as many engines as engineReplicas says.")
    input_usd_per_million_tokens: Decimal = Field(ge=0)
    output_usd_per_million_tokens: Decimal = Field(ge=0)
    limits: Limits | None = Field(description="What all clients together may use of this model.")
    balance: Balance = Field(description="How requests are spread over the engines.")
    sticky: Sticky | None = Field(description="Sessions stay at one engine; null: there are none.")
    max_in_flight_per_engine: Annotated[Whole, Field(ge=1, le=100_000)] | None = Field(
        description="Requests of one gateway at one engine; null: no bound."
    )
    slow_start_seconds: Decimal = Field(
        ge=0, le=3600, description="The share of an engine that joins others grows to its full in this time."
    )
    queue: Queue | None = Field(description="Requests wait here for room; null: they get 503 at once.")
    hedge: Hedge | None = Field(description="Slow, short requests are sent to a second engine; null: never.")

    @property
    def streamed(self) -> bool:
        """Whether the weights come from the platform's bucket."""
        return self.source.startswith(WEIGHTS_SCHEME)

    @property
    def names(self) -> tuple[str, ...]:
        """All that clients may send."""
        return (self.name, *self.aliases, *(adapter.name for adapter in self.lora_adapters))

    @property
    def may_sleep(self) -> bool:
        """Whether a colour that is up may have no engine of it: the first request brings one."""
        return self.scaling is not None and self.scaling.to_zero

    @property
    def makes_embeddings(self) -> bool:
        """Whether its engines answer embeddings alone: vLLM's pooling runner (`vllm serve --help`, "runner")."""
        words = " ".join(self.arguments).replace("=", " ").split()
        return any(pair == ("--runner", "pooling") for pair in itertools.pairwise(words))

    def most(self, replicas: int) -> int:
        """Engines that a colour may come to have where its file says `replicas`; a colour at 0 is down."""
        return max(replicas, self.scaling.max_replicas) if self.scaling and replicas else replicas
