"""Karpenter's Kubernetes objects, as plain data in Kubernetes' own spelling. Pure functions.

Types that Penstock writes are closed (karpenter_types.py); NodeClaims, which Karpenter writes, are open. Its own
definitions may take their place. Their defaults do not stand in ours, so each pool names every value.
"""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from components import karpenter_types, pods
from components.controller import on_system_nodes
from components.definitions import open_definition
from components.manifests import PART_OF, ZONE_LABEL
from components.pods import Manifest

NAME = "karpenter"
NAMESPACE = "kube-system"
NODE_CLASS = "gpu"
CORE_GROUP = "karpenter.sh"
AWS_GROUP = "karpenter.k8s.aws"
METRICS_PORT = 8080
HEALTH_PORT = 8081
CPU_MILLICORES = 250
MEMORY_MIB = 1024
RESERVED_WEIGHT = 100
SPOT_WEIGHT = 50
ON_DEMAND_WEIGHT = 10
MARKS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": PART_OF}
READ = ["get", "list", "watch"]


class ReservedPool(TypedDict):
    name: str
    """The pool is named `gpu-reserved-<name>`."""
    reservation_id: str
    zone: str
    """Full name."""
    instance_type: str
    gpus: int
    """Ceiling of the pool."""


class PoolShape(TypedDict):
    zones: Sequence[str]
    """Full names, such as eu-central-1a."""
    instance_types: Sequence[str]
    """EC2 instance types that it may start, all of the one architecture."""
    architecture: str
    """amd64 or arm64."""
    labels: Mapping[str, str]
    """More labels of the nodes."""
    max_gpus: int
    """Ceiling of each pool, in GPUs; pools in reservations have their own."""
    expire_after_hours: int
    """A node is replaced at this age."""
    termination_grace_hours: int
    """Pods that are still on a leaving node after this are killed."""
    consolidate_after_minutes: int
    """A node that has been empty for so long goes."""
    colours: NotRequired[Sequence[str]]
    """Each has pools and a node class of its own; without them there is one set for all engines."""
    reserved: NotRequired[Sequence[ReservedPool]]
    """A pool for each, tried before all others: what is reserved is paid for."""
    returns_to_spot: NotRequired[bool]
    """Engines that fell back to nodes on demand go to spot again, one node at a time and out of working hours."""


def definitions() -> dict[str, Manifest]:
    """The `spec` of each CustomResourceDefinition, by its short name."""
    return {
        "node-pools": open_definition(
            CORE_GROUP, "v1", "NodePool", "nodepools", "nodepool", spec=karpenter_types.node_pool()
        ),
        "node-claims": open_definition(
            CORE_GROUP, "v1", "NodeClaim", "nodeclaims", "nodeclaim", required=["nodeClassRef", "requirements"]
        ),
        "node-classes": open_definition(
            AWS_GROUP, "v1", "EC2NodeClass", "ec2nodeclasses", "ec2nodeclass", spec=karpenter_types.node_class()
        ),
    }


def cluster_rules() -> list[Manifest]:
    """What the controller may do in the whole cluster (its chart's core and AWS cluster roles, version 1.14)."""
    return [
        _rule(CORE_GROUP, ["nodepools", "nodeclaims", "nodeoverlays"], READ),
        _rule(CORE_GROUP, ["nodeclaims", "nodeclaims/status"], ["create", "delete", "update", "patch"]),
        _rule(CORE_GROUP, ["nodepools", "nodepools/status"], ["update", "patch"]),
        _rule(AWS_GROUP, ["ec2nodeclasses"], READ),
        _rule(AWS_GROUP, ["ec2nodeclasses", "ec2nodeclasses/status"], ["update", "patch"]),
        _rule("", ["pods", "nodes", "persistentvolumes", "persistentvolumeclaims"], READ),
        _rule("", ["replicationcontrollers", "namespaces", "podtemplates"], READ),
        _rule("storage.k8s.io", ["storageclasses", "csinodes", "volumeattachments"], READ),
        _rule("apps", ["daemonsets", "deployments", "replicasets", "statefulsets"], READ),
        _rule("policy", ["poddisruptionbudgets"], READ),
        _rule("resource.k8s.io", ["deviceclasses", "resourceclaims", "resourceslices"], READ),
        _rule("", ["events"], [*READ, "create", "patch"]),
        _rule("", ["nodes"], ["patch", "delete", "update"]),
        _rule("", ["pods/eviction"], ["create"]),
        _rule("", ["pods"], ["delete"]),
    ]


def own_rules() -> list[Manifest]:
    """In its own namespace: the lease by which one replica leads."""
    return [
        _rule("coordination.k8s.io", ["leases"], ["get", "watch", "create"]),
        {
            **_rule("coordination.k8s.io", ["leases"], ["patch", "update"]),
            "resourceNames": ["karpenter-leader-election"],
        },
        {**_rule("", ["services"], ["get"]), "resourceNames": ["kube-dns"]},
    ]


def lease_rules() -> list[Manifest]:
    """In kube-node-lease: the leases of nodes that are gone."""
    return [_rule("coordination.k8s.io", ["leases"], [*READ, "delete"])]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> Manifest:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


def deployment(
    *, image: pulumi.Input[str], replicas: int, cluster: str, region: str, queue: pulumi.Input[str], isolated: bool
) -> Manifest:
    """The controller. It runs on the managed system nodes: it cannot depend on nodes that it makes itself."""
    probe = {"httpGet": {"port": "http"}, "timeoutSeconds": 30}
    settings = {
        "AWS_REGION": region,
        "CLUSTER_NAME": cluster,
        "ISOLATED_VPC": str(isolated).lower(),
        "INTERRUPTION_QUEUE": queue,
        "KARPENTER_SERVICE": NAME,
        "METRICS_PORT": str(METRICS_PORT),
        "HEALTH_PROBE_PORT": str(HEALTH_PORT),
        "MEMORY_LIMIT": str(MEMORY_MIB * 1024 * 1024),
        "LOG_LEVEL": "info",
        # Respecting soft spreads would start GPU nodes for a preference alone.
        "PREFERENCE_POLICY": "Ignore",
        "BATCH_MAX_DURATION": "10s",
        "BATCH_IDLE_DURATION": "1s",
        "FEATURE_GATES": "ReservedCapacity=true,SpotToSpotConsolidation=false,NodeRepair=false",
    }
    container = {
        "name": "controller",
        "image": image,
        "env": [
            pods.from_field("SYSTEM_NAMESPACE", "metadata.namespace"),
            *({"name": name, "value": value} for name, value in settings.items()),
        ],
        "ports": [
            {"name": "http-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            {"name": "http", "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "livenessProbe": {**probe, "httpGet": {"path": "/healthz", "port": "http"}, "initialDelaySeconds": 30},
        "readinessProbe": {**probe, "httpGet": {"path": "/readyz", "port": "http"}, "initialDelaySeconds": 5},
        "resources": {"requests": pods.size(CPU_MILLICORES, MEMORY_MIB), "limits": {"memory": f"{MEMORY_MIB}Mi"}},
        "securityContext": pods.container_security(read_only=True),
    }
    return on_system_nodes(NAME, NAMESPACE, MARKS, replicas, container)


def node_class(
    *,
    ami_alias: str,
    instance_profile: pulumi.Input[str],
    subnet_ids: Sequence[pulumi.Input[str]],
    security_group_ids: Sequence[pulumi.Input[str]],
    volumes_key_arn: pulumi.Input[str],
    volume_gib: int,
    tags: Mapping[str, str],
    reservation_ids: Sequence[str] = (),
) -> Manifest:
    """The `spec` of an EC2NodeClass: as the launch templates of the managed groups have it."""
    # Bottlerocket keeps images and pods on its second volume.
    device = "/dev/xvdb" if ami_alias.startswith("bottlerocket@") else "/dev/xvda"
    return {
        "amiSelectorTerms": [{"alias": ami_alias}],
        "instanceProfile": instance_profile,
        "subnetSelectorTerms": [{"id": each} for each in subnet_ids],
        "securityGroupSelectorTerms": [{"id": each} for each in security_group_ids],
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpProtocolIPv6": "disabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
        },
        "blockDeviceMappings": [
            {
                "deviceName": device,
                "ebs": {
                    "encrypted": True,
                    "kmsKeyID": volumes_key_arn,
                    "volumeType": "gp3",
                    "volumeSize": f"{volume_gib}Gi",
                    "deleteOnTermination": True,
                },
            }
        ],
        # With no terms Karpenter starts nodes on demand into any open reservation of the account.
        **({"capacityReservationSelectorTerms": [{"id": each} for each in reservation_ids]} if reservation_ids else {}),
        "tags": dict(tags),
    }


def owners(shape: PoolShape) -> Sequence[str | None]:
    """The colours that have nodes of their own; None alone where all engines share them."""
    return shape.get("colours") or [None]


def of_owner(name: str, owner: str | None) -> str:
    return f"{name}-{owner}" if owner else name


def node_pools(shape: PoolShape) -> dict[str, tuple[str | None, Manifest]]:
    """Owner and `spec` of each NodePool by name: reservations are tried first, then spot; on demand stands behind."""
    reserved = {
        f"gpu-reserved-{each['name']}": (
            None,
            _pool(
                "gpu",
                None,
                "reserved",
                RESERVED_WEIGHT,
                {
                    **shape,
                    "zones": [each["zone"]],
                    "instance_types": [each["instance_type"]],
                    "max_gpus": each["gpus"],
                    "returns_to_spot": False,
                },
            ),
        )
        for each in shape.get("reserved", ())
    }
    return reserved | {
        of_owner(pool, owner): (owner, _pool(pool, owner, capacity, weight, shape))
        for owner in owners(shape)
        for pool, capacity, weight in (("gpu-spot", "spot", SPOT_WEIGHT), ("gpu", "on-demand", ON_DEMAND_WEIGHT))
    }


def _pool(pool: str, owner: str | None, capacity: str, weight: int, shape: PoolShape) -> Manifest:
    owned = {pods.NODE_COLOUR_LABEL: owner} if owner else {}
    # A node on demand is given up for a cheaper one where its pods may run on that: on spot. Pods of a floor may not.
    returns = capacity == "on-demand" and shape.get("returns_to_spot", False)
    return {
        "weight": weight,
        "limits": {"nvidia.com/gpu": str(shape["max_gpus"])},
        "template": {
            "metadata": {"labels": {pods.POOL_LABEL: pool, **owned, **shape["labels"]}},
            "spec": {
                "nodeClassRef": {"group": AWS_GROUP, "kind": "EC2NodeClass", "name": of_owner(NODE_CLASS, owner)},
                "taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}],
                "requirements": [
                    _one_of("karpenter.sh/capacity-type", [capacity]),
                    _one_of("kubernetes.io/arch", [shape["architecture"]]),
                    _one_of("node.kubernetes.io/instance-type", shape["instance_types"]),
                    _one_of(ZONE_LABEL, shape["zones"]),
                ],
                "expireAfter": f"{shape['expire_after_hours']}h",
                # Without it a pod that never leaves would hold an expired node for ever.
                "terminationGracePeriod": f"{shape['termination_grace_hours']}h",
            },
        },
        "disruption": {
            "consolidationPolicy": "WhenEmptyOrUnderutilized" if returns else "WhenEmpty",
            "consolidateAfter": f"{shape['consolidate_after_minutes']}m",
            "budgets": [
                {"nodes": "1"},
                # Nothing but an empty node goes in working hours (UTC).
                {
                    "nodes": "0",
                    "schedule": "0 6 * * mon-fri",
                    "duration": "12h",
                    "reasons": ["Drifted", "Underutilized"],
                },
            ],
        },
    }


def _one_of(key: str, values: Sequence[str]) -> Manifest:
    return {"key": key, "operator": "In", "values": list(values)}
