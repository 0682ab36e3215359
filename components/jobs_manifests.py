"""Manifests of the workers that do batches and jobs, as plain data. Pure functions.

Workers are no part of a colour: they ask whatever gateways are ready. They can be lost at any moment, so they prefer
spot nodes, where their lack of a GPU takes nothing from engines but idle CPU.
"""

from collections.abc import Mapping
from typing import TypedDict

import pulumi

from components import migration, pods
from components.manifests import DATABASE_PORT, GATEWAY_PORT, SYSTEM_POOL, TOKEN_FOLDER
from components.network_policies import to_aws
from components.pods import PART_OF, Manifest

APP = "jobs"
"""Name of the pods, of their service account, of their role, and of their user in the database."""
SPOT_POOL = "gpu-spot"
GRACE_SECONDS = 30
"""Requests under way may end; spot gives two minutes."""
HAND_BACK_SECONDS = 10
"""What is left of the grace when the last requests are given up: their rows go back to the queue."""


class WorkersShape(TypedDict):
    image: pulumi.Input[str]
    replicas: int
    cpu_millicores: int
    memory_mib: int
    config: str
    """What the worker takes as PENSTOCK_JOBS_CONFIG."""
    secret: pulumi.Input[str]
    """Name of the Secret with PENSTOCK_JOBS_* and PENSTOCK_DATABASE_*."""
    database_tls: str
    vpc_cidr: str


def labels() -> dict[str, str]:
    return {"app.kubernetes.io/name": APP, "app.kubernetes.io/part-of": PART_OF}


def deployment(shape: WorkersShape, namespace: pulumi.Input[str]) -> Manifest:
    mine = labels()
    container = {
        "name": "worker",
        "image": shape["image"],
        "command": ["python", "-m", "app.jobs"],
        "args": ["--namespace", namespace, "--grace", str(GRACE_SECONDS - HAND_BACK_SECONDS)],
        "env": [
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


def network_policies(vpc_cidr: str) -> dict[str, Manifest]:
    """The `spec` of each NetworkPolicy, by name: they add to those that deny all else."""
    workers, gateways = {"matchLabels": labels()}, _gateways()
    return {
        "jobs": {
            "podSelector": workers,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
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


def _gateways() -> Mapping[str, Mapping[str, str]]:
    return {"matchLabels": {"app.kubernetes.io/name": "gateway", "app.kubernetes.io/part-of": PART_OF}}


def queue_trigger(rows_per_worker: int, authentication: str) -> Manifest:
    """KEDA's trigger for the workers' Deployment: rows that wait or are under way, of all tenants.

    `authentication` names a TriggerAuthentication with the database's address and the workers' password.
    """
    return {
        "type": "postgresql",
        "metadata": {
            "query": "SELECT count(*) FROM penstock_jobs.rows WHERE state IN (0, 1)",
            "targetQueryValue": str(rows_per_worker),
            "activationTargetQueryValue": "0",
        },
        "authenticationRef": {"name": authentication},
    }
