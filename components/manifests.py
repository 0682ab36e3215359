"""Kubernetes manifests of one colour's gateways, and what all workloads share, as plain data. Pure functions.

Values that are known only after other resources (images, names of other objects) are passed through as they come.
"""

from collections.abc import Mapping

import pulumi

from components import migration, pods
from components.engines import adapter as engines
from components.pods import PART_OF, DrainShape, Manifest, ProbesShape

GATEWAY_PORT = 8080
ENGINE_PORT = engines.PORT
CACHE_PORT = 6379
DATABASE_PORT = 5432
ZONE_LABEL = "topology.kubernetes.io/zone"
CAPACITY_LABEL = "eks.amazonaws.com/capacityType"
READINESS_GATE = "target-health.elbv2.k8s.aws"
"""With `/` and a TargetGroupBinding's name: the condition that the load balancer controller sets on pods."""
SYSTEM_POOL = "system"
GPU_POOLS = ("gpu", "gpu-spot")
TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where Kubernetes mounts it
CONFIG_FOLDER = "/etc/penstock/config"
KEYS_FOLDER = "/etc/penstock/keys"
SPOOL_FOLDER = "/var/spool/penstock"
SPOOL_ROOM_MIB = 32
"""Above the ledger's own bound: a pod whose volume passes its limit is evicted."""


def labels(app: str, colour: str, model: str | None = None) -> dict[str, str]:
    found = {
        "app.kubernetes.io/name": app,
        "app.kubernetes.io/part-of": PART_OF,
        "penstock.dev/colour": colour,
    }
    return found | ({"penstock.dev/model": model} if model else {})


def selector(app: str, colour: str, model: str | None = None) -> str:
    """The same labels, as a label selector."""
    return ",".join(f"{key}={value}" for key, value in labels(app, colour, model).items())


def engine_name(slug: str, colour: str) -> str:
    return f"engine-{slug}-{colour}"


def gateway_deployment(
    *,
    namespace: pulumi.Input[str],
    colour: str,
    image: pulumi.Input[str],
    replicas: int,
    cpu_millicores: int,
    memory_mib: int,
    config_map: pulumi.Input[str],
    keys_secret: pulumi.Input[str],
    addresses_secret: pulumi.Input[str],
    database_tls: str,
    spool_mib: int,
    zones: int,
    drain: DrainShape,
    probes: ProbesShape,
    waits_for_load_balancer: bool = False,
) -> Manifest:
    """`waits_for_load_balancer`: a pod is ready once its target is healthy, so that no update outruns the registration.
    Whoever binds the pods opens the gate."""
    mine = labels("gateway", colour)
    gates = [{"conditionType": f"{READINESS_GATE}/gateway-{colour}"}]
    spool_limit = f"{spool_mib + SPOOL_ROOM_MIB}Mi"
    container = {
        "name": "gateway",
        "image": image,
        "command": ["python", "-m", "app.gateway"],
        "args": [
            "--config",
            f"{CONFIG_FOLDER}/gateway.json",
            "--keys",
            f"{KEYS_FOLDER}/keys.json",
            "--host",
            "$(POD_IP)",
            "--port",
            str(GATEWAY_PORT),
        ],
        "env": [
            pods.from_field("POD_IP", "status.podIP"),
            pods.from_field("POD_NAME", "metadata.name"),
            pods.from_field("POD_ZONE", f"metadata.labels['{ZONE_LABEL}']"),
            {"name": "KUBERNETES_CREDENTIALS", "value": TOKEN_FOLDER},
            *migration.database_tls(database_tls),
            {"name": "PENSTOCK_LEDGER_FOLDER", "value": SPOOL_FOLDER},
            {"name": "PENSTOCK_LEDGER_SPOOL_BYTES", "value": str(spool_mib * 1024 * 1024)},
        ],
        "envFrom": [{"secretRef": {"name": addresses_secret}}],
        "ports": [{"name": "http", "containerPort": GATEWAY_PORT, "protocol": "TCP"}],
        "resources": {
            "requests": pods.size(cpu_millicores, memory_mib) | {"ephemeral-storage": spool_limit},
            "limits": {"memory": f"{memory_mib}Mi"},
        },
        **pods.http_probes("/healthz", "/readyz", "/healthz", probes, probes["gateway_startup_seconds"]),
        "lifecycle": pods.pre_stop(drain),
        "securityContext": pods.container_security(read_only=True),
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True},
            {"name": "spool", "mountPath": SPOOL_FOLDER},
        ],
    }
    return deployment(
        name=f"gateway-{colour}",
        namespace=namespace,
        mine=mine,
        replicas=replicas,
        strategy={"maxSurge": 1, "maxUnavailable": 0},
        startup_seconds=probes["gateway_startup_seconds"],
        pod={
            "serviceAccountName": "gateway",
            **({"readinessGates": gates} if waits_for_load_balancer else {}),
            "priorityClassName": pods.INTERACTIVE_PRIORITY_CLASS,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": drain["grace_seconds"],
            "securityContext": pods.pod_security(),
            "affinity": pods.only_pools((SYSTEM_POOL,)),
            "topologySpreadConstraints": [
                pods.spread(ZONE_LABEL, mine, at_least=pods.zones_to_wait_for(replicas, zones)),
            ],
            "containers": [container],
            "volumes": [
                {"name": "config", "configMap": {"name": config_map}},
                {"name": "keys", "secret": {"secretName": keys_secret}},
                # On disk and of the pod's own: it outlives the container, and ends with the pod.
                {"name": "spool", "emptyDir": {"sizeLimit": spool_limit}},
            ],
        },
    )


def service(name: str, namespace: pulumi.Input[str], mine: Mapping[str, str], port: int) -> Manifest:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": dict(mine)},
        "spec": {
            "type": "ClusterIP",
            "selector": dict(mine),
            "ports": [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def disruption_budget(name: str, namespace: pulumi.Input[str], mine: Mapping[str, str]) -> Manifest:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": dict(mine)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(mine)}},
    }


def rollout_seconds(replicas: int, startup_seconds: int, grace_seconds: int) -> int:
    """How long an update may take: all pods one after the other, and a quarter more; 600 s, Pulumi's own, or more."""
    return max(600, (startup_seconds + grace_seconds) * max(replicas, 1) * 5 // 4)


def deployment(
    *,
    name: str,
    namespace: pulumi.Input[str],
    mine: Mapping[str, str],
    replicas: int,
    strategy: Mapping[str, int],
    startup_seconds: int,
    pod: Manifest,
) -> Manifest:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": dict(mine)},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            # Counts anew with each pod that gets ready; room for the image pull above the start.
            "progressDeadlineSeconds": startup_seconds + 600,
            "selector": {"matchLabels": dict(mine)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": dict(strategy)},
            "template": {"metadata": {"labels": dict(mine)}, "spec": pod},
        },
    }
