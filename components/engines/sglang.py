"""SGLang (its server arguments, production metrics and object storage pages, 2026). It has not been run here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.engines.adapter import CACHE_FOLDER, GPU_MEMORY_SHARE, HOST, PORT, Drain, Engine, Metrics

if TYPE_CHECKING:
    import pulumi

    from components.engines.shape import EngineShape

RENDEZVOUS_PORT = 20000
WHOLE_PREFILL = "-1"


def _arguments(engine: EngineShape, shutdown_seconds: int) -> list[pulumi.Input[str]]:
    """It waits for open requests without a bound of its own, so `shutdown_seconds` has no flag to go to."""
    found: list[pulumi.Input[str]] = ["-m", "sglang.launch_server", "--model-path", engine["source"]]
    found += ["--served-model-name", engine["model"]]
    found += ["--host", HOST, "--port", str(PORT)]
    found += ["--context-length", str(engine["max_model_len"])]
    found += ["--mem-fraction-static", f"{GPU_MEMORY_SHARE:.2f}", "--enable-metrics"]
    if not engine["prefix_caching"]:
        found += ["--disable-radix-cache"]
    if not engine["chunked_prefill"]:
        found += ["--chunked-prefill-size", WHOLE_PREFILL]
    if engine["quantisation"] != "none":
        found += ["--quantization", engine["quantisation"]]
    if engine["tensor_parallel"] > 1:
        found += ["--tp-size", str(engine["tensor_parallel"])]
    stages = engine["gpus"] * engine["nodes"] // engine["tensor_parallel"]
    if stages > 1:
        found += ["--pp-size", str(stages)]
    if engine["streamed"]:
        found += ["--load-format", "runai_streamer"]
    if engine["nodes"] > 1:
        found += ["--nnodes", str(engine["nodes"]), "--node-rank", "$(LWS_WORKER_INDEX)"]
        found += ["--dist-init-addr", f"$(LWS_LEADER_ADDRESS):{RENDEZVOUS_PORT}"]
    return [*found, *engine["arguments"]]


SGLANG = Engine(
    kind="sglang",
    command=("python3",),
    arguments=_arguments,
    served_name_flag="--served-model-name",
    # One served name alone, and LoRA adapters are asked for as `model:adapter`: neither can be a name of the gateway's.
    features=frozenset({"prefix_caching", "chunked_prefill", "quantisation", "streamed", "nodes", "pipeline"}),
    metrics=Metrics(
        running="sglang:num_running_reqs",
        waiting="sglang:num_queue_reqs",
        kv_cache_usage="sglang:token_usage",
        ttft="sglang:time_to_first_token_seconds",
        itl="sglang:inter_token_latency_seconds",
    ),
    usage_in_events=True,
    drain=Drain(),
    # It answers 503 there while it starts and warms up; its list of models answers earlier.
    startup_path="/health",
    ready_path="/health",
    environment={"TORCHINDUCTOR_CACHE_DIR": f"{CACHE_FOLDER}/inductor", "TRITON_CACHE_DIR": f"{CACHE_FOLDER}/triton"},
)
