"""Which properties of which types grant or open something, and what a step does to them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.ops.diff import opened
from infra.ops.diff.opened import Documents
from infra.ops.diff.steps import UNKNOWN, Step

Inputs = Mapping[str, Any]

POLICY_PROPERTIES: dict[str, str] = {
    "aws:iam/policy:Policy": "policy",
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
    "aws:iam/role:Role": "assumeRolePolicy",
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
    "aws:kms/key:Key": "policy",
    "aws:sqs/queuePolicy:QueuePolicy": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "policy",
    "aws:secretsmanager/secretPolicy:SecretPolicy": "policy",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "policy",
    "aws:ec2/vpcEndpointPolicy:VpcEndpointPolicy": "policyDocument",
}
"""Type -> the property that is a policy document."""

DENY_BY_DEFAULT = frozenset({"aws:ec2/vpcEndpoint:VpcEndpoint"})
"""Without a document of their own these let everything through; it is not counted as opened."""


@dataclass(frozen=True)
class Access:
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    network: bool = False
    """Whether it is about packets, and not about permissions."""


def access(step: Step) -> Access:
    """What the step opens and closes; a replacement counts as the change from old inputs to new."""
    found = list(_documents(step)) + list(_grants(step))
    nets = list(_networks(step))
    return Access(
        tuple(text for each in (*found, *nets) for text in each.opened),
        tuple(text for each in (*found, *nets) for text in each.closed),
        bool(nets),
    )


def _documents(step: Step) -> Iterator[Documents]:
    key = POLICY_PROPERTIES.get(step.type)
    if key and not (step.type in DENY_BY_DEFAULT and not (step.old.get(key) and step.new.get(key))):
        if step.type == "aws:kms/key:Key" and step.operation in ("create", "delete"):
            return  # a key's policy comes and goes with the key
        yield opened.policies(step.old.get(key), step.new.get(key))
    if step.type == "aws:iam/role:Role":
        old, new = (
            {each.get("name", ""): each.get("policy") for each in side.get("inlinePolicies") or []}
            for side in (step.old, step.new)
        )
        for name in sorted({*old, *new}):
            yield opened.policies(old.get(name), new.get(name))


def _grants(step: Step) -> Iterator[Documents]:
    """Grants that are not documents."""
    old, new = step.old, step.new
    match step.type:
        case "aws:iam/role:Role":
            yield _listed(old, new, "managedPolicyArns", "the managed policy")
            if old.get("permissionsBoundary") and not new.get("permissionsBoundary") and new:
                yield Documents(("no permissions boundary any more",))
        case "aws:iam/rolePolicyAttachment:RolePolicyAttachment":
            yield _whole(old, new, lambda it: f"the managed policy {it.get('policyArn')} for the role {it.get('role')}")
        case "aws:eks/accessEntry:AccessEntry":
            yield _whole(old, new, lambda it: f"{it.get('principalArn')} may enter the cluster")
        case "aws:eks/accessPolicyAssociation:AccessPolicyAssociation":
            yield _whole(old, new, lambda it: f"{it.get('policyArn')} in the cluster for {it.get('principalArn')}")
        case "aws:eks/podIdentityAssociation:PodIdentityAssociation":
            yield _whole(
                old, new,
                lambda it: f"pods of {it.get('namespace')}/{it.get('serviceAccount')} act as {it.get('roleArn')}",
            )  # fmt: skip
        case "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock":
            yield _flags(
                old, new, ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
            )
        case "kubernetes:rbac.authorization.k8s.io/v1:Role" | "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole":
            yield opened.cluster_rules(old.get("rules") or [], new.get("rules") or [])
        case (
            "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding"
            | "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding"
        ):
            yield _bindings(old, new)


def _networks(step: Step) -> Iterator[Documents]:
    old, new = step.old, step.new
    match step.type:
        case "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule":
            yield _worded(opened.networks(opened.group_rules(old), opened.group_rules(new)), "in from ")
        case "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule":
            yield _worded(opened.networks(opened.group_rules(old), opened.group_rules(new)), "out to ")
        case "aws:ec2/securityGroup:SecurityGroup" | "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup":
            for key, word in (("ingress", "in from "), ("egress", "out to ")):
                rules = [
                    [rule for part in side.get(key) or [] for rule in opened.group_rules(part)] for side in (old, new)
                ]
                if any(rules):
                    yield _worded(opened.networks(*rules), word)
        case "aws:eks/cluster:Cluster":
            yield _api_ranges(old, new)
        case "aws:lb/loadBalancer:LoadBalancer":
            if new and not new.get("internal") and (not old or old.get("internal")):
                yield Documents(("the load balancer faces the internet",))
        case "aws:wafv2/webAclAssociation:WebAclAssociation":
            if step.operation == "delete":
                yield Documents(("the load balancer stands without a firewall",))
        case "kubernetes:networking.k8s.io/v1:NetworkPolicy":
            yield opened.network_policy(old.get("spec") or {}, new.get("spec") or {})


def _api_ranges(old: Inputs, new: Inputs) -> Documents:
    sides = []
    for side in (old, new):
        network = side.get("vpcConfig") or {}
        sides.append(network.get("publicAccessCidrs") or [] if network.get("endpointPublicAccess") else [])
    return _worded(opened.ranges(*sides), "the cluster's API from ")


def _listed(old: Inputs, new: Inputs, key: str, what: str) -> Documents:
    before, after = set(map(str, old.get(key) or [])), set(map(str, new.get(key) or []))
    return Documents(
        tuple(f"{what} {each}" for each in sorted(after - before)),
        tuple(f"{what} {each}" for each in sorted(before - after)),
    )


def _whole(old: Inputs, new: Inputs, sentence: Callable[[Inputs], str]) -> Documents:
    before, after = (sentence(side) if side else "" for side in (old, new))
    if before == after:
        return Documents()
    return Documents((after,) if after else (), (before,) if before else ())


def _flags(old: Inputs, new: Inputs, names: tuple[str, ...]) -> Documents:
    lifted = tuple(f"`{name}` is off" for name in names if old.get(name) and not new.get(name))
    set_now = tuple(f"`{name}` is on" for name in names if new.get(name) and not old.get(name))
    return Documents(lifted, set_now)


def _bindings(old: Inputs, new: Inputs) -> Documents:
    def grants(side: Inputs) -> set[str]:
        role = (side.get("roleRef") or {}).get("name", UNKNOWN)
        return {
            f"{each.get('kind')} {each.get('namespace', '')}/{each.get('name')} has {role}"
            for each in side.get("subjects") or []
        }

    before, after = grants(old), grants(new)
    return Documents(tuple(sorted(after - before)), tuple(sorted(before - after)))


def _worded(found: Documents, word: str) -> Documents:
    return Documents(tuple(word + each for each in found.opened), tuple(word + each for each in found.closed))
