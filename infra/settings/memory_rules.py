"""GPU memory for the key-value cache: what a model's tokens take, and whether its longest requests fit.

For each token an engine keeps a key and a value in each layer, for each key-value head (fewer than query heads where
they are grouped: Ainslie et al., GQA, arXiv:2305.13245). vLLM sizes its pages so (`FullAttentionSpec`), and does not
start where one request of `--max-model-len` does not fit. Layers that look back over a window alone, or that keep a
state of fixed size, need less than this sum; latent attention (MLA) is not covered by it.
"""

from __future__ import annotations

from collections.abc import Iterator

from components.engines.adapter import GPU_MEMORY_SHARE
from infra.settings.accelerators import Gpu
from infra.settings.engine_rules import usable
from infra.settings.errors import Problem
from infra.settings.model import Shape
from infra.settings.served import KvCache, Model

ACTIVATIONS_GIB = 2.0
"""Of each GPU, for what an engine computes with: activations, graphs, buffers (an allowance, not a measurement)."""


def bytes_per_token(cache: KvCache, tensor_parallel: int = 1) -> int:
    """Over all GPUs of one engine. GPUs that share a layer have at least one head each: few heads are held twice."""
    heads = max(1, -(-cache.heads // tensor_parallel)) * tensor_parallel
    return 2 * cache.layers * heads * cache.head_dim * cache.bytes_per_value


def room_gib(model: Model, gpu: Gpu) -> float:
    """What is left for the cache on all GPUs of one engine."""
    gpus = model.gpus * model.nodes
    return gpus * (gpu.memory_gib * GPU_MEMORY_SHARE - ACTIVATIONS_GIB) - float(model.weights_gib)


def the_cache_fits(shape: Shape) -> Iterator[Problem]:
    for index, model in enumerate(shape.models):
        cache, found = model.kv_cache, usable(shape, model)
        if cache is None or not found:
            continue
        key, instance_type, gpu = min(found, key=lambda each: each[2].memory_gib)
        count = model.gpus * model.nodes
        if float(model.weights_gib) >= gpu.memory_gib * GPU_MEMORY_SHARE * count:
            continue  # another rule says so
        room, each = room_gib(model, gpu), bytes_per_token(cache, model.tensor_parallel)
        wanted = cache.full_length_requests * model.max_model_len * each / 2**30
        if wanted > room:
            tokens = max(0, int(room * 2**30 // each // cache.full_length_requests))
            yield Problem(
                f"models[{index}].kvCache",
                f"fullLengthRequests {cache.full_length_requests} x maxModelLen {model.max_model_len} tokens x {each} "
                f"bytes = {wanted:.1f} GiB, and {count} x {gpu.name} of {instance_type} ({key}) leave {count} x "
                f"({gpu.memory_gib:g} x {GPU_MEMORY_SHARE:g} - {ACTIVATIONS_GIB:g}) - weightsGib {model.weights_gib:g} "
                f"= {room:.1f} GiB; allowed: maxModelLen {tokens} or less, fewer fullLengthRequests, a smaller "
                "bytesPerValue, more gpus, or a larger gpuType",
            )


MEMORY_RULES = (the_cache_fits,)
