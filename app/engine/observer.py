"""What a scrape shows of the scheduler and of ended sequences."""

from __future__ import annotations

from app.engine.flags import EngineFlags
from app.engine.kv import BLOCK
from app.engine.metrics import Metrics
from app.engine.scheduler import Scheduler, Sequence

BLOCK_BYTES = 128 * 1024
"""What one block stands for in `cache_config_info`: the recorded engine has 1 GiB for 8,192 blocks."""


class Observer:
    """Moves vLLM's metrics. Times in seconds of the scheduler's clock."""

    def __init__(self, metrics: Metrics, scheduler: Scheduler) -> None:
        self._metrics = metrics
        self._scheduler = scheduler

    def refresh(self) -> None:
        """Sets what is read from the scheduler, before a scrape."""
        scheduler = self._scheduler
        totals = scheduler.totals
        for (family, label), value in {
            ("num_requests_running", ""): len(scheduler.running),
            ("num_requests_waiting", ""): len(scheduler.waiting),
            ("num_requests_waiting_by_reason", "capacity"): len(scheduler.waiting),
            ("kv_cache_usage_perc", ""): scheduler.pool.used / scheduler.pool.capacity,
            ("prefix_cache_queries", ""): totals.prefix_queries,
            ("prefix_cache_hits", ""): totals.prefix_hits,
            ("num_preemptions", ""): totals.preemptions,
            ("prompt_tokens", ""): totals.prompt,
            ("prompt_tokens_by_source", "local_compute"): totals.prompt - totals.prompt_cached,
            ("prompt_tokens_by_source", "local_cache_hit"): totals.prompt_cached,
            ("prompt_tokens_cached", ""): totals.prompt_cached,
            ("prompt_tokens_cached_by_source", "device"): totals.prefix_hits,
            ("generation_tokens", ""): totals.generated,
        }.items():
            self._metrics.values[family, label] = value

    def first(self, sequence: Sequence) -> None:
        """The first token of an answer is out."""
        self._metrics.histograms["time_to_first_token_seconds"].observe(sequence.first - sequence.arrived)

    def ended(self, sequence: Sequence, now: float) -> None:
        """A sequence has ended; one that was aborted is only counted."""
        reason = sequence.finished or "abort"
        self._metrics.add("request_success", reason)
        if reason not in ("stop", "length"):
            return
        observed: dict[str, float] = {
            "request_prompt_tokens": sequence.prompt,
            "request_generation_tokens": sequence.generated,
            "request_max_num_generation_tokens": sequence.generated,
            "request_params_n": sequence.asked,
            "request_params_max_tokens": sequence.limit,
            "e2e_request_latency_seconds": now - sequence.arrived,
            "request_queue_time_seconds": sequence.scheduled - sequence.arrived,
            "request_inference_time_seconds": now - sequence.scheduled,
            "request_prefill_time_seconds": sequence.first - sequence.scheduled,
            "request_decode_time_seconds": now - sequence.first,
            "request_num_preemptions": sequence.preemptions,
            "request_prefill_kv_computed_tokens": sequence.prompt - sequence.cached,
        }
        if sequence.generated > 1:
            observed["request_time_per_output_token_seconds"] = (now - sequence.first) / (sequence.generated - 1)
        for name, value in observed.items():
            self._metrics.histograms[name].observe(value)


def cache_config(flags: EngineFlags, blocks: int) -> dict[str, str]:
    """Labels of `vllm:cache_config_info` that depend on the flags; `blocks` is the KV cache's size."""
    return {
        "enable_prefix_caching": str(flags.enable_prefix_caching),
        "gpu_memory_utilization": str(flags.gpu_memory_utilization),
        "kv_cache_max_concurrency": str(round(blocks * BLOCK / flags.max_model_len, 2)),
        "kv_cache_memory_bytes": str(blocks * BLOCK_BYTES),
        "kv_cache_size_tokens": str(blocks * BLOCK),
        "num_gpu_blocks": str(blocks),
    }
