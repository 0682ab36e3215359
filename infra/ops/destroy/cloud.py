"""What a destroy asks of AWS besides Pulumi: instances, targets, and the interfaces that hold a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

ENDED = frozenset({"terminated", "shutting-down"})
OF_THE_CLUSTER = ("aws-K8S-", "aws-k8s-", "Amazon EKS ")
"""Descriptions of the interfaces that the VPC CNI and EKS leave (amazon-vpc-cni-k8s, "leaked ENIs")."""
OF_THE_CLUSTER_TAGS = frozenset({"node.k8s.amazonaws.com/instance_id", "cluster.k8s.amazonaws.com/name"})
OF_THE_NETWORK = frozenset({"nat_gateway", "vpc_endpoint", "gateway_load_balancer_endpoint"})
OF_THE_NETWORK_TEXTS = ("Interface for NAT Gateway", "VPC Endpoint Interface")
"""Pulumi deletes these with the gateways and endpoints that they belong to."""


@dataclass(frozen=True)
class AwsWorld:
    """`finalizers.World` over EC2 and ELB clients."""

    ec2: Any
    elb: Any

    def instance_gone(self, instance: str) -> bool:
        try:
            found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"]
        except self.ec2.exceptions.ClientError as error:
            if "NotFound" in error.response["Error"]["Code"]:
                return True
            raise
        states = [each["State"]["Name"] for group in found for each in group["Instances"]]
        return all(state == "terminated" for state in states)

    def end_instance(self, instance: str) -> None:
        self.ec2.terminate_instances(InstanceIds=[instance])

    def targets_gone(self, target_group: str) -> bool:
        return not self._targets(target_group)

    def take_targets_out(self, target_group: str) -> None:
        if targets := self._targets(target_group):
            self.elb.deregister_targets(TargetGroupArn=target_group, Targets=targets)

    def _targets(self, target_group: str) -> list[dict[str, Any]]:
        """Those that are not on their way out already."""
        try:
            found = self.elb.describe_target_health(TargetGroupArn=target_group)["TargetHealthDescriptions"]
        except self.elb.exceptions.ClientError as error:
            if "NotFound" in error.response["Error"]["Code"]:
                return []
            raise
        return [each["Target"] for each in found if each["TargetHealth"]["State"] != "draining"]


@dataclass(frozen=True)
class Interface:
    id: str
    description: str
    free: bool
    """Attached to nothing."""
    ours: bool
    """Left by the cluster's own networking."""

    def __str__(self) -> str:
        return f"{self.id} ({self.description or 'no description'})"


def interfaces(ec2: Any, vpc: str) -> list[Interface]:
    """Those that hold a network's subnets, without the ones that Pulumi deletes itself."""
    pages = ec2.get_paginator("describe_network_interfaces").paginate(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    return list(holding(each for page in pages for each in page["NetworkInterfaces"]))


def holding(found: Iterable[dict[str, Any]]) -> Iterable[Interface]:
    for each in found:
        text = each.get("Description") or ""
        if each.get("InterfaceType") in OF_THE_NETWORK or text.startswith(OF_THE_NETWORK_TEXTS):
            continue
        tags = {tag["Key"] for tag in each.get("TagSet") or ()}
        ours = text.startswith(OF_THE_CLUSTER) or bool(tags & OF_THE_CLUSTER_TAGS)
        yield Interface(each["NetworkInterfaceId"], text, each.get("Status") == "available", ours)


def delete_free(ec2: Any, found: Sequence[Interface]) -> list[Interface]:
    """Deletes what the cluster has left and nothing uses. Returns what was deleted."""
    gone = []
    for each in found:
        if each.free and each.ours:
            ec2.delete_network_interface(NetworkInterfaceId=each.id)
            gone.append(each)
    return gone
