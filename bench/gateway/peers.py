"""The gateways that are compared: where each comes from, its configuration and its command line. Pure.

Each has one worker and is set up to pass streams on at once and to keep connections to the engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway.install import Beside, Checkout, Debian, Interpreter, Source, Wheels
from bench.gateway.modes import EVENTS, KEY, MODEL

REFERENCE, OWN = "nginx", "penstock"
PATH = "/v1/chat/completions"
CONTEXT_TOKENS = 262_144
ENVOY_TYPES = "type.googleapis.com/envoy.extensions.filters"
BODY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Place:
    """Where one gateway runs: its port, the engine's port, a folder of its own, how many files it may open."""

    port: int
    engine: int
    folder: Path
    open_files: int
    root: bool = False


Files = dict[str, str]


@dataclass(frozen=True)
class Peer:
    name: str
    title: str
    source: Source
    files: Callable[[Place], Files]
    """Name to content of the files that its folder needs."""
    arguments: Callable[[Place], list[str]]
    """The command line after the program."""
    does: str
    """What it does for each request in this run, for the table's reader."""
    slow: bool = False
    slow_streams: int = 4
    """Streams at once that fill its core, where it is slow."""
    """It needs milliseconds of CPU a request."""
    events: int = EVENTS
    """SSE events that must come through: some drop or merge those without content."""
    environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 30.0
    uses_stores: bool = False
    """It is given Redis and PostgreSQL."""
    holds_streams: bool = False
    """Takes part in the run with 10,000 idle streams."""


def nginx_files(place: Place) -> Files:
    temporary = "\n".join(
        f"  {kind}_temp_path {place.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return {
        "nginx.conf": f"""daemon off;
{"user root;" if place.root else ""}
worker_processes 1;
worker_rlimit_nofile {place.open_files};
pid {place.folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {place.open_files - 50}; }}
http {{
  access_log off;
{temporary}
  client_max_body_size {BODY_BYTES};
  client_body_buffer_size 1m;
  upstream engine {{ server 127.0.0.1:{place.engine}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{place.port} backlog=4096;
    keepalive_requests 1000000000;
    keepalive_timeout 120s;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 120s;
    }}
  }}
}}
"""
    }


def haproxy_files(place: Place) -> Files:
    return {
        "haproxy.cfg": f"""global
  nbthread 1
  maxconn {(place.open_files - 100) // 2}
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  option http-no-delay
  http-reuse always
frontend clients
  bind 127.0.0.1:{place.port}
  default_backend engines
backend engines
  server engine 127.0.0.1:{place.engine}
"""
    }


def envoy_files(place: Place) -> Files:
    """Buffers are Envoy's own; the breakers' defaults (1024) would refuse the idle streams."""
    router = {"@type": f"{ENVOY_TYPES}.http.router.v3.Router"}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "engine", "timeout": "0s"}}
    manager = {
        "@type": f"{ENVOY_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "stream_idle_timeout": "0s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    most = {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
    cluster = {
        "name": "engine",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {
            "cluster_name": "engine",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(place.engine)}}]}],
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"address": _address(place.port), "filter_chains": [chain]}
    return {"envoy.json": json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def litellm_files(place: Place) -> Files:
    model = {
        "model_name": MODEL,
        "litellm_params": {
            "model": f"openai/{MODEL}",
            "api_base": f"http://127.0.0.1:{place.engine}/v1",
            "api_key": "none",
        },
    }
    # JSON is YAML.
    return {"litellm.yaml": json.dumps({"model_list": [model], "general_settings": {"master_key": KEY}}, indent=1)}


def penstock_files(place: Place) -> Files:
    model = {
        "name": MODEL,
        "selector": f"penstock.dev/model={MODEL}",
        "context_tokens": CONTEXT_TOKENS,
        "max_output_tokens": 4096,
        "input_usd_per_million_tokens": 1.0,
        "output_usd_per_million_tokens": 2.0,
    }
    # Limits of every scope and kind that no load reaches: each request is admitted and settled against all of them.
    limits = {
        "requests_per_second": 1_000_000,
        "tokens_per_minute": 10_000_000_000,
        "concurrent_requests": 1_000_000,
        "usd_per_day": 1_000_000,
    }
    config = {
        "colour": "blue",
        "namespace": "bench",
        "models": [model],
        "max_concurrent_requests": 20_000,
        "limits": limits,
        "tenant_limits": limits,
        "guards": {"modes": {"pii_input": "mask", "injection": "flag"}},
        # The stand-in of an engine is no collector: it refuses the spans, once they are encoded and sent.
        "traces": {"endpoint": f"http://127.0.0.1:{place.engine}", "ratio": 0.01},
    }
    # 1,001 keys: a look-up among many, of which the benchmark's is one.
    names = [KEY, *(f"{KEY}-{number}" for number in range(1000))]
    keys = [
        {"id": f"bench-{number}", "sha256": hashlib.sha256(name.encode()).hexdigest(), "limits": limits}
        for number, name in enumerate(names)
    ]
    return {"gateway.json": json.dumps(config), "keys.json": json.dumps({"keys": keys})}


def nothing(place: Place) -> Files:
    del place
    return {}


def _engine(place: Place) -> str:
    return f"http://127.0.0.1:{place.engine}"


PEERS = (
    Peer(
        OWN,
        "Penstock",
        Interpreter(),
        penstock_files,
        lambda place: [
            *("-m", "app.gateway", "--config", str(place.folder / "gateway.json")),
            *("--keys", str(place.folder / "keys.json"), "--engines", _engine(place)),
            *("--host", "127.0.0.1", "--port", str(place.port)),
        ],
        "key among 1,001, model, guards on the prompt, choice of engine, usage and cost, metrics, 1 % traces, a log",
        uses_stores=True,
        holds_streams=True,
    ),
    Peer(
        REFERENCE,
        "nginx",
        Debian("nginx", ("nginx",), "-v"),
        nginx_files,
        lambda place: ["-p", str(place.folder), "-e", "stderr", "-c", str(place.folder / "nginx.conf")],
        "passes on",
        holds_streams=True,
    ),
    Peer(
        "haproxy",
        "HAProxy",
        Debian("haproxy", ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"), "-v"),
        haproxy_files,
        lambda place: ["-f", str(place.folder / "haproxy.cfg")],
        "passes on",
        holds_streams=True,
    ),
    Peer(
        "envoy",
        "Envoy",
        Beside("envoy", "--version"),
        envoy_files,
        lambda place: [
            *("-c", str(place.folder / "envoy.json"), "--concurrency", "1"),
            *("--disable-hot-restart", "--log-level", "error"),
        ],
        "passes on",
        holds_streams=True,
    ),
    Peer(
        "vllm-router",
        "vllm-router (Rust)",
        Wheels("vllm-router", ("vllm-router==0.1.17",), "vllm-router", "vllm-router"),
        nothing,
        lambda place: [
            *("--host", "127.0.0.1", "--port", str(place.port), "--worker-urls", _engine(place)),
            *("--policy", "round_robin", "--log-level", "error", "--prometheus-port", str(place.port + 1)),
        ],
        "parses, round robin, metrics",
    ),
    Peer(
        "production-stack",
        "vLLM production-stack router",
        Checkout(
            Wheels("production-stack", (), "vllm-router", "vllm-router", python=(3, 12)),
            "PENSTOCK_BENCH_PRODUCTION_STACK",
        ),
        nothing,
        lambda place: [
            *("--host", "127.0.0.1", "--port", str(place.port), "--service-discovery", "static"),
            *("--static-backends", _engine(place), "--static-models", MODEL),
            *("--routing-logic", "roundrobin", "--log-level", "error"),
        ],
        "parses, round robin, metrics",
        slow=True,
        slow_streams=96,
    ),
    Peer(
        "litellm",
        "LiteLLM",
        # 1.107.0 was withdrawn: it held code that stole credentials. The newest that installs is taken.
        Wheels("litellm", ("litellm[proxy]>=1.100,!=1.107.0",), "litellm", "litellm"),
        litellm_files,
        lambda place: [
            *("--config", str(place.folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(place.port)),
            *("--num_workers", "1"),
        ],
        "master key, parses and rebuilds, router; no database, no callbacks",
        slow=True,
        events=EVENTS - 3,
        environment={
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "NO_PROXY": "*",
        },
        start_seconds=300.0,
    ),
)
