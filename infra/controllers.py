"""Controllers that run in the cluster and act on AWS. A stack leaves one out by `enabled: false`, and those for
engines by having none."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from components.device_plugin import DevicePlugin
from components.karpenter import Karpenter
from components.keda import Keda
from components.load_balancer_controller import LoadBalancerController
from components.pods import DEVICE_PLUGIN_LABEL
from components.shares import COLOURS
from infra.certificates import self_signed
from infra.cluster import Cluster
from infra.foundation import Foundation
from infra.settings import Settings
from infra.settings.accelerators import gpus_of
from infra.settings.versions import architecture_of, needs_device_plugin_alias

ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
"""EC2's names of processors -> Kubernetes'."""


def build_controllers(
    settings: Settings, foundation: Foundation, cluster: Cluster, provider: pulumi.ProviderResource
) -> None:
    plugin = settings.controllers.device_plugin
    if plugin.enabled and settings.may_have_gpus:
        DevicePlugin(
            "device-plugin",
            {"image": pulumi.Output.concat(foundation.image_urls["device-plugin"], "@", plugin.image)},
            pulumi.ResourceOptions(providers=[cluster.provider]),
        )
    wanted = settings.controllers.karpenter
    if not (wanted.enabled and settings.runs_engines):
        return
    zones = settings.network.zones
    Karpenter(
        "karpenter",
        {
            "partition": foundation.partition,
            "region": settings.aws.region,
            "account_id": settings.aws.account_id,
            "cluster_name": cluster.control_plane_name,
            "cluster": cluster.name,
            "image": pulumi.Output.concat(foundation.image_urls["karpenter"], "@", wanted.image),
            "replicas": wanted.replicas,
            "isolated": settings.network.nat_gateways == "none",
            "ami_alias": wanted.ami_alias,
            "volume_gib": wanted.volume_gib,
            "subnet_ids": [foundation.private_subnet_ids[index] for index in range(len(zones))],
            "security_group_ids": [cluster.security_group_id, foundation.security_groups.nodes_id],
            "volumes_key_arn": foundation.keys.volumes,
            "messages_key_arn": foundation.keys.messages,
            "pools": {
                "zones": [f"{settings.aws.region}{zone}" for zone in zones],
                "instance_types": wanted.instance_types,
                "architecture": ARCHITECTURES[architecture_of(wanted.instance_types[0])],
                "labels": {DEVICE_PLUGIN_LABEL: "needed"} if needs_device_plugin_alias(wanted.ami_alias) else {},
                "max_gpus": wanted.max_gpus,
                "expire_after_hours": wanted.expire_after_hours,
                "termination_grace_hours": wanted.termination_grace_hours,
                "consolidate_after_minutes": wanted.consolidate_after_minutes,
                "colours": COLOURS if wanted.per_colour else [],
                "reserved": [
                    {
                        "name": each.name,
                        "reservation_id": each.id,
                        "zone": f"{settings.aws.region}{each.zone}",
                        "instance_type": each.instance_type,
                        "gpus": each.nodes * gpus_of(each.instance_type),
                    }
                    for each in settings.node_groups.reservations
                    if each.used_by == "karpenter"
                ],
                "returns_to_spot": any(model.spot_share for model in settings.models),
            },
        },
        pulumi.ResourceOptions(providers=[provider, cluster.provider]),
    )


def bind_targets(
    settings: Settings,
    foundation: Foundation,
    cluster: Cluster,
    namespace: pulumi.Output[str],
    target_groups: Mapping[str, pulumi.Output[str]],
    provider: pulumi.ProviderResource,
) -> LoadBalancerController | None:
    """What registers gateways with the load balancer. Their pods wait for it, so that a destroy ends it after them."""
    wanted = settings.controllers.load_balancer
    if not wanted.enabled:
        return None
    certificate = self_signed("aws-load-balancer-webhook-service.kube-system.svc")
    return LoadBalancerController(
        "load-balancer-controller",
        {
            "region": settings.aws.region,
            "cluster_name": cluster.control_plane_name,
            "cluster": cluster.name,
            "vpc_id": foundation.vpc_id,
            "namespace": namespace,
            "image": pulumi.Output.concat(foundation.image_urls["load-balancer-controller"], "@", wanted.image),
            "replicas": wanted.replicas,
            "target_group_arns": list(target_groups.values()),
            "webhook_certificate": certificate.certificate,
            "webhook_key": pulumi.Output.secret(certificate.key),
        },
        pulumi.ResourceOptions(providers=[provider, cluster.provider]),
    )


def build_keda(
    settings: Settings, foundation: Foundation, cluster: Cluster, namespace: pulumi.Output[str]
) -> Keda | None:
    """What scaled objects need. They wait for it, so that a destroy ends it after them."""
    wanted = settings.controllers.keda
    if not (wanted.enabled and settings.runs_engines):
        return None
    urls = foundation.image_urls
    return Keda(
        "keda",
        {
            "cluster": cluster.name,
            "vpc_cidr": settings.network.cidr,
            "namespace": namespace,
            "operator_image": pulumi.Output.concat(urls["keda"], "@", wanted.operator_image),
            "adapter_image": pulumi.Output.concat(urls["keda-metrics-apiserver"], "@", wanted.adapter_image),
            "replicas": wanted.replicas,
        },
        pulumi.ResourceOptions(providers=[cluster.provider]),
    )
