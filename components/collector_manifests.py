"""The metrics collector (AWS Distro for OpenTelemetry), as plain data: what is scraped, what goes where. Pure.

CloudWatch gets few metrics under few dimensions, for each series is paid for by the month. A Prometheus endpoint, where
one is named, gets all that was scraped.
"""

import json
from collections.abc import Sequence
from typing import Any

import pulumi

from components import pods
from components.controller import READ, rule
from components.engines import ENGINES
from components.manifests import PART_OF, SYSTEM_POOL
from components.network_policies import COLLECTOR, JOBS, collector_egress
from components.pods import Manifest

NAME = COLLECTOR
NAMESPACE_IN_CLOUDWATCH = "Penstock"
HEALTH_PORT = 13133
MEMORY_MIB = 512
SCRAPE_SECONDS = 30
MOST_SAMPLES = 20_000
"""Of one scrape; a pod that shows more is not scraped, and the collector says so."""
CONFIG_FOLDER = "/etc/penstock/collector"
CONFIG_FILE = "collector.json"
MARKS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": PART_OF}

PER_COLOUR = (
    *(name for engine in ENGINES.values() for name in engine.metrics.watched),
    "penstock_ttft_seconds",
    "penstock_interrupted_streams_total",
)
"""What alarms and dashboard read, summed over a colour. CloudWatch keeps count, sum and extremes of a histogram."""
PER_CODE = ("penstock_requests_total",)
"""Also by HTTP status."""


def configuration(*, namespace: str, region: str, log_group: str, remote_write: str | None, signed: bool) -> str:
    """The collector's settings, as JSON. `remote_write`: a Prometheus endpoint's address; `signed`: it is AWS's."""
    wanted = " or ".join(f'name == "{each}"' for each in PER_COLOUR + PER_CODE)
    processors: dict[str, Any] = {
        "memory_limiter": {
            "check_interval": "1s",
            "limit_mib": MEMORY_MIB * 3 // 4,
            "spike_limit_mib": MEMORY_MIB // 8,
        },
        "filter/cloudwatch": {
            "error_mode": "ignore",
            "metrics": {"metric": [f"not ({wanted})"]},
        },
        "batch": {"timeout": "10s"},
    }
    exporters: dict[str, Any] = {
        "awsemf": {
            "region": region,
            "namespace": NAMESPACE_IN_CLOUDWATCH,
            "log_group_name": log_group,
            "log_stream_name": "collector",
            "dimension_rollup_option": "NoDimensionRollup",
            "metric_declarations": [
                {"dimensions": [["colour"]], "metric_name_selectors": [_any(PER_COLOUR)]},
                {"dimensions": [["colour"], ["colour", "code"]], "metric_name_selectors": [_any(PER_CODE)]},
            ],
        }
    }
    pipelines = {
        "metrics/cloudwatch": {
            "receivers": ["prometheus"],
            "processors": ["memory_limiter", "filter/cloudwatch", "batch"],
            "exporters": ["awsemf"],
        }
    }
    extensions: dict[str, Any] = {"health_check": {"endpoint": f"0.0.0.0:{HEALTH_PORT}"}}
    if remote_write:
        exporters["prometheusremotewrite"] = {
            "endpoint": remote_write,
            "timeout": "10s",
            **({"auth": {"authenticator": "sigv4auth"}} if signed else {}),
        }
        pipelines["metrics/prometheus"] = {
            "receivers": ["prometheus"],
            "processors": ["memory_limiter", "batch"],
            "exporters": ["prometheusremotewrite"],
        }
        if signed:
            extensions["sigv4auth"] = {"region": region, "service": "aps"}
    return json.dumps(
        {
            "extensions": extensions,
            "receivers": {"prometheus": {"config": {"scrape_configs": [_job(namespace)]}}},
            "processors": processors,
            "exporters": exporters,
            "service": {
                "extensions": sorted(extensions),
                "pipelines": pipelines,
                "telemetry": {"logs": {"level": "warn"}},
            },
        },
        indent=2,
    )


def _job(namespace: str) -> dict[str, Any]:
    """Gateways, engines and workers of jobs in the namespace, each at the port that it names `http`."""
    label = "__meta_kubernetes_pod_label_"
    return {
        "job_name": "penstock",
        "scrape_interval": f"{SCRAPE_SECONDS}s",
        "scrape_timeout": "10s",
        "sample_limit": MOST_SAMPLES,
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
        "relabel_configs": [
            {"source_labels": [f"{label}app_kubernetes_io_name"], "regex": f"gateway|engine|{JOBS}", "action": "keep"},
            {"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "http", "action": "keep"},
            {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Running", "action": "keep"},
            {"source_labels": [f"{label}app_kubernetes_io_name"], "target_label": "app"},
            {"source_labels": [f"{label}penstock_dev_colour"], "target_label": "colour"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"},
        ],
    }


def _any(names: Sequence[str]) -> str:
    """No name is the beginning of another, and a `$` at the end would be read as a variable of the collector."""
    return f"^({'|'.join(names)})"


def rules() -> list[Manifest]:
    """In the namespace of gateways and engines: which pods there are."""
    return [rule("", ["pods"], READ)]


def policy() -> Manifest:
    return {"podSelector": {"matchLabels": MARKS}, "policyTypes": ["Ingress", "Egress"], "egress": collector_egress()}


def deployment(*, namespace: pulumi.Input[str], image: pulumi.Input[str], config_map: pulumi.Input[str]) -> Manifest:
    """One replica: two would count everything twice. While it moves to another node a few points are missing."""
    health = {"path": "/", "port": "health"}
    container = {
        "name": "collector",
        "image": image,
        "args": [f"--config={CONFIG_FOLDER}/{CONFIG_FILE}"],
        "ports": [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        "livenessProbe": {"httpGet": health, "initialDelaySeconds": 30, "timeoutSeconds": 5, "failureThreshold": 3},
        "readinessProbe": {"httpGet": health, "initialDelaySeconds": 5, "timeoutSeconds": 5},
        "resources": {"requests": pods.size(200, MEMORY_MIB), "limits": {"memory": f"{MEMORY_MIB}Mi"}},
        "securityContext": pods.container_security(read_only=True),
        "volumeMounts": [{"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True}],
    }
    return {
        "metadata": {"name": NAME, "namespace": namespace, "labels": MARKS},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": MARKS},
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {"labels": MARKS},
                "spec": {
                    "serviceAccountName": NAME,
                    "enableServiceLinks": False,
                    "securityContext": pods.pod_security(),
                    "affinity": pods.only_pools((SYSTEM_POOL,)),
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": config_map}}],
                },
            },
        },
    }
