"""A snapshot of the load balancers as the configuration files that Envoy watches (pure).

    lds/listeners.json     one listener for each port of each balancer
    cds/clusters.json      one cluster for each target group, with its health check
    rds/<listener>.json    the routes of a listener: rules and weights change here alone
    eds/<group>.json       the endpoints of a target group: targets come and go here alone

So neither a weight nor a target touches a listener or a cluster, and with them the connections in use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.local.aws.planes.balancer_model import (
    Balancer,
    Certificate,
    HealthCheck,
    Listener,
    Snapshot,
    TargetGroup,
    key_of,
)
from infra.local.aws.planes.envoy_routes import routes

TYPE = "type.googleapis.com/envoy"
NO_LIMIT = 100_000
"""For Envoy's circuit breakers (1,024 by default): an application load balancer has none."""

CONNECT_SECONDS = 10  # an application load balancer's own limit for a connection to a target
DEFAULT_IDLE_SECONDS = 60
FAIL_OPEN_PERCENT = 1
"""Without any healthy target all targets get requests, as AWS does it; otherwise healthy ones alone."""

POLICIES = {"least_outstanding_requests": "LEAST_REQUEST", "weighted_random": "RANDOM"}
ANOMALIES: Mapping[str, Any] = {
    # Judged now and then by shares, as an application load balancer does it, never by failures in a row. How often it
    # looks AWS does not say; like there, three targets are the least that can be compared.
    "interval": "5s",
    "base_ejection_time": "10s",
    "max_ejection_percent": 50,
    "split_external_local_origin_errors": True,
    "failure_percentage_threshold": 50,
    "failure_percentage_minimum_hosts": 3,
    "failure_percentage_request_volume": 10,
    "enforcing_failure_percentage": 100,
    "enforcing_failure_percentage_local_origin": 100,
    "enforcing_consecutive_5xx": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "enforcing_consecutive_local_origin_failure": 0,
    "enforcing_success_rate": 0,
    "enforcing_local_origin_success_rate": 0,
}
"""Anomaly mitigation: a target that fails more than half of its requests is left out for a while."""


def render(snapshot: Snapshot, folder: Path) -> dict[str, dict[str, Any]]:
    """Relative file name -> content, in the order in which the files are to be written: what is named before names."""
    files: dict[str, dict[str, Any]] = {}
    groups = sorted(snapshot.target_groups, key=lambda group: group.arn)
    idle_seconds = min((balancer.idle_seconds for balancer in snapshot.balancers), default=DEFAULT_IDLE_SECONDS)
    for group in groups:
        assignment = resources([endpoints(group)], "config.endpoint.v3.ClusterLoadAssignment")
        files[f"eds/{key_of(group.arn)}.json"] = assignment
    clusters = [cluster(group, folder, idle_seconds) for group in groups]
    files["cds/clusters.json"] = resources(clusters, "config.cluster.v3.Cluster")
    pairs = sorted(
        ((balancer, listener) for balancer in snapshot.balancers for listener in balancer.listeners),
        key=lambda pair: pair[1].arn,
    )
    for _, listener in pairs:
        files[f"rds/{key_of(listener.arn)}.json"] = resources(
            [route_configuration(listener)], "config.route.v3.RouteConfiguration"
        )
    listeners = [envoy_listener(balancer, listener, folder) for balancer, listener in pairs]
    files["lds/listeners.json"] = resources(listeners, "config.listener.v3.Listener")
    return files


def resources(items: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """A discovery response. Its version is a hash of the content, so the same state gives the same file."""
    typed = [{"@type": f"{TYPE}.{kind}", **item} for item in items]
    version = hashlib.sha256(json.dumps(typed, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": version, "resources": typed}


def source(folder: Path, kind: str, name: str) -> dict[str, Any]:
    """A file that Envoy reads again when something is moved into its folder: a write in place goes unnoticed."""
    return {
        "path_config_source": {
            "path": str(folder / kind / f"{name}.json"),
            "watched_directory": {"path": str(folder / kind)},
        },
        "resource_api_version": "V3",
    }


def socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def endpoints(group: TargetGroup) -> dict[str, Any]:
    def endpoint(address: str, port: int) -> dict[str, Any]:
        described: dict[str, Any] = {"address": socket(address, port)}
        if group.health_check.port is not None:
            described["health_check_config"] = {"port_value": group.health_check.port}
        return {"endpoint": described}

    targets = sorted(group.targets, key=lambda target: (target.address, target.port))
    return {
        "cluster_name": key_of(group.arn),
        "endpoints": [{"lb_endpoints": [endpoint(target.address, target.port) for target in targets]}],
    }


def cluster(group: TargetGroup, folder: Path, idle_seconds: int) -> dict[str, Any]:
    name = key_of(group.arn)
    http2 = group.protocol_version in ("HTTP2", "GRPC")
    protocol = "http2_protocol_options" if http2 else "http_protocol_options"
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), NO_LIMIT)
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": source(folder, "eds", name), "service_name": name},
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "lb_policy": POLICIES.get(group.algorithm, "ROUND_ROBIN"),
        # A deregistered target gets no new request at once; requests that it has go on to their end.
        "ignore_health_on_host_removal": True,
        "common_lb_config": {"healthy_panic_threshold": {"value": FAIL_OPEN_PERCENT}},
        "circuit_breakers": {"thresholds": [{**limits, "max_retries": 0}]},
        "health_checks": [health_check(group.health_check)],
        **({"outlier_detection": ANOMALIES} if group.mitigates_anomalies else {}),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": f"{idle_seconds}s"},
                "explicit_http_config": {protocol: {}},
            }
        },
    }


def health_check(check: HealthCheck) -> dict[str, Any]:
    interval = f"{check.interval_seconds}s"
    return {
        "timeout": f"{check.timeout_seconds}s",
        "interval": interval,
        "no_traffic_interval": interval,  # Envoy checks groups without traffic once a minute otherwise
        "no_traffic_healthy_interval": interval,
        "healthy_threshold": check.healthy_threshold,
        "unhealthy_threshold": check.unhealthy_threshold,
        "reuse_connection": False,
        "http_health_check": {
            "path": check.path,
            "expected_statuses": ranges(check.codes),
            # An unexpected status counts towards the threshold. Without this line Envoy takes the first one as final.
            "retriable_statuses": [{"start": 100, "end": 600}],
            "request_headers_to_add": [{"header": {"key": "user-agent", "value": "ELB-HealthChecker/2.0"}}],
        },
    }


def ranges(codes: str) -> list[dict[str, int]]:
    """`200-299,301` as half-open ranges."""
    found = []
    for part in codes.split(","):
        first, _, last = part.strip().partition("-")
        found.append({"start": int(first), "end": int(last or first) + 1})
    return found


def route_configuration(listener: Listener) -> dict[str, Any]:
    return {
        "name": key_of(listener.arn),
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes(listener)}],
        "request_headers_to_remove": ["x-envoy-external-address"],
        "request_headers_to_add": [
            {
                "header": {"key": "x-forwarded-port", "value": str(listener.port)},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }


def envoy_listener(balancer: Balancer, listener: Listener, folder: Path) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": connection_manager(balancer, listener, folder),
            }
        ]
    }
    if listener.protocol == "HTTPS":
        chain["transport_socket"] = tls(listener.certificates)
    return {
        "name": key_of(listener.arn),
        "address": socket(balancer.address, listener.port),
        "enable_reuse_port": False,  # a port that another process has must be an error, not shared with it
        "filter_chains": [chain],
    }


def connection_manager(balancer: Balancer, listener: Listener, folder: Path) -> dict[str, Any]:
    name = key_of(listener.arn)
    return {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO" if listener.protocol == "HTTPS" else "HTTP1",
        "rds": {"route_config_name": name, "config_source": source(folder, "rds", name)},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{TYPE}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
        "use_remote_address": True,  # appends the client to X-Forwarded-For
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": f"{balancer.idle_seconds}s",
        "common_http_protocol_options": {"idle_timeout": f"{balancer.keep_alive_seconds}s"},
        "local_reply_config": {
            "mappers": [
                # connection refused, reset or ended by the target: 502 from AWS, 503 from Envoy
                {"filter": {"response_flag_filter": {"flags": ["UF", "UC", "UR", "UPE"]}}, "status_code": 502},
            ]
        },
    }


def tls(certificates: tuple[Certificate, ...]) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [
                    {
                        "certificate_chain": {"inline_string": certificate.chain},
                        "private_key": {"inline_string": certificate.key},
                    }
                    for certificate in certificates
                ],
            },
        },
    }


def bootstrap(admin_url: str, folder: Path) -> Mapping[str, Any]:
    """What Envoy starts with: where its files are, and its administration address."""
    admin = urlsplit(admin_url)
    return {
        "node": {"id": "penstock", "cluster": "penstock"},
        "admin": {"address": socket(str(admin.hostname), int(admin.port or 80))},
        "dynamic_resources": {
            "lds_config": source(folder, "lds", "listeners"),
            "cds_config": source(folder, "cds", "clusters"),
        },
        # Envoy refuses regular expressions beyond 100 instructions by default; five patterns in a rule have more.
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 10_000}}]
        },
    }
