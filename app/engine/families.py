"""The metric families of vLLM 0.32 in the order of its `/metrics`: names, help texts, label values and bucket edges.

Checked against a recorded scrape by the contract test. Families of a kind that the simulator never moves (FLOPs,
multi-modal cache) are there too, so that queries and dashboards find what a real engine has.
"""

from __future__ import annotations

LATENCIES = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
             960.0, 1920.0, 7680.0)  # fmt: skip
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
               80.0, 160.0, 640.0, 2560.0)  # fmt: skip
BETWEEN_TOKENS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
                  80.0)  # fmt: skip
ITERATION = (1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0)
HTTP_FINE = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0,
             30.0, 60.0)  # fmt: skip
HTTP_COARSE = (0.1, 0.5, 1.0)


def one_two_five(limit: int) -> tuple[float, ...]:
    """1, 2, 5, 10, ... up to `limit`: the edges of vLLM's histograms of tokens, `limit` being max_model_len."""
    edges: list[float] = []
    scale = 1
    while True:
        for step in (1, 2, 5):
            if step * scale > limit:
                return tuple(edges)
            edges.append(float(step * scale))
        scale *= 10


TOKENS = "tokens"
"""Stands for `one_two_five(max_model_len)` in the table below."""

SOURCES = (("source", ("local_compute", "local_cache_hit", "external_kv_transfer")),)
TIERS = (("source", ("device", "host", "p2p", "disk", "external_unspecified")),)
REASONS = ("stop", "length", "abort", "error", "repetition")

Family = tuple[str, str, str, object]
ENGINE: tuple[Family, ...] = (
    ("counter", "estimated_flops_per_gpu",
     "Estimated number of floating point operations per GPU (for Model Flops Utilization calculations).", ()),
    ("counter", "estimated_read_bytes_per_gpu",
     "Estimated number of bytes read from memory per GPU (for Model Flops Utilization calculations).", ()),
    ("counter", "estimated_write_bytes_per_gpu",
     "Estimated number of bytes written to memory per GPU (for Model Flops Utilization calculations).", ()),
    ("gauge", "num_requests_running", "Number of requests in model execution batches.", ()),
    ("gauge", "num_requests_waiting", "Number of requests waiting to be processed.", ()),
    ("gauge", "num_requests_waiting_by_reason",
     ("Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = "
      "deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals "
      "vllm:num_requests_waiting."), (("reason", ("capacity", "deferred")),)),
    ("gauge", "engine_sleep_state",
     ("Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 "
      "means sleep level 1; discard_all = 1 means sleep level 2."),
     (("sleep_state", ("awake", "weights_offloaded", "discard_all")),)),
    ("gauge", "kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", ()),
    ("counter", "prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", ()),
    ("counter", "prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", ()),
    ("counter", "external_prefix_cache_queries",
     ("External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried "
      "tokens."), ()),
    ("counter", "external_prefix_cache_hits",
     "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.",
     ()),
    ("counter", "mm_cache_queries", "Multi-modal cache queries, in terms of number of queried items.", ()),
    ("counter", "mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items.", ()),
    ("counter", "num_preemptions", "Cumulative number of preemption from the engine.", ()),
    ("counter", "prompt_tokens", "Number of prefill tokens processed.", ()),
    ("counter", "prompt_tokens_by_source", "Number of prompt tokens by source.", SOURCES),
    ("counter", "prompt_tokens_cached", "Number of cached prompt tokens (local + external).", ()),
    ("counter", "prompt_tokens_cached_by_source",
     ("Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), "
      "disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to "
      "vllm:prefix_cache_hits + vllm:external_prefix_cache_hits."), TIERS),
    ("counter", "generation_tokens", "Number of generation tokens processed.", ()),
    ("counter", "request_success", "Count of successfully processed requests.", (("finished_reason", REASONS),)),
    ("counter", "admission_rejections", "Number of admission attempts rejected by a queue limit, by reason.",
     (("engine", ()), ("reason", ("max_num_queued_reqs", "max_num_queued_tokens")))),
    ("histogram", "request_prompt_tokens", "Number of prefill tokens processed.", TOKENS),
    ("histogram", "request_generation_tokens", "Number of generation tokens processed.", TOKENS),
    ("histogram", "iteration_tokens_total", "Histogram of number of tokens per engine_step.", ITERATION),
    ("histogram", "request_max_num_generation_tokens",
     "Histogram of maximum number of requested generation tokens.", TOKENS),
    ("histogram", "request_params_n", "Histogram of the n request parameter.", (1.0, 2.0, 5.0, 10.0, 20.0)),
    ("histogram", "request_params_max_tokens", "Histogram of the max_tokens request parameter.", TOKENS),
    ("histogram", "time_to_first_token_seconds", "Histogram of time to first token in seconds.", FIRST_TOKEN),
    ("histogram", "inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", BETWEEN_TOKENS),
    ("histogram", "request_time_per_output_token_seconds",
     "Histogram of time_per_output_token_seconds per request.", BETWEEN_TOKENS),
    ("histogram", "e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", LATENCIES),
    ("histogram", "request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", LATENCIES),
    ("histogram", "request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", LATENCIES),
    ("histogram", "request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", LATENCIES),
    ("histogram", "request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", LATENCIES),
    ("histogram", "request_num_preemptions", "Histogram of the number of times a request was preempted.",
     (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)),
    ("histogram", "request_prefill_kv_computed_tokens",
     "Histogram of new KV tokens computed during prefill (excluding cached tokens).", TOKENS),
)  # fmt: skip
"""(type, name without `vllm:`, help, more labels and their values, or a histogram's edges). `("engine", ())` among the
labels says that the family has no `engine` label."""

HTTP_HELP = {
    "http_requests": "Total number of requests by method, status and handler.",
    "http_request_size_bytes":
        "Content length of incoming requests by handler. Only value of header is respected. Otherwise ignored. No "
        "percentile calculated. ",
    "http_response_size_bytes":
        "Content length of outgoing responses by handler. Only value of header is respected. Otherwise ignored. No "
        "percentile calculated. ",
    "http_request_duration_highr_seconds":
        "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
    "http_request_duration_seconds":
        "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ",
}  # fmt: skip

CACHE_CONFIG = {
    "_block_size_resolved": "True", "block_size": "16", "cache_dtype": "auto", "cache_hit_alignment_tokens": "None",
    "effective_attention_block_size": "16", "enable_mamba_shared_prefix_checkpoint": "False",
    "enable_prefix_caching": "True", "engine": "0", "gpu_memory_utilization": "0.92", "hash_block_size": "None",
    "is_attention_free": "False", "kv_cache_dtype_skip_layers": "[]", "kv_cache_layout": "None",
    "kv_cache_max_concurrency": "", "kv_cache_memory_bytes": "", "kv_cache_size_tokens": "",
    "kv_offloading_backend": "native", "kv_offloading_size": "None", "kv_sharing_fast_prefill": "False",
    "mamba_block_size": "None", "mamba_cache_dtype": "auto", "mamba_cache_mode": "none",
    "mamba_page_size_padded": "None", "mamba_ssm_cache_dtype": "float32", "num_cpu_blocks": "None",
    "num_gpu_blocks": "", "num_gpu_blocks_override": "None", "prefix_cache_retention_interval": "0",
    "prefix_caching_hash_algo": "sha256", "prefix_match_unit": "None", "replayssm_buffer_len": "16",
    "skip_page_size_padded": "None", "sliding_window": "None", "swa_bounded_replay": "True",
    "use_kda_recoverssm": "False", "use_replayssm": "False", "user_specified_block_size": "False",
}  # fmt: skip
"""Labels of `vllm:cache_config_info`; the empty ones depend on the flags."""
