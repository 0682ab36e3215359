"""An engine's shape for tests: a small model on one GPU, and edits of it."""

from __future__ import annotations

from typing import Any

from components.engines.shape import EngineShape
from components.pods import DrainShape, ProbesShape

DRAIN: DrainShape = {"pre_stop_seconds": 15, "engine_shutdown_seconds": 60, "grace_seconds": 90}
PROBES: ProbesShape = {
    "period_seconds": 5,
    "timeout_seconds": 2,
    "failure_threshold": 3,
    "gateway_startup_seconds": 60,
}


def shape(**changes: Any) -> EngineShape:
    plain: EngineShape = {
        "model": "small",
        "slug": "small",
        "aliases": ["default"],
        "kind": "vllm",
        "source": "s3://bucket/small",
        "streamed": True,
        "max_model_len": 4096,
        "quantisation": "none",
        "prefix_caching": True,
        "chunked_prefill": True,
        "gpus": 1,
        "tensor_parallel": 1,
        "nodes": 1,
        "instance_types": (),
        "lora_adapters": [],
        "arguments": (),
        "cpu_millicores": 1000,
        "memory_mib": 4096,
        "shared_memory_mib": 512,
        "compile_cache_mib": 2048,
        "batch": False,
        "startup_seconds": 900,
        "replicas": 3,
    }
    return {**plain, **changes}


def scaling(**changes: Any) -> dict[str, Any]:
    return {
        "max_replicas": 8,
        "target_per_replica": 20,
        "to_zero": False,
        "cooldown_seconds": 300,
        "stabilisation_seconds": 300,
    } | changes
