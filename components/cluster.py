"""The EKS control plane: private by default, its secrets and logs encrypted by keys of the account."""

from collections.abc import Sequence
from typing import TypedDict, cast

import pulumi
import pulumi_aws as aws

from components.arns import last_parts, supported
from components.role import ServiceRole

LOG_TYPES = ["api", "audit", "authenticator"]
ADMINISTRATOR_POLICY = "cluster-access-policy/AmazonEKSClusterAdminPolicy"


class ClusterArgs(TypedDict):
    partition: str
    cluster_name: str
    """Physical name: the log group and the kubeconfig name it before the cluster is there. A change replaces it all."""
    version: str
    """Kubernetes version of the control plane, such as 1.36; EKS raises it by one minor at a time."""
    support: str
    """STANDARD or EXTENDED: what happens when the version leaves standard support."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Private subnets of two zones or more, for the control plane's network interfaces."""
    public_endpoint_cidrs: Sequence[str]
    """Who may reach the API server from outside; empty means private only."""
    administrators: Sequence[str]
    """IAM principals with cluster-admin, beside the creator. The last parts of their ARNs differ."""
    secrets_key_arn: pulumi.Input[str]
    """KMS key that encrypts Kubernetes secrets (envelope encryption)."""
    logs_key_arn: pulumi.Input[str]
    log_retention_days: int
    protected: bool
    """Refuses to delete the cluster, in AWS and in Pulumi."""


class Cluster(pulumi.ComponentResource):
    """EKS with API access mode, envelope encryption, control-plane logs, zonal shift and a set upgrade policy."""

    cluster_name: pulumi.Output[str]
    """The same name, known once the cluster is there: what needs the cluster takes it from here."""
    arn: pulumi.Output[str]
    """ARN of the cluster, for policies that name it."""
    endpoint: pulumi.Output[str]
    """Address of the API server, with https://, known once the administrators may use it."""
    certificate_authority: pulumi.Output[str]
    """Base64 of the API server's CA certificate."""
    security_group_id: pulumi.Output[str]
    """EKS's own group, through which nodes and control plane talk."""

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Cluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        partition = supported(args["partition"])
        # EKS would make this group itself, without key and retention.
        logs = aws.cloudwatch.LogGroup(
            f"{name}-control-plane",
            name=f"/aws/eks/{args['cluster_name']}/cluster",
            kms_key_id=args["logs_key_arn"],
            retention_in_days=args["log_retention_days"],
            opts=child,
        )
        role = ServiceRole(
            name,
            {
                "services": ["eks.amazonaws.com"],
                "description": "EKS control plane",
                "managed_policies": [f"arn:{partition}:iam::aws:policy/AmazonEKSClusterPolicy"],
            },
            child,
        )
        cluster = aws.eks.Cluster(
            name,
            name=args["cluster_name"],
            role_arn=role.arn,
            version=args["version"],
            access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": True},
            bootstrap_self_managed_addons=False,
            deletion_protection=args["protected"],
            enabled_cluster_log_types=LOG_TYPES,
            encryption_config={"provider": {"key_arn": args["secrets_key_arn"]}, "resources": ["secrets"]},
            upgrade_policy={"support_type": args["support"]},
            zonal_shift_config={"enabled": True},
            vpc_config={
                "subnet_ids": args["subnet_ids"],
                "endpoint_private_access": True,
                "endpoint_public_access": bool(args["public_endpoint_cidrs"]),
                # AWS fills in 0.0.0.0/0 where nothing is given; it has no effect while public access is off.
                "public_access_cidrs": list(args["public_endpoint_cidrs"]) or None,
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[logs], protect=args["protected"]),
        )
        entries = [self._administrator(cluster, partition, *each) for each in last_parts(args["administrators"])]
        # Whoever waits for the endpoint may use it: the entries are there.
        self.endpoint = pulumi.Output.all(cluster.endpoint, *[entry.id for entry in entries]).apply(
            lambda parts: parts[0]
        )
        self.cluster_name = cluster.name
        self.arn = cluster.arn
        self.certificate_authority = cluster.certificate_authority["data"]
        # Absent in a preview of a provider that answers with the inputs alone.
        self.security_group_id = cluster.vpc_config.apply(lambda config: cast("str", config.cluster_security_group_id))
        self.register_outputs(
            {
                "clusterName": self.cluster_name,
                "arn": self.arn,
                "endpoint": self.endpoint,
                "certificateAuthority": self.certificate_authority,
                "securityGroupId": self.security_group_id,
            }
        )

    def _administrator(
        self, cluster: aws.eks.Cluster, partition: str, last: str, principal: str
    ) -> aws.eks.AccessPolicyAssociation:
        name = f"{self.pulumi_resource_name}-administrator-{last}"
        child = pulumi.ResourceOptions(parent=self)
        entry = aws.eks.AccessEntry(name, cluster_name=cluster.name, principal_arn=principal, opts=child)
        return aws.eks.AccessPolicyAssociation(
            name,
            cluster_name=cluster.name,
            principal_arn=entry.principal_arn,
            policy_arn=f"arn:{partition}:eks::aws:{ADMINISTRATOR_POLICY}",
            access_scope={"type": "cluster"},
            opts=child,
        )
