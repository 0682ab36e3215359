"""Security groups by role: who may open a connection to whom."""

from collections.abc import Sequence
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components.manifests import CACHE_PORT, DATABASE_PORT, GATEWAY_PORT

ANYWHERE = "0.0.0.0/0"


class SecurityGroupsArgs(TypedDict):
    vpc_id: pulumi.Input[str]
    edge_port: int
    """The load balancer's listener."""
    edge_cidrs: Sequence[str]
    """Who may reach the load balancer."""


class SecurityGroups(pulumi.ComponentResource):
    """One group for each role: clients reach the edge, the edge reaches gateways, pods reach cache and database."""

    edge_id: pulumi.Output[str]
    """The load balancer."""
    nodes_id: pulumi.Output[str]
    """Nodes and their pods, beside the cluster's own group."""
    cache_id: pulumi.Output[str]
    """The cache: nodes and their pods reach it at port 6379."""
    database_id: pulumi.Output[str]
    """The database: nodes and their pods reach it at port 5432."""

    def __init__(self, name: str, args: SecurityGroupsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:SecurityGroups", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self._vpc_id = args["vpc_id"]

        edge = self._group("edge", "Load balancer of the gateways")
        nodes = self._group("nodes", "Nodes and pods")
        cache = self._group("cache", "Cache")
        database = self._group("database", "Database")

        for index, cidr in enumerate(args["edge_cidrs"]):
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-edge-from-clients-{index}",
                security_group_id=edge.id,
                description="Clients",
                ip_protocol="tcp",
                from_port=args["edge_port"],
                to_port=args["edge_port"],
                cidr_ipv4=cidr,
                opts=self._child,
            )
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-edge-to-gateways",
            security_group_id=edge.id,
            description="Requests and health checks to gateway pods",
            ip_protocol="tcp",
            from_port=GATEWAY_PORT,
            to_port=GATEWAY_PORT,
            referenced_security_group_id=nodes.id,
            opts=self._child,
        )
        self._ingress("nodes-from-edge", nodes, edge, GATEWAY_PORT, "Requests and health checks to gateway pods")
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-nodes-from-nodes",
            security_group_id=nodes.id,
            description="Pod to pod",
            ip_protocol="-1",
            referenced_security_group_id=nodes.id,
            opts=self._child,
        )
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-nodes-to-anywhere",
            security_group_id=nodes.id,
            description="Images, AWS APIs, outside model providers",
            ip_protocol="-1",
            cidr_ipv4=ANYWHERE,
            opts=self._child,
        )
        self._ingress("cache-from-nodes", cache, nodes, CACHE_PORT, "Gateways")
        self._ingress("database-from-nodes", database, nodes, DATABASE_PORT, "Gateways")

        self.edge_id = edge.id
        self.nodes_id = nodes.id
        self.cache_id = cache.id
        self.database_id = database.id
        self.register_outputs({"edgeId": edge.id, "nodesId": nodes.id, "cacheId": cache.id, "databaseId": database.id})

    def _group(self, role: str, description: str) -> aws.ec2.SecurityGroup:
        return aws.ec2.SecurityGroup(
            f"{self.pulumi_resource_name}-{role}",
            vpc_id=self._vpc_id,
            description=description,
            revoke_rules_on_delete=True,
            tags={"Name": f"penstock-{role}"},
            opts=self._child,
        )

    def _ingress(
        self, name: str, to: aws.ec2.SecurityGroup, source: aws.ec2.SecurityGroup, port: int, description: str
    ) -> None:
        aws.vpc.SecurityGroupIngressRule(
            f"{self.pulumi_resource_name}-{name}",
            security_group_id=to.id,
            description=description,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            referenced_security_group_id=source.id,
            opts=self._child,
        )
