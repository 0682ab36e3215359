"""vLLM 0.32. Flags, metrics and drain as measured on that version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.engines.adapter import CACHE_FOLDER, GPU_MEMORY_SHARE, HOST, PORT, Drain, Engine, Metrics, lora_path

if TYPE_CHECKING:
    import pulumi

    from components.engines.shape import EngineShape

STREAMERS = '{"concurrency":16}'
"""The best published S3 result needs 16 to 32 readers."""
SMALLEST_RANK = 16


def _arguments(engine: EngineShape, shutdown_seconds: int) -> list[pulumi.Input[str]]:
    found: list[pulumi.Input[str]] = ["serve", engine["source"], "--served-model-name", engine["model"]]
    found += engine["aliases"]
    found += ["--host", HOST, "--port", str(PORT)]
    found += ["--max-model-len", str(engine["max_model_len"])]
    found += ["--gpu-memory-utilization", f"{GPU_MEMORY_SHARE:.2f}"]
    found += ["--shutdown-timeout", str(shutdown_seconds)]
    found += ["--disable-access-log-for-endpoints", "/health,/metrics,/ping"]
    found += ["--enable-prefix-caching" if engine["prefix_caching"] else "--no-enable-prefix-caching"]
    found += ["--enable-chunked-prefill" if engine["chunked_prefill"] else "--no-enable-chunked-prefill"]
    if engine["quantisation"] != "none":
        found += ["--quantization", engine["quantisation"]]
    if engine["tensor_parallel"] > 1:
        found += ["--tensor-parallel-size", str(engine["tensor_parallel"])]
    stages = engine["gpus"] * engine["nodes"] // engine["tensor_parallel"]
    if stages > 1:
        found += ["--pipeline-parallel-size", str(stages)]
    if engine["streamed"]:
        found += ["--load-format", "runai_streamer", "--model-loader-extra-config", STREAMERS]
    if adapters := engine["lora_adapters"]:
        rank = max(SMALLEST_RANK, *(each["rank"] for each in adapters))
        found += ["--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank", str(rank), "--lora-modules"]
        found += [f"{each['name']}={lora_path(each['name'], each['source'])}" for each in adapters]
    if engine["nodes"] > 1:
        # The variables are set by the LeaderWorkerSet controller.
        found += ["--nnodes", str(engine["nodes"]), "--node-rank", "$(LWS_WORKER_INDEX)"]
        found += ["--master-addr", "$(LWS_LEADER_ADDRESS)"]
    return [*found, *engine["arguments"]]


VLLM = Engine(
    kind="vllm",
    command=("vllm",),
    arguments=_arguments,
    served_name_flag="--served-model-name",
    features=frozenset(
        {
            "aliases",
            "lora_adapters",
            "prefix_caching",
            "chunked_prefill",
            "quantisation",
            "streamed",
            "nodes",
            "pipeline",
        }
    ),
    metrics=Metrics(
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        kv_cache_usage="vllm:kv_cache_usage_perc",
        preemptions="vllm:num_preemptions_total",
        ttft="vllm:time_to_first_token_seconds",
        itl="vllm:inter_token_latency_seconds",
    ),
    usage_in_events=True,
    drain=Drain(flag="--shutdown-timeout"),
    environment={"VLLM_CACHE_ROOT": f"{CACHE_FOLDER}/vllm", "VLLM_NO_USAGE_STATS": "1"},
    worker_arguments=("--headless",),
)
