"""An IAM role that one AWS service takes, with the managed policies and the inline policy that it needs."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components import policies
from components.arns import last_parts


class ServiceRoleArgs(TypedDict):
    services: Sequence[str]
    """Service principals that may take the role, such as `pods.eks.amazonaws.com`."""
    description: str
    """What the role is for, as IAM shows it."""
    managed_policies: Sequence[str]
    """Full ARNs, such as `arn:aws:iam::aws:policy/AmazonEKSClusterPolicy`, whose last parts differ."""
    policy: NotRequired[pulumi.Input[str]]
    """Inline policy, as JSON."""


class ServiceRole(pulumi.ComponentResource):
    """A role, its attachments and at most one inline policy."""

    arn: pulumi.Output[str]
    """ARN of the role, known once its policies are attached."""

    def __init__(self, name: str, args: ServiceRoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:ServiceRole", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            name,
            description=args["description"],
            assume_role_policy=policies.dumps(policies.trust(*args["services"])),
            opts=child,
        )
        granted: list[pulumi.CustomResource] = [
            aws.iam.RolePolicyAttachment(f"{name}-{last}", role=role.name, policy_arn=arn, opts=child)
            for last, arn in last_parts(args["managed_policies"])
        ]
        if "policy" in args:
            granted.append(aws.iam.RolePolicy(name, role=role.name, policy=args["policy"], opts=child))
        # Whoever waits for the role's ARN waits for its permissions too.
        self.arn = pulumi.Output.all(role.arn, *[grant.id for grant in granted]).apply(lambda parts: parts[0])
        self.register_outputs({"arn": self.arn})
