"""Managed node groups and the add-ons around them, in the order in which a node needs them."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.arns import supported
from components.pods import POOL_LABEL, device_plugin_label
from components.role import ServiceRole
from components.spend import PART_TAG, STACK_TAG, part

GPU_TAINT: aws.eks.NodeGroupTaintArgsDict = {"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}
"""Keeps pods without a GPU off expensive nodes; engines tolerate it."""

NETWORK_POLICIES_ON = '{"enableNetworkPolicy":"true"}'
"""Configuration of the VPC CNI: without it NetworkPolicy objects do nothing on EKS."""


class NodeGroupShape(TypedDict):
    version: NotRequired[str]
    """Kubernetes version of the nodes, such as 1.36. Without it: that of the cluster when the group is made."""
    release_version: NotRequired[str]
    """Release of the node image. Without it: the newest when the group is made or its version changes."""
    max_unavailable: NotRequired[int]
    """Nodes that are exchanged at a time; 1 where it is not given."""
    ami_type: str
    """EKS AMI type, such as BOTTLEROCKET_x86_64_NVIDIA."""
    instance_types: pulumi.Input[Sequence[str]]
    """EC2 instance types of the nodes, such as g6.xlarge; with several a spot group stays full more easily."""
    min_nodes: int
    """Fewest nodes; 0 is allowed."""
    desired_nodes: int
    """Nodes that the group is to have, from the fewest to the most."""
    max_nodes: int
    """Most nodes; 0 makes no such group, which `system` cannot do without."""
    volume_gib: int


class ReservedShape(TypedDict):
    name: str
    """The group is named `reserved-<name>`."""
    reservation_id: str
    capacity_block: bool
    """A Capacity Block for ML; else an On-Demand Capacity Reservation."""
    zone: str
    """Zone letter: a reservation is in one zone."""
    instance_type: pulumi.Input[str]
    nodes: int
    """Nodes that start in the reservation; with 0 the group stays empty."""


class AddonVersionsShape(TypedDict):
    vpc_cni: str
    """Add-on vpc-cni: addresses of pods, and network policies."""
    pod_identity_agent: str
    """Add-on eks-pod-identity-agent: credentials for pods."""
    kube_proxy: str
    """Add-on kube-proxy: addresses of services; of the cluster's Kubernetes minor."""
    coredns: str
    """Add-on coredns: names of services."""
    metrics_server: str
    """Add-on metrics-server: what CPU and memory pods use."""
    node_monitoring_agent: str
    """Add-on eks-node-monitoring-agent: finds sick nodes, which EKS then repairs."""


class NodeGroupsArgs(TypedDict):
    partition: str
    cluster_name: pulumi.Input[str]
    zones: Sequence[str]
    """Zone letters, in the order of the subnets."""
    subnet_ids: Sequence[pulumi.Input[str]]
    """One private subnet for each zone."""
    security_group_ids: Sequence[pulumi.Input[str]]
    """The cluster's own group, and the one for nodes."""
    volumes_key_arn: pulumi.Input[str]
    addon_versions: AddonVersionsShape
    """Version of each add-on, such as v1.22.4-eksbuild.3."""
    system: NodeGroupShape
    """On demand, over all zones: gateways and cluster services."""
    gpu: NodeGroupShape
    """On demand, over all zones: the floor under the engines. With 0 as its most nodes there is none."""
    gpu_spot: NodeGroupShape
    """Spot; the numbers count for one zone. With 0 as their most nodes there are none."""
    reserved: NotRequired[Sequence[ReservedShape]]
    """A group in each reservation, with image and volume of `gpu`."""


class NodeGroups(pulumi.ComponentResource):
    """The groups `system`, `gpu`, `gpu-spot-<zone>` for each zone and `reserved-<name>` for each reservation, with the
    cluster's add-ons."""

    node_group_names: pulumi.Output[Sequence[str]]
    """Physical names, sorted by role."""

    def __init__(self, name: str, args: NodeGroupsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:NodeGroups", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self._args = args
        partition = supported(args["partition"])
        managed = f"arn:{partition}:iam::aws:policy"
        self._role = ServiceRole(
            f"{name}-node",
            {
                "services": ["ec2.amazonaws.com"],
                "description": "Nodes: join the cluster and pull images, no data",
                "managed_policies": [
                    f"{managed}/AmazonEKSWorkerNodePolicy",
                    f"{managed}/AmazonEC2ContainerRegistryPullOnly",
                ],
            },
            self._child,
        )
        network_role = ServiceRole(
            f"{name}-pod-network",
            {
                "services": ["pods.eks.amazonaws.com"],
                "description": "VPC CNI: network interfaces of pods",
                "managed_policies": [f"{managed}/AmazonEKS_CNI_Policy"],
            },
            self._child,
        )
        # Without a network and pod identities no node gets ready, so these come first.
        versions = args["addon_versions"]
        first = [
            self._addon("eks-pod-identity-agent", versions["pod_identity_agent"]),
            self._addon(
                "vpc-cni",
                versions["vpc_cni"],
                NETWORK_POLICIES_ON,
                pod_identity_associations=[{"role_arn": network_role.arn, "service_account": "aws-node"}],
            ),
            self._addon("kube-proxy", versions["kube_proxy"]),
        ]
        ready = pulumi.ResourceOptions(parent=self, depends_on=first)
        zones = dict(zip(args["zones"], args["subnet_ids"], strict=True))
        everywhere = list(zones.values())
        system_template = self._template("system", args["system"])
        system = self._group("system", "system", args["system"], system_template, everywhere, ready)
        groups = [system]
        # EKS has no group of at most 0 nodes.
        if args["gpu"]["max_nodes"]:
            gpu_template = self._template("gpu", args["gpu"])
            groups.append(self._group("gpu", "gpu", args["gpu"], gpu_template, everywhere, ready))
        if args["gpu_spot"]["max_nodes"]:
            spot_template = self._template("gpu-spot", args["gpu_spot"])
            for zone, subnet_id in zones.items():
                groups.append(
                    self._group(f"gpu-spot-{zone}", "gpu-spot", args["gpu_spot"], spot_template, [subnet_id], ready)
                )
        groups += [self._reserved(each, zones[each["zone"]], ready) for each in args.get("reserved", ())]
        # These are pods: created before the nodes they wait for them, degraded, until they time out.
        after = pulumi.ResourceOptions(parent=self, depends_on=[system])
        self._addon("coredns", versions["coredns"], opts=after)
        self._addon("metrics-server", versions["metrics_server"], opts=after)
        self._addon("eks-node-monitoring-agent", versions["node_monitoring_agent"], opts=after)
        self.node_group_names = pulumi.Output.all(*[group.node_group_name for group in groups])
        self.register_outputs({"nodeGroupNames": self.node_group_names})

    def _addon(
        self,
        addon: str,
        version: str,
        configuration: str | None = None,
        pod_identity_associations: Sequence[aws.eks.AddonPodIdentityAssociationArgsDict] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> aws.eks.Addon:
        return aws.eks.Addon(
            f"{self.pulumi_resource_name}-{addon}",
            addon_name=addon,
            addon_version=version,
            configuration_values=configuration,
            cluster_name=self._args["cluster_name"],
            pod_identity_associations=pod_identity_associations,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            opts=opts or self._child,
        )

    def _reserved(
        self, reserved: ReservedShape, subnet_id: pulumi.Input[str], opts: pulumi.ResourceOptions
    ) -> aws.eks.NodeGroup:
        """A group that starts in its reservation alone. It never shrinks by itself: what is reserved is paid for."""
        name, nodes = f"reserved-{reserved['name']}", reserved["nodes"]
        shape: NodeGroupShape = {
            **self._args["gpu"],
            "instance_types": [],
            "min_nodes": 0,
            "desired_nodes": nodes,
            "max_nodes": max(nodes, 1),  # EKS has no group of at most 0 nodes
        }
        template = self._template(name, shape, reserved)
        return self._group(name, "gpu", shape, template, [subnet_id], opts, reserved)

    def _template(
        self, name: str, shape: NodeGroupShape, reserved: ReservedShape | None = None
    ) -> aws.ec2.LaunchTemplate:
        """What all nodes of a pool have in common. Bottlerocket keeps images and pods on its second volume."""
        block = reserved is not None and reserved["capacity_block"]
        device = "/dev/xvdb" if shape["ami_type"].startswith("BOTTLEROCKET") else "/dev/xvda"
        tags = {
            "Name": f"penstock-{name}",
            "project": pulumi.get_project(),
            STACK_TAG: pulumi.get_stack(),
            PART_TAG: part(pulumi.get_stack(), "system" if name == "system" else "gpu"),
        }
        return aws.ec2.LaunchTemplate(
            f"{self.pulumi_resource_name}-{name}",
            description=f"Nodes of the pool {name}",
            update_default_version=True,
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                # One hop ends at the node: pods cannot reach its credentials.
                "http_put_response_hop_limit": 1,
            },
            block_device_mappings=[
                {
                    "device_name": device,
                    "ebs": {
                        "encrypted": "true",
                        "kms_key_id": self._args["volumes_key_arn"],
                        "volume_type": "gp3",
                        "volume_size": shape["volume_gib"],
                        "delete_on_termination": "true",
                    },
                }
            ],
            vpc_security_group_ids=list(self._args["security_group_ids"]),
            # EKS takes the type of a Capacity Block from the template, and only from there.
            instance_type=reserved["instance_type"] if reserved else None,
            instance_market_options={"market_type": "capacity-block"} if block else None,
            capacity_reservation_specification={
                "capacity_reservation_target": {"capacity_reservation_id": reserved["reservation_id"]}
            }
            if reserved
            else None,
            # The provider's default tags do not reach what a template starts.
            tag_specifications=[
                {"resource_type": "instance", "tags": tags},
                {"resource_type": "volume", "tags": tags},
            ],
            opts=self._child,
        )

    def _group(
        self,
        name: str,
        pool: str,
        shape: NodeGroupShape,
        template: aws.ec2.LaunchTemplate,
        subnet_ids: Sequence[pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
        reserved: ReservedShape | None = None,
    ) -> aws.eks.NodeGroup:
        capacity = "CAPACITY_BLOCK" if reserved and reserved["capacity_block"] else "ON_DEMAND"
        return aws.eks.NodeGroup(
            f"{self.pulumi_resource_name}-{name}",
            cluster_name=self._args["cluster_name"],
            node_role_arn=self._role.arn,
            subnet_ids=list(subnet_ids),
            ami_type=shape["ami_type"],
            instance_types=None if reserved else shape["instance_types"],
            version=shape.get("version"),
            release_version=shape.get("release_version"),
            capacity_type="SPOT" if pool == "gpu-spot" else capacity,
            scaling_config={
                "min_size": shape["min_nodes"],
                "desired_size": shape["desired_nodes"],
                "max_size": shape["max_nodes"],
            },
            update_config={"max_unavailable": shape.get("max_unavailable", 1)},
            node_repair_config={"enabled": True},
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            labels={POOL_LABEL: pool, **device_plugin_label(shape["ami_type"])},
            taints=[GPU_TAINT] if pool != "system" else [],
            opts=opts,
        )
