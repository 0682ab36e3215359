"""Manifests of the workers that do batches and jobs, as plain data. Pure functions.

Workers are no part of a colour: they ask whatever gateways are ready. They can be lost at any moment, so they prefer
spot nodes, where their lack of a GPU takes nothing from engines but idle CPU.
"""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi

from components import migration, pods
from components.manifests import DATABASE_PORT, GATEWAY_PORT, SYSTEM_POOL, TOKEN_FOLDER
from components.network_policies import COLLECTOR, JOBS, WORKER_PORT, scaler, to_aws
from components.pods import PART_OF, Manifest
from components.scaling import FAILURES_BEFORE_FALLBACK, POLL_SECONDS, TIMEOUT_MILLISECONDS, address

APP = JOBS
"""Name of the pods, of their service account, of their role, of their service, and of their user in the database."""
DEPTH_METRIC = "penstock_jobs_demand"
"""What workers tell of the queue (app/jobs/health.py)."""
DOWN_AFTER_SECONDS = 300
"""Workers go after the greatest depth of so long: batches come in waves."""
PROBE_SECONDS = 10
START_SECONDS = 60
"""For the first answer of a worker."""
SPOT_POOL = "gpu-spot"
GRACE_SECONDS = 30
"""Requests under way may end; spot gives two minutes."""
HAND_BACK_SECONDS = 10
"""What is left of the grace when the last requests are given up: their rows go back to the queue."""


class WorkersScaling(TypedDict):
    max_workers: int
    """Most workers, however many requests wait."""
    rows_per_worker: int
    """Requests that wait or are under way, for each worker."""


class WorkersShape(TypedDict):
    image: pulumi.Input[str]
    """Image of the workers, with tag or digest: the gateways' holds them too."""
    replicas: int
    """The floor where they scale, else the number."""
    scaling: NotRequired[WorkersScaling]
    """The number follows the queue, by KEDA; without it it is fixed."""
    cpu_millicores: int
    memory_mib: int
    config: str
    """What the worker takes as PENSTOCK_JOBS_CONFIG."""
    secret: pulumi.Input[str]
    """Name of the Secret with PENSTOCK_JOBS_* and PENSTOCK_DATABASE_*."""
    database_tls: str
    vpc_cidr: str
    """The VPC's range: workers reach the database in it."""


def labels() -> dict[str, str]:
    return {"app.kubernetes.io/name": APP, "app.kubernetes.io/part-of": PART_OF}


def deployment(shape: WorkersShape, namespace: pulumi.Input[str]) -> Manifest:
    mine = labels()
    container = {
        "name": "worker",
        "image": shape["image"],
        "command": ["python", "-m", "app.jobs"],
        "args": [
            *("--namespace", namespace, "--grace", str(GRACE_SECONDS - HAND_BACK_SECONDS)),
            *("--listen", f"$(POD_IP):{WORKER_PORT}"),
        ],
        "ports": [{"name": "http", "containerPort": WORKER_PORT, "protocol": "TCP"}],
        "startupProbe": _probe("/livez", START_SECONDS // PROBE_SECONDS),
        "readinessProbe": _probe("/readyz", 1),
        "livenessProbe": _probe("/livez", 3),
        "env": [
            pods.from_field("POD_IP", "status.podIP"),
            {"name": "KUBERNETES_CREDENTIALS", "value": TOKEN_FOLDER},
            {"name": "PENSTOCK_JOBS_CONFIG", "value": shape["config"]},
            *migration.database_tls(shape["database_tls"]),
        ],
        "envFrom": [{"secretRef": {"name": shape["secret"]}}],
        "resources": {
            "requests": pods.size(shape["cpu_millicores"], shape["memory_mib"]),
            "limits": {"memory": f"{shape['memory_mib']}Mi"},
        },
        "securityContext": pods.container_security(read_only=True),
    }
    prefer_spot = {"key": pods.POOL_LABEL, "operator": "In", "values": [SPOT_POOL]}
    affinity = pods.only_pools((SYSTEM_POOL, SPOT_POOL))
    affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = [
        {"weight": 100, "preference": {"matchExpressions": [prefer_spot]}}
    ]
    return {
        "metadata": {"name": APP, "namespace": namespace, "labels": mine},
        "spec": {
            "replicas": shape["replicas"],
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": mine},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": mine},
                "spec": {
                    "serviceAccountName": APP,
                    "automountServiceAccountToken": False,
                    "priorityClassName": pods.BATCH_PRIORITY_CLASS,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": GRACE_SECONDS,
                    "securityContext": pods.pod_security(),
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    "affinity": affinity,
                    "topologySpreadConstraints": [pods.spread("kubernetes.io/hostname", mine)],
                    "containers": [container],
                },
            },
        },
    }


def _probe(path: str, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": PROBE_SECONDS,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def network_policies(vpc_cidr: str, *, scaled: bool = False) -> dict[str, Manifest]:
    """The `spec` of each NetworkPolicy, by name: they add to those that deny all else. `scaled`: KEDA reads the
    workers' metrics."""
    workers, gateways = {"matchLabels": labels()}, _app("gateway")
    return {
        "jobs": {
            "podSelector": workers,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [{"podSelector": _app(COLLECTOR)}, *([scaler()] if scaled else [])],
                    "ports": [{"port": WORKER_PORT, "protocol": "TCP"}],
                }
            ],
            "egress": [
                # DNS, credentials, and HTTPS: S3, the API server, webhooks.
                *to_aws(),
                {"to": [{"podSelector": gateways}], "ports": [{"port": GATEWAY_PORT, "protocol": "TCP"}]},
                {"to": [{"ipBlock": {"cidr": vpc_cidr}}], "ports": [{"port": DATABASE_PORT, "protocol": "TCP"}]},
            ],
        },
        "gateway-from-jobs": {
            "podSelector": gateways,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": workers}], "ports": [{"port": GATEWAY_PORT, "protocol": "TCP"}]}],
        },
    }


def _app(name: str) -> Mapping[str, Mapping[str, str]]:
    return {"matchLabels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": PART_OF}}


def scaled_object(shape: WorkersShape, namespace: pulumi.Input[str]) -> Manifest | None:
    """None where the number of workers is fixed. Each worker tells the depth of the whole queue: the greatest counts.

    Never to zero: the workers' own figures are what KEDA asks for, so that it needs no login of the database.
    """
    if "scaling" not in shape:
        return None
    rules = shape["scaling"]
    return {
        "metadata": {"name": APP, "namespace": namespace, "labels": labels()},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "pollingInterval": POLL_SECONDS,
            "minReplicaCount": shape["replicas"],
            "maxReplicaCount": rules["max_workers"],
            # While the database is away no worker tells a depth: that is no reason to change their number.
            "fallback": {
                "failureThreshold": FAILURES_BEFORE_FALLBACK,
                "replicas": shape["replicas"],
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {
                "restoreToOriginalReplicaCount": False,
                "horizontalPodAutoscalerConfig": {
                    "name": APP,
                    "behavior": {
                        "scaleUp": {"stabilizationWindowSeconds": 0},
                        "scaleDown": {
                            "stabilizationWindowSeconds": DOWN_AFTER_SECONDS,
                            "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
                        },
                    },
                },
            },
            "triggers": [
                {
                    "type": "metrics-api",
                    "name": "depth",
                    "metricType": "AverageValue",
                    "metadata": {
                        "url": address(APP, namespace, WORKER_PORT),
                        "format": "prometheus",
                        "valueLocation": DEPTH_METRIC,
                        "targetValue": str(rules["rows_per_worker"]),
                        "aggregateFromKubeServiceEndpoints": "true",
                        "aggregationType": "max",
                        "timeout": TIMEOUT_MILLISECONDS,
                    },
                }
            ],
        },
    }
