"""The command line of `vllm serve` 0.32: what is modelled, what is taken and ignored, what is refused.

A flag that vLLM does not have ends like argparse does, with status 2, so that a manifest which starts here also starts
a real engine. The lists were written from vLLM's documented command line (0.30 to 0.32).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFAULT_MODEL = "Qwen/Qwen3-0.6B"
"""What `vllm serve` without a model serves."""

DEFAULT_MAX_MODEL_LEN = 4096
"""A real engine reads it from the model's config; the simulator has no model."""


class FlagError(ValueError):
    """The command line cannot be accepted; the text says which flag and why."""


@dataclass(frozen=True)
class EngineFlags:
    """The flags that change what the simulator does."""

    model: str = DEFAULT_MODEL
    served_model_name: tuple[str, ...] = ()
    host: str = "0.0.0.0"  # noqa: S104  (vLLM's own default; manifests pass the pod's address)
    port: int = 8000
    max_model_len: int = DEFAULT_MAX_MODEL_LEN
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_num_queued_reqs: int | None = None
    max_num_queued_tokens: int | None = None
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    gpu_memory_utilization: float = 0.92
    api_key: tuple[str, ...] = ()
    shutdown_timeout: float = 0.0
    seed: int = 0
    sse_keep_alive_interval: float = 0.0
    enable_force_include_usage: bool = False
    enable_request_id_headers: bool = False
    enable_prompt_tokens_details: bool = False
    enable_scale_out: bool = False
    disable_uvicorn_access_log: bool = False
    disable_access_log_for_endpoints: tuple[str, ...] = ()
    uvicorn_log_level: str = "info"
    lora_modules: dict[str, str] = field(default_factory=dict)
    runner: str = "auto"
    """`pooling`: the model makes embeddings and no texts."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that requests may use; the first one is in replies and metrics."""
        return self.served_model_name or (self.model,)


def _integer(text: str) -> int:
    return int(text)


def _natural(text: str) -> int:
    value = human_readable_integer(text)
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def human_readable_integer(text: str) -> int:
    """`4096`, `32k` (32,000) or `32K` (32,768), as vLLM reads lengths. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", text)
    if match is None:
        raise ValueError("not an integer")
    unit = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]]
    if "." in match[1] and unit in (1, 2**10, 2**20, 2**30):
        raise ValueError("decimals need a lower-case unit")
    return round(float(match[1]) * unit)


def _positive_seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 86_400:
        raise ValueError("must be seconds, 0 or more")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError("must be in (0, 1]")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise ValueError("must be a port, 0 to 65535")
    return value


def _paths(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _level(text: str) -> str:
    allowed = ("critical", "error", "warning", "info", "debug", "trace")
    if text not in allowed:
        raise ValueError(f"choose from {', '.join(allowed)}")
    return text


def _runner(text: str) -> str:
    allowed = ("auto", "draft", "generate", "pooling")
    if text not in allowed:
        raise ValueError(f"choose from {', '.join(allowed)}")
    return text


MODELLED: dict[str, Callable[[str], Any]] = {
    "model": str,
    "host": str,
    "port": _port,
    "max-model-len": _natural,
    "max-num-seqs": _natural,
    "max-num-batched-tokens": _natural,
    "max-num-queued-reqs": _natural,
    "max-num-queued-tokens": _natural,
    "gpu-memory-utilization": _fraction,
    "shutdown-timeout": _positive_seconds,
    "seed": _integer,
    "sse-keep-alive-interval": _positive_seconds,
    "disable-access-log-for-endpoints": _paths,
    "uvicorn-log-level": _level,
    "runner": _runner,
}
"""Flags with one value."""

MODELLED_LISTS = ("served-model-name", "api-key", "lora-modules")
MODELLED_SWITCHES = (
    "enable-prefix-caching", "enable-chunked-prefill", "enable-force-include-usage", "enable-request-id-headers",
    "enable-prompt-tokens-details", "enable-scale-out", "disable-uvicorn-access-log",
)  # fmt: skip

_IGNORED = """
    additional-config aggregate-engine-logging all2all-backend allowed-headers allowed-local-media-path
    allowed-media-domains allowed-methods allowed-origins api-server-count attention-backend attention-config
    block-size calculate-kv-scales chat-template chat-template-content-format code-revision collect-detailed-traces
    compilation-config config-format convert cp-kv-cache-interleave-size cpu-offload-gb cudagraph-capture-sizes
    data-parallel-address data-parallel-backend data-parallel-hybrid-lb data-parallel-rank data-parallel-rpc-port
    data-parallel-size data-parallel-size-local data-parallel-start-rank dcp-kv-cache-interleave-size
    decode-context-parallel-size default-chat-template-kwargs default-mm-loras distributed-executor-backend
    download-dir dtype ec-transfer-config eplb-config expert-placement-strategy fingerprint-mode fingerprint-value
    generation-config h11-max-header-count h11-max-incomplete-event-size hf-config-path hf-overrides hf-token
    ignore-patterns kernel-config kv-cache-dtype kv-cache-dtype-skip-layers kv-cache-memory-bytes kv-events-config
    kv-offloading-backend kv-offloading-size kv-transfer-config limit-mm-per-prompt load-format log-config-file
    logits-processors logprobs-mode long-prefill-token-threshold lora-dtype lora-target-modules mamba-block-size
    mamba-cache-dtype mamba-cache-mode mamba-ssm-cache-dtype master-addr master-port max-cpu-loras
    max-cudagraph-capture-size max-log-len max-logprobs max-long-partial-prefills max-lora-rank max-loras
    max-num-partial-prefills max-parallel-loading-workers media-io-kwargs middleware mm-encoder-attn-backend
    mm-encoder-tp-mode mm-processor-cache-gb mm-processor-cache-type mm-processor-kwargs
    mm-shm-cache-max-object-size-mb model-impl model-loader-extra-config nnodes node-rank num-gpu-blocks-override
    numa-bind-cpus numa-bind-nodes offload-backend optimization-level otlp-traces-endpoint override-attention-dtype
    override-generation-config performance-mode pipeline-parallel-size pooler-config prefill-context-parallel-size
    prefix-caching-hash-algo profiler-config pt-load-map-location quantization quantization-config
    ray-workers-use-nsight reasoning-config reasoning-parser reasoning-parser-plugin response-role revision
    root-path safetensors-load-strategy scheduler-cls scheduling-policy show-hidden-metrics-for-version
    spec-method spec-model spec-tokens speculative-config stream-interval structured-outputs-config swap-space
    tensor-parallel-size tokenizer tokenizer-mode tokenizer-revision tool-call-parser tool-parser-plugin tool-server
    video-pruning-rate weight-transfer-config worker-cls worker-extension-cls
"""
IGNORED = frozenset(_IGNORED.split())
"""vLLM's flags with a value that change nothing a client of the simulator can see."""

_IGNORED_SWITCHES = """
    allow-credentials allow-deprecated-quantization async-scheduling cohere-is-reasoning-model
    data-parallel-external-lb data-parallel-multi-port-external-lb disable-cascade-attn disable-chunked-mm-input
    disable-custom-all-reduce disable-fastapi-docs disable-hybrid-kv-cache-manager disable-log-requests
    disable-log-stats disable-nccl-for-dp-synchronization disable-sliding-window enable-auto-tool-choice
    enable-cumem-allocator enable-dbo enable-elastic-ep enable-ep-weight-filter enable-eplb enable-expert-parallel
    enable-flash-late-interaction enable-flashinfer-autotune enable-layerwise-nvtx-tracing enable-log-deltas
    enable-log-outputs enable-log-requests enable-logging-iteration-details enable-lora enable-lora-bias
    enable-mfu-metrics enable-mm-embeds enable-offline-docs enable-per-request-metrics enable-prompt-embeds
    enable-return-routed-experts enable-server-load-tracking enable-sleep-mode enable-tokenizer-info-endpoint
    enable-tower-connector-lora enforce-eager exclude-tools-when-tool-choice-none fail-on-environ-validation
    fully-sharded-loras interleave-mm-strings kv-cache-metrics kv-sharing-fast-prefill language-model-only
    log-error-stack numa-bind return-tokens-as-token-ids skip-mm-profiling skip-tokenizer-init
    specialize-active-lora tokens-only trust-remote-code trust-request-chat-template use-tqdm-on-load
"""
IGNORED_SWITCHES = frozenset(_IGNORED_SWITCHES.split())
"""Likewise, without a value."""

REFUSED = {
    "config": "the simulator does not read a config file; pass the flags themselves",
    "headless": "the simulator has no engine without a server",
    "grpc": "the simulator speaks HTTP only",
    "uds": "the simulator listens on TCP only",
    "ssl-keyfile": "the simulator does not speak TLS",
    "ssl-certfile": "the simulator does not speak TLS",
    "ssl-ca-certs": "the simulator does not speak TLS",
    "ssl-cert-reqs": "the simulator does not speak TLS",
    "ssl-ciphers": "the simulator does not speak TLS",
    "enable-ssl-refresh": "the simulator does not speak TLS",
}
"""vLLM's flags whose silent loss would mislead."""

SHORT = {
    "tp": "tensor-parallel-size", "pp": "pipeline-parallel-size", "dp": "data-parallel-size", "q": "quantization",
    "asc": "api-server-count", "dcp": "decode-context-parallel-size", "dpl": "data-parallel-size-local",
    "dpn": "data-parallel-rank", "dpr": "data-parallel-start-rank", "dpa": "data-parallel-address",
    "dpp": "data-parallel-rpc-port", "dpb": "data-parallel-backend", "ep": "enable-expert-parallel",
    "n": "nnodes", "r": "node-rank", "cc": "compilation-config", "ac": "attention-config", "O": "optimization-level",
    "sc": "speculative-config",
}  # fmt: skip


def parse(arguments: Sequence[str]) -> EngineFlags:
    """Reads what follows `vllm serve`. `--flag=value`, `--flag value` and underscores for dashes are vLLM's own.

    Raises FlagError for a flag that vLLM 0.32 does not have, a value out of bounds, or a flag that cannot be simulated.
    """
    values: dict[str, Any] = {}
    rest = list(arguments)
    if rest and not rest[0].startswith("-"):
        values["model"] = rest.pop(0)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            raise FlagError(f"unrecognized arguments: {word}")
        name, negated, attached = _split(word)
        if name in REFUSED:
            raise FlagError(f"argument --{name}: {REFUSED[name]}")
        if name in MODELLED_SWITCHES or name in IGNORED_SWITCHES:
            if attached is not None:
                raise FlagError(f"argument --{name}: ignored explicit argument {attached!r}")
            if name in MODELLED_SWITCHES:
                values[name.replace("-", "_")] = not negated
        elif negated:
            raise FlagError(f"unrecognized arguments: {word}")
        elif name in MODELLED_LISTS:
            items = [attached] if attached is not None else []
            while rest and not rest[0].startswith("-"):
                items.append(rest.pop(0))
            if not items:
                raise FlagError(f"argument --{name}: expected at least one argument")
            values[name.replace("-", "_")] = _lora_modules(items) if name == "lora-modules" else tuple(items)
        elif name in MODELLED or name in IGNORED:
            if attached is None:
                # A negative number is a value; anything else that starts with a dash is the next flag.
                if not rest or (rest[0].startswith("-") and not re.fullmatch(r"-\d+(\.\d+)?", rest[0])):
                    raise FlagError(f"argument --{name}: expected one argument")
                attached = rest.pop(0)
            if name in MODELLED:
                try:
                    values[name.replace("-", "_")] = MODELLED[name](attached)
                except ValueError as error:
                    raise FlagError(f"argument --{name}: invalid value: {attached!r} ({error})") from None
        else:
            raise FlagError(f"unrecognized arguments: {word}")
    return EngineFlags(**values)


def _split(word: str) -> tuple[str, bool, str | None]:
    """The flag's full name, whether `--no-` stands before it, and the value attached with `=` (or to `-O`)."""
    head, equals, tail = word.partition("=")
    attached = tail if equals else None
    if not head.startswith("--"):
        short = head[1:]
        if short.startswith("O") and len(short) > 1 and not equals:
            return "optimization-level", False, short[1:]
        return SHORT.get(short, head), False, attached
    name = head[2:].replace("_", "-")
    base = name.split(".", 1)[0]
    if base != name and (base in IGNORED):
        return base, False, attached  # --speculative-config.method ngram: one key of a JSON value
    known_switches = IGNORED_SWITCHES.union(MODELLED_SWITCHES)
    if name not in known_switches and name.startswith("no-") and name[3:] in known_switches:
        return name[3:], True, attached
    return name, False, attached


def _lora_modules(items: Sequence[str]) -> dict[str, str]:
    modules: dict[str, str] = {}
    for item in items:
        if "=" in item and not item.startswith("{"):
            name, _, path = item.partition("=")
        else:
            try:
                content = json.loads(item)
                name, path = content["name"], content["path"]
            except (ValueError, KeyError, TypeError):
                raise FlagError(f"Invalid JSON format for --lora-modules: {item}") from None
        modules[name] = path
    return modules
