"""Kubernetes manifests of one colour, as plain data in Kubernetes' own spelling. Pure functions.

Values that are known only after other resources (images, names of other objects) are passed through as they come.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import pulumi

from components import migration, pods
from components.pods import PART_OF, DrainShape, Manifest, ProbesShape

GATEWAY_PORT = 8080
ENGINE_PORT = 8000
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
CACHE_FOLDER = "/var/cache/penstock"
SPOOL_FOLDER = "/var/spool/penstock"
SPOOL_ROOM_MIB = 32
"""Above the ledger's own bound: a pod whose volume passes its limit is evicted."""


class EngineShape(TypedDict):
    model: str
    """The name that clients send."""
    slug: str
    """The model's name as it may stand in object names."""
    aliases: Sequence[str]
    source: pulumi.Input[str]
    """What `vllm serve` loads: a path, a name, or an s3:// address."""
    streamed: bool
    """Weights come straight from S3 to the GPU."""
    max_model_len: int
    gpus: int
    cpu_millicores: int
    memory_mib: int
    replicas: int


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


def engine_arguments(engine: EngineShape, shutdown_seconds: int) -> list[pulumi.Input[str]]:
    """Arguments of the `vllm` command (0.32). POD_IP is filled in by the kubelet."""
    arguments: list[pulumi.Input[str]] = ["serve", engine["source"], "--served-model-name", engine["model"]]
    arguments += engine["aliases"]
    arguments += ["--host", "$(POD_IP)", "--port", str(ENGINE_PORT)]
    arguments += ["--max-model-len", str(engine["max_model_len"])]
    arguments += ["--gpu-memory-utilization", "0.90"]
    arguments += ["--shutdown-timeout", str(shutdown_seconds)]
    arguments += ["--disable-access-log-for-endpoints", "/health,/metrics,/ping"]
    if engine["gpus"] > 1:
        arguments += ["--tensor-parallel-size", str(engine["gpus"])]
    if engine["streamed"]:
        # The best published S3 result needs 16 to 32 readers.
        arguments += ["--load-format", "runai_streamer", "--model-loader-extra-config", '{"concurrency":16}']
    return arguments


def engine_deployment(
    engine: EngineShape,
    *,
    namespace: pulumi.Input[str],
    colour: str,
    image: pulumi.Input[str],
    zones: int,
    drain: DrainShape,
    probes: ProbesShape,
) -> Manifest:
    mine = labels("engine", colour, engine["model"])
    container = {
        "name": "engine",
        "image": image,
        "command": ["vllm"],
        "args": engine_arguments(engine, drain["engine_shutdown_seconds"]),
        "env": [
            pods.from_field("POD_IP", "status.podIP"),
            {"name": "HOME", "value": CACHE_FOLDER},
            {"name": "VLLM_CACHE_ROOT", "value": f"{CACHE_FOLDER}/vllm"},
            {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
        ],
        "ports": [{"name": "http", "containerPort": ENGINE_PORT, "protocol": "TCP"}],
        "resources": {
            "requests": pods.size(engine["cpu_millicores"], engine["memory_mib"]),
            "limits": {"memory": f"{engine['memory_mib']}Mi", "nvidia.com/gpu": str(engine["gpus"])},
        },
        # Connections are refused while weights load, so both paths answer at the same moment.
        **pods.http_probes("/v1/models", "/v1/models", "/health", probes, probes["engine_startup_seconds"]),
        "lifecycle": pods.pre_stop(drain),
        # The NVIDIA runtime hook writes to the root file system: it cannot be read-only.
        "securityContext": pods.container_security(read_only=False),
        "volumeMounts": [
            {"name": "cache", "mountPath": CACHE_FOLDER},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - a volume of the pod's own
        ],
    }
    return _deployment(
        name=engine_name(engine["slug"], colour),
        namespace=namespace,
        mine=mine,
        replicas=engine["replicas"],
        # No spare GPU is kept for an update: one engine goes, then one comes.
        strategy={"maxSurge": 0, "maxUnavailable": 1},
        startup_seconds=probes["engine_startup_seconds"],
        pod={
            "serviceAccountName": "engine",
            "priorityClassName": pods.INTERACTIVE_PRIORITY_CLASS,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": drain["grace_seconds"],
            "securityContext": pods.pod_security(),
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            # Without it a zone that has system nodes alone would count as one to spread over.
            "affinity": pods.only_pools(GPU_POOLS),
            "topologySpreadConstraints": [
                pods.spread(ZONE_LABEL, mine, at_least=pods.zones_to_wait_for(engine["replicas"], zones)),
                pods.spread(CAPACITY_LABEL, mine),
            ],
            "containers": [container],
            "volumes": [
                {"name": "cache", "emptyDir": {}},
                {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
            ],
        },
    )


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
    return _deployment(
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


def _deployment(
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
