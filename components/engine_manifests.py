"""Manifests of one model's engines in one colour, as plain data in Kubernetes' own spelling. Pure functions."""

import json
from typing import NamedTuple

import pulumi

from components import manifests, pods
from components.definitions import open_definition
from components.engines import ENGINES
from components.engines.adapter import ADAPTERS_FOLDER, CACHE_FOLDER, WEIGHTS_SCHEME
from components.engines.shape import EngineShape
from components.manifests import CAPACITY_LABEL, ENGINE_PORT, GPU_POOLS, ZONE_LABEL
from components.network_policies import WORKER
from components.pods import DrainShape, Manifest, ProbesShape

ON_DEMAND_POOL, SPOT_POOL = GPU_POOLS
PART_LABEL = "penstock.dev/capacity"
"""On pods of a model whose engines are split: `on-demand` or `spot`."""
TYPE_LABEL = "node.kubernetes.io/instance-type"
GROUP, GROUP_VERSION, GROUP_KIND = "leaderworkerset.x-k8s.io", "v1", "LeaderWorkerSet"
GROUP_KEY = "leaderworkerset.sigs.k8s.io/group-key"
FETCH_ADAPTERS = """\
import json, os, pathlib
import boto3
pages = boto3.client("s3").get_paginator("list_objects_v2")
bucket = boto3.resource("s3").Bucket(os.environ["ADAPTERS_BUCKET"])
for name, prefix in json.loads(os.environ["ADAPTERS"]).items():
    found = [each["Key"] for page in pages.paginate(Bucket=bucket.name, Prefix=prefix) for each in page.get("Contents", [])]
    if not found:
        raise SystemExit(f"adapter {name}: nothing lies under s3://{bucket.name}/{prefix}")
    for key in found:
        if not key.endswith("/"):
            file = pathlib.Path(os.environ["ADAPTERS_FOLDER"], name, key.removeprefix(prefix))
            file.parent.mkdir(parents=True, exist_ok=True)
            bucket.download_file(key, str(file))
"""  # noqa: E501 - a script of the container's
"""vLLM reads adapters from a folder or from the hub, not from S3. boto3 is in engines' images for the weights' sake."""


class Part(NamedTuple):
    """One Deployment of a model's engines."""

    name: str
    marks: dict[str, str]
    replicas: int
    pools: tuple[str, ...]
    """Where its pods may run; the first is preferred where there are two and `prefers` says so."""
    prefers: str | None
    scaled: bool


def split(replicas: int, spot_share: int) -> tuple[int, int]:
    """Engines on demand and on spot; what does not divide stays on demand."""
    on_spot = replicas * spot_share // 100
    return replicas - on_spot, on_spot


def parts(engine: EngineShape, colour: str) -> list[Part]:
    """One Deployment; two where a share of the engines is kept off spot: the floor, and what comes and goes."""
    mine = manifests.labels("engine", colour, engine["model"])
    name = manifests.engine_name(engine["slug"], colour)
    share = engine.get("spot_share")
    scaled = "scaling" in engine
    if share is None:
        return [Part(name, mine, engine["replicas"], GPU_POOLS, None, scaled)]
    if share == 0:
        return [Part(name, mine, engine["replicas"], (ON_DEMAND_POOL,), None, scaled)]
    if share == 100:
        return [Part(name, mine, engine["replicas"], GPU_POOLS, SPOT_POOL, scaled)]
    floor, on_spot = split(engine["replicas"], share)
    slug = engine["slug"]
    return [
        Part(
            manifests.engine_name(f"{slug}-floor", colour),
            mine | {PART_LABEL: "on-demand"},
            floor,
            (ON_DEMAND_POOL,),
            None,
            scaled=False,
        ),
        Part(
            manifests.engine_name(f"{slug}-spot", colour),
            mine | {PART_LABEL: "spot"},
            on_spot,
            GPU_POOLS,
            SPOT_POOL,
            scaled,
        ),
    ]


def deployment(
    engine: EngineShape,
    part: Part,
    *,
    namespace: pulumi.Input[str],
    image: pulumi.Input[str],
    zones: int,
    drain: DrainShape,
    probes: ProbesShape,
) -> Manifest:
    return manifests.deployment(
        name=part.name,
        namespace=namespace,
        mine=part.marks,
        replicas=part.replicas,
        # No spare GPU is kept for an update: one engine goes, then one comes.
        strategy={"maxSurge": 0, "maxUnavailable": 1},
        startup_seconds=engine["startup_seconds"],
        pod=_pod(engine, part, image, zones, drain, probes),
    )


def group(
    engine: EngineShape,
    part: Part,
    *,
    namespace: pulumi.Input[str],
    image: pulumi.Input[str],
    zones: int,
    drain: DrainShape,
    probes: ProbesShape,
) -> Manifest:
    """An engine of several pods, as a LeaderWorkerSet: the first pod answers, the others compute for it."""
    leader = _pod(engine, part, image, zones, drain, probes)
    # The pods of one engine talk to each other all the time, and the fast network does not cross zones.
    mine = {"matchLabels": {"penstock.dev/model": engine["model"]}, "matchLabelKeys": [GROUP_KEY]}
    leader["affinity"] |= {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": ZONE_LABEL,
                    "labelSelector": {"matchLabels": mine["matchLabels"]},
                    "matchLabelKeys": mine["matchLabelKeys"],
                }
            ]
        }
    }
    (container,) = leader["containers"]
    silent = {key: value for key, value in container.items() if not key.endswith("Probe") and key != "ports"}
    worker = {
        **leader,
        "containers": [
            {**silent, "args": [*container["args"], *ENGINES[engine["kind"]].worker_arguments]},
        ],
        "topologySpreadConstraints": [],
    }
    return {
        "metadata": {"name": part.name, "namespace": namespace, "labels": part.marks},
        "spec": {
            "replicas": part.replicas,
            "startupPolicy": "LeaderCreated",
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "leaderWorkerTemplate": {
                "size": engine["nodes"],
                # An engine that lost a part of itself is of no use.
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": {"metadata": {"labels": part.marks}, "spec": leader},
                "workerTemplate": {
                    "metadata": {"labels": part.marks | {"app.kubernetes.io/name": WORKER}},
                    "spec": worker,
                },
            },
        },
    }


def group_definition() -> Manifest:
    """The `spec` of LeaderWorkerSet's CustomResourceDefinition, open: the controller's own may take its place."""
    return open_definition(
        GROUP,
        GROUP_VERSION,
        GROUP_KIND,
        "leaderworkersets",
        "leaderworkerset",
        required=["leaderWorkerTemplate"],
        namespaced=True,
    )


def _pod(
    engine: EngineShape,
    part: Part,
    image: pulumi.Input[str],
    zones: int,
    drain: DrainShape,
    probes: ProbesShape,
) -> Manifest:
    kind = ENGINES[engine["kind"]]
    fetched = _fetched(engine)
    container = {
        "name": "engine",
        "image": image,
        **({"command": list(kind.command)} if kind.command else {}),
        "args": kind.arguments(engine, drain["engine_shutdown_seconds"]),
        "env": [
            pods.from_field("POD_IP", "status.podIP"),
            {"name": "HOME", "value": CACHE_FOLDER},
            *({"name": name, "value": value} for name, value in kind.environment.items()),
        ],
        "ports": [{"name": "http", "containerPort": ENGINE_PORT, "protocol": "TCP"}],
        "resources": {
            "requests": pods.size(engine["cpu_millicores"], engine["memory_mib"]),
            "limits": {"memory": f"{engine['memory_mib']}Mi", "nvidia.com/gpu": str(engine["gpus"])},
        },
        **pods.http_probes(kind.startup_path, kind.ready_path, kind.live_path, probes, engine["startup_seconds"]),
        "lifecycle": pods.pre_stop(drain),
        # The NVIDIA runtime hook writes to the root file system: it cannot be read-only.
        "securityContext": pods.container_security(read_only=False),
        "volumeMounts": [
            {"name": "cache", "mountPath": CACHE_FOLDER},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - a volume of the pod's own
            *([{"name": "adapters", "mountPath": ADAPTERS_FOLDER, "readOnly": True}] if fetched else []),
        ],
    }
    return {
        "serviceAccountName": "engine",
        "priorityClassName": pods.BATCH_PRIORITY_CLASS if engine["batch"] else pods.INTERACTIVE_PRIORITY_CLASS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": drain["grace_seconds"],
        "securityContext": pods.pod_security(),
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        # Without it a zone that has system nodes alone would count as one to spread over.
        "affinity": _affinity(part, engine),
        "topologySpreadConstraints": [
            pods.spread(ZONE_LABEL, part.marks, at_least=pods.zones_to_wait_for(part.replicas, zones)),
            # A part that belongs on one kind of capacity is not to be spread over both.
            *([pods.spread(CAPACITY_LABEL, part.marks)] if part.prefers is None and len(part.pools) > 1 else []),
        ],
        **({"initContainers": [_fetcher(engine, image, fetched)]} if fetched else {}),
        "containers": [container],
        "volumes": [
            # Outlives the container, so that a restarted engine does not compile again.
            {"name": "cache", "emptyDir": {"sizeLimit": f"{engine['compile_cache_mib']}Mi"}},
            {
                "name": "shared-memory",
                "emptyDir": {"medium": "Memory", "sizeLimit": f"{engine['shared_memory_mib']}Mi"},
            },
            *([{"name": "adapters", "emptyDir": {}}] if fetched else []),
        ],
    }


def _affinity(part: Part, engine: EngineShape) -> Manifest:
    wanted = pods.only_pools(part.pools)
    node = wanted["nodeAffinity"]
    (term,) = node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    if engine["instance_types"]:
        term["matchExpressions"].append({"key": TYPE_LABEL, "operator": "In", "values": list(engine["instance_types"])})
    if engine.get("own_nodes"):
        colour = part.marks["penstock.dev/colour"]
        term["matchExpressions"].append({"key": pods.NODE_COLOUR_LABEL, "operator": "In", "values": [colour]})
    if part.prefers:
        # A preference: where spot is dry the pods start on demand.
        expression = {"key": pods.POOL_LABEL, "operator": "In", "values": [part.prefers]}
        node["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": 100, "preference": {"matchExpressions": [expression]}}
        ]
    return wanted


def _fetched(engine: EngineShape) -> dict[str, str]:
    """Adapters that lie in the weights bucket: prefix by name, with one slash at its end."""
    return {
        each["name"]: each["source"].removeprefix(WEIGHTS_SCHEME).rstrip("/") + "/"
        for each in engine["lora_adapters"]
        if each["source"].startswith(WEIGHTS_SCHEME)
    }


def _fetcher(engine: EngineShape, image: pulumi.Input[str], fetched: dict[str, str]) -> Manifest:
    return {
        "name": "adapters",
        "image": image,
        "command": ["python3", "-c", FETCH_ADAPTERS],
        "env": [
            {"name": "HOME", "value": CACHE_FOLDER},
            {"name": "ADAPTERS", "value": json.dumps(fetched, sort_keys=True)},
            {"name": "ADAPTERS_FOLDER", "value": ADAPTERS_FOLDER},
            {"name": "ADAPTERS_BUCKET", "value": engine.get("lora_bucket", "")},
        ],
        "resources": {"requests": pods.size(500, 512), "limits": {"memory": "512Mi"}},
        "securityContext": pods.container_security(read_only=False),
        "volumeMounts": [
            {"name": "cache", "mountPath": CACHE_FOLDER},
            {"name": "adapters", "mountPath": ADAPTERS_FOLDER},
        ],
    }
