"""The AWS Load Balancer Controller: binds the gateways' pods to their target groups, and does nothing else."""

from collections.abc import Sequence
from typing import TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components import controller_policies, policies
from components import load_balancer_manifests as manifests
from components.controller import Installation, Rights, install
from components.load_balancer_manifests import MARKS, NAME, NAMESPACE
from components.options import child_of
from components.release import encoded
from components.role import ServiceRole


class LoadBalancerControllerArgs(TypedDict):
    region: str
    cluster_name: pulumi.Input[str]
    cluster: str
    """The cluster's physical name, which the controller is told."""
    vpc_id: pulumi.Input[str]
    namespace: pulumi.Input[str]
    """Of the gateways: the only one that it watches."""
    image: pulumi.Input[str]
    """Image of the AWS Load Balancer Controller, with tag or digest; its flags are those of version 3.5."""
    replicas: int
    """Pods of the controller: one leads, the others wait."""
    target_group_arns: Sequence[pulumi.Input[str]]
    """All that it may register pods with."""
    webhook_certificate: pulumi.Input[str]
    """PEM of the certificate of a server that nobody calls. Taken when the secret is made, and kept."""
    webhook_key: pulumi.Input[str]
    """PEM of its private key. Secret."""


class LoadBalancerController(pulumi.ComponentResource):
    """The controller, with the rights of target registration alone."""

    role_arn: pulumi.Output[str]
    """ARN of the controller's role, which may change the targets of these groups and nothing else."""

    def __init__(self, name: str, args: LoadBalancerControllerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:LoadBalancerController", name, None, opts)
        child = child_of(self, opts)
        role = ServiceRole(
            name,
            {
                "services": ["pods.eks.amazonaws.com"],
                "description": "Load balancer controller: registers pods with this stack's target groups",
                "managed_policies": [],
                "policy": pulumi.Output.all(*args["target_group_arns"]).apply(
                    lambda arns: policies.dumps(controller_policies.target_binding(arns, args["region"]))
                ),
            },
            child,
        )
        identity = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args["cluster_name"],
            namespace=NAMESPACE,
            service_account=NAME,
            role_arn=role.arn,
            opts=child,
        )
        certificate = k8s.core.v1.Secret(
            f"{name}-certificate",
            metadata={"name": f"{NAME}-certificate", "namespace": NAMESPACE, "labels": MARKS},
            type="kubernetes.io/tls",
            data=pulumi.Output.secret(
                {
                    "tls.crt": pulumi.Output.from_input(args["webhook_certificate"]).apply(encoded),
                    "tls.key": pulumi.Output.from_input(args["webhook_key"]).apply(encoded),
                }
            ),
            # The program offers a new one each time; the first that was taken stays.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(ignore_changes=["data"])),
        )
        install(
            name,
            Installation(
                app=NAME,
                namespace=NAMESPACE,
                marks=MARKS,
                deployment=manifests.deployment(
                    image=args["image"],
                    replicas=args["replicas"],
                    cluster=args["cluster"],
                    region=args["region"],
                    vpc_id=args["vpc_id"],
                    watched_namespace=args["namespace"],
                    certificate_secret=certificate.metadata["name"],
                ),
                policy=manifests.policy(),
                cluster_rules=manifests.cluster_rules(),
                rights=[
                    Rights("platform", args["namespace"], manifests.rules_of_the_platform()),
                    Rights("own", NAMESPACE, manifests.rules_of_its_own()),
                ],
                definitions=manifests.definitions(),
            ),
            child,
            [identity],
        )
        self.role_arn = role.arn
        self.register_outputs({"roleArn": self.role_arn})
