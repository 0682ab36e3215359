"""The cluster: control plane, add-ons, node groups, pod identities, and the provider that speaks to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components import policies
from components.cluster import Cluster as ControlPlane
from components.nodes import NodeGroups, NodeGroupShape
from components.role import ServiceRole
from infra.foundation import Foundation
from infra.offerings import types_are_offered
from infra.settings import Settings
from infra.settings.model import NodeGroup, SpotNodeGroup
from infra.settings.network_rules import UNFIT_ZONE_IDS


@dataclass(frozen=True)
class Cluster:
    name: str
    arn: str
    control_plane_name: pulumi.Output[str]
    """The same name, for what must wait for the cluster."""
    security_group_id: pulumi.Output[str]
    """EKS's own group."""
    kubeconfig: pulumi.Output[str]
    """Secret. Its user runs `penstock eks-token`."""
    provider: k8s.Provider
    """Waits for nodes and access: what is made through it can run."""


def build_cluster(settings: Settings, foundation: Foundation, stack: str, provider: pulumi.ProviderResource) -> Cluster:
    opts = pulumi.ResourceOptions(providers=[provider])
    name = f"penstock-{stack}"
    region = settings.aws.region
    arn = f"arn:{foundation.partition}:eks:{region}:{settings.aws.account_id}:cluster/{name}"
    control_plane = ControlPlane(
        "cluster",
        {
            "partition": foundation.partition,
            "cluster_name": name,
            "version": settings.cluster.version,
            "support": settings.cluster.support,
            "subnet_ids": pulumi.Output.all(foundation.private_subnet_ids, foundation.zone_ids).apply(
                lambda known: fit_for_a_control_plane(*known)
            ),
            "public_endpoint_cidrs": settings.cluster.public_endpoint_cidrs,
            "administrators": settings.cluster.administrators,
            "secrets_key_arn": foundation.keys.cluster,
            "logs_key_arn": foundation.keys.logs,
            "log_retention_days": settings.cluster.log_retention_days,
            "protected": settings.protected,
        },
        opts,
    )
    zones = settings.network.zones
    subnet_ids: Sequence[pulumi.Output[str]] = [foundation.private_subnet_ids[index] for index in range(len(zones))]
    spot = settings.node_groups.gpu_spot
    addons = settings.cluster.addon_versions
    offered = types_are_offered(settings, provider)
    nodes = NodeGroups(
        "nodes",
        {
            "partition": foundation.partition,
            "cluster_name": control_plane.cluster_name,
            "zones": zones,
            "subnet_ids": subnet_ids,
            "security_group_ids": [control_plane.security_group_id, foundation.security_groups.nodes_id],
            "volumes_key_arn": foundation.keys.volumes,
            "addon_versions": {
                "vpc_cni": addons.vpc_cni,
                "pod_identity_agent": addons.pod_identity_agent,
                "kube_proxy": addons.kube_proxy,
                "coredns": addons.coredns,
                "metrics_server": addons.metrics_server,
                "node_monitoring_agent": addons.node_monitoring_agent,
            },
            "system": _shape(settings.node_groups.system, offered),
            "gpu": _shape(settings.node_groups.gpu, offered),
            "gpu_spot": {
                **_rollout(spot),
                "ami_type": spot.ami_type,
                "instance_types": offered.apply(lambda _: list(spot.instance_types)),
                "min_nodes": spot.min_nodes_per_zone,
                "desired_nodes": spot.desired_nodes_per_zone,
                "max_nodes": spot.max_nodes_per_zone,
                "volume_gib": spot.volume_gib,
            },
            "reserved": [
                {
                    "name": each.name,
                    "reservation_id": each.id,
                    "capacity_block": each.kind == "capacityBlock",
                    "zone": each.zone,
                    "instance_type": offered.apply(lambda _, kind=each.instance_type: kind),
                    "nodes": each.nodes,
                }
                for each in settings.node_groups.reservations
                if each.used_by == "nodeGroup"
            ],
        },
        opts,
    )
    identities = [_engines_identity(settings, foundation, control_plane, provider)] if settings.runs_engines else []
    kubeconfig = pulumi.Output.secret(
        pulumi.Output.all(control_plane.endpoint, control_plane.certificate_authority).apply(
            lambda parts: kubeconfig_of(name, region, endpoint=parts[0], certificate_authority=parts[1])
        )
    )
    kubernetes = k8s.Provider(
        "kubernetes",
        kubeconfig=kubeconfig,
        # Only a new cluster replaces the provider and all that hangs on it, not a new address or certificate.
        cluster_identifier=arn,
        enable_server_side_apply=True,
        opts=pulumi.ResourceOptions(depends_on=[control_plane, nodes, *identities]),
    )
    return Cluster(
        name=name,
        arn=arn,
        control_plane_name=control_plane.cluster_name,
        security_group_id=control_plane.security_group_id,
        kubeconfig=kubeconfig,
        provider=kubernetes,
    )


def _engines_identity(
    settings: Settings, foundation: Foundation, control_plane: ControlPlane, provider: pulumi.ProviderResource
) -> aws.eks.PodIdentityAssociation:
    role = ServiceRole(
        "engine",
        {
            "services": ["pods.eks.amazonaws.com"],
            "description": "Engines: read model weights",
            "managed_policies": [],
            "policy": pulumi.Output.all(foundation.weights_bucket_arn, foundation.keys.weights).apply(
                lambda arns: policies.dumps(policies.read_weights(arns[0], arns[1]))
            ),
        },
        pulumi.ResourceOptions(providers=[provider]),
    )
    return aws.eks.PodIdentityAssociation(
        "engine",
        cluster_name=control_plane.cluster_name,
        namespace=settings.namespace,
        service_account="engine",
        role_arn=role.arn,
        opts=pulumi.ResourceOptions(provider=provider),
    )


def fit_for_a_control_plane(subnet_ids: Sequence[str], zone_ids: Mapping[str, str]) -> Sequence[str]:
    """The subnets, once it is known that EKS takes their zones. A first preview does not know the zones' ids, the
    update stops before the cluster; `penstock preflight` asks AWS beforehand.

    Raises pulumi.RunError for a zone in which EKS puts no control plane.
    """
    unfit = sorted(zone for zone, zone_id in zone_ids.items() if zone_id in UNFIT_ZONE_IDS)
    if unfit:
        fit = ", ".join(sorted(set(zone_ids) - set(unfit)))
        raise pulumi.RunError(
            f"penstock:network.zones: {', '.join(unfit)} is a zone in which EKS puts no control plane in this account "
            f"({', '.join(zone_ids[zone] for zone in unfit)}); allowed: {fit}, and other zones of the region"
        )
    return subnet_ids


def kubeconfig_of(name: str, region: str, *, endpoint: str, certificate_authority: str) -> str:
    """A kubeconfig without credentials: each client gets a token of its own from its AWS identity."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": endpoint, "certificate-authority-data": certificate_authority},
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
            "users": [
                {
                    "name": name,
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1",
                            "command": "penstock",
                            "args": ["eks-token", "--cluster", name, "--region", region],
                            "interactiveMode": "Never",
                        }
                    },
                }
            ],
        }
    )


def _shape(group: NodeGroup, offered: pulumi.Output[bool]) -> NodeGroupShape:
    """No group is made before its instance types are known to be offered."""
    return {
        **_rollout(group),
        "ami_type": group.ami_type,
        "instance_types": offered.apply(lambda _: list(group.instance_types)),
        "min_nodes": group.min_nodes,
        "desired_nodes": group.desired_nodes,
        "max_nodes": group.max_nodes,
        "volume_gib": group.volume_gib,
    }


class _Rollout(TypedDict):
    version: NotRequired[str]
    release_version: NotRequired[str]
    max_unavailable: int


def _rollout(group: NodeGroup | SpotNodeGroup) -> _Rollout:
    """What moves nodes to another Kubernetes or image, and how many at a time. What is not pinned is not sent."""
    found = _Rollout(max_unavailable=group.max_unavailable)
    if group.version:
        found["version"] = group.version
    if group.release_version:
        found["release_version"] = group.release_version
    return found
