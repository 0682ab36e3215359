"""Text Generation Inference 3 (its launcher's arguments and source, its metrics page). It has not been run here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.engines.adapter import CACHE_FOLDER, GPU_MEMORY_SHARE, HOST, PORT, Drain, Engine, Metrics

if TYPE_CHECKING:
    import pulumi

    from components.engines.shape import EngineShape


def _arguments(engine: EngineShape, shutdown_seconds: int) -> list[pulumi.Input[str]]:
    """The launcher gives open requests 90 s, and no flag changes that."""
    found: list[pulumi.Input[str]] = ["--model-id", engine["source"]]
    found += ["--hostname", HOST, "--port", str(PORT)]
    found += ["--max-total-tokens", str(engine["max_model_len"])]
    found += ["--cuda-memory-fraction", f"{GPU_MEMORY_SHARE:.2f}", "--usage-stats", "off"]
    if engine["quantisation"] != "none":
        found += ["--quantize", engine["quantisation"]]
    if engine["tensor_parallel"] > 1:
        found += ["--num-shard", str(engine["tensor_parallel"])]
    return [*found, *engine["arguments"]]


TGI = Engine(
    kind="tgi",
    command=("text-generation-launcher",),
    arguments=_arguments,
    # It serves one model and does not look at the name that a request has.
    served_name_flag=None,
    # It caches prefixes and cuts prefills as it sees fit, and reads weights from a folder or from the hub.
    features=frozenset({"aliases", "prefix_caching", "chunked_prefill", "quantisation"}),
    metrics=Metrics(running="tgi_batch_current_size", waiting="tgi_queue_size"),
    drain=Drain(fixed_seconds=90),
    startup_path="/health",
    ready_path="/health",
    environment={"HUGGINGFACE_HUB_CACHE": f"{CACHE_FOLDER}/hub", "TRITON_CACHE_DIR": f"{CACHE_FOLDER}/triton"},
)
