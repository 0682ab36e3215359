"""Rules over all resources of a stack, with stacks that they take and stacks that they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.policy import rules
from infra.policy.rules import STACK_RULES, StackRule, Subject
from infra.policy.rules_data import BUCKET_BLOCK, BUCKET_ENCRYPTION, BUCKET_POLICY, BUCKET_VERSIONING
from infra.policy.subject import Props

ROLE, ATTACHMENT = "aws:iam/role:Role", "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
MANAGED = "arn:aws:iam::aws:policy/"
GATEWAY = {"app.kubernetes.io/name": "gateway"}
Stack = list[Subject]


def resource(token: str, name: str, props: Props | None = None, *needs: str) -> Subject:
    return Subject(token, props or {}, "prod", name, name, frozenset(needs))


def bucket(*parts: str, status: str = "Enabled") -> Stack:
    versioning = {"versioningConfiguration": {"status": status}}
    own = [resource(it, f"part-{it}", versioning if it == BUCKET_VERSIONING else {}, "b") for it in parts]
    return [resource("aws:s3/bucket:Bucket", "b"), *own]


def role(service: str, arn: str = "", action: str = "") -> Stack:
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    found = [resource(ROLE, "node", {"assumeRolePolicy": json.dumps({"Statement": [statement]})})]
    if arn:
        found.append(resource(ATTACHMENT, "attached", {"policyArn": arn}, "node"))
    if action:
        policy = json.dumps({"Statement": {"Effect": "Allow", "Action": action, "Resource": "arn"}})
        found.append(resource("aws:iam/rolePolicy:RolePolicy", "inline", {"policy": policy}, "node"))
    return found


def edge(delay: int) -> Stack:
    container = {"name": "gateway", "lifecycle": {"preStop": {"sleep": {"seconds": 15}}}}
    template = {"metadata": {"labels": GATEWAY}, "spec": {"containers": [container]}}
    return [
        resource("kubernetes:apps/v1:Deployment", "gateway-blue", {"spec": {"template": template}}),
        resource("aws:lb/targetGroup:TargetGroup", "blue", {"deregistrationDelay": delay}),
    ]


def bounded(*boundaries: str | None) -> Stack:
    return [resource(ROLE, f"role-{n}", {"permissionsBoundary": it} if it else {}) for n, it in enumerate(boundaries)]


REPOSITORY = resource("aws:ecr/repository:Repository", "images")
LIFECYCLE = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
PARTS = (BUCKET_ENCRYPTION, BUCKET_BLOCK, BUCKET_POLICY, BUCKET_VERSIONING)

GOOD: list[tuple[StackRule, Stack]] = [
    (rules.buckets_are_complete, bucket(*PARTS)),
    (rules.images_expire, [REPOSITORY, resource(LIFECYCLE, "kept", {}, "images")]),
    (rules.node_roles_reach_no_data, role("ec2.amazonaws.com", f"{MANAGED}AmazonEKSWorkerNodePolicy")),
    (rules.node_roles_reach_no_data, role("pods.eks.amazonaws.com", action="s3:GetObject")),
    (rules.roles_share_one_boundary, bounded("arn:boundary", "arn:boundary")),
    (rules.roles_share_one_boundary, bounded(None, None)),
    (rules.target_groups_wait_for_draining_pods, edge(60)),
]
BAD: list[tuple[StackRule, Stack, str]] = [
    (rules.buckets_are_complete, bucket(BUCKET_ENCRYPTION, BUCKET_BLOCK, BUCKET_VERSIONING), "no policy"),
    (rules.buckets_are_complete, bucket(BUCKET_ENCRYPTION, BUCKET_BLOCK, BUCKET_POLICY), "versioning"),
    (rules.buckets_are_complete, bucket(*PARTS, status="Suspended"), "must be Enabled"),
    (rules.images_expire, [REPOSITORY, resource(LIFECYCLE, "kept", {}, "another")], "no lifecycle policy"),
    (rules.node_roles_reach_no_data, role("ec2.amazonaws.com", f"{MANAGED}AmazonS3ReadOnlyAccess"), "S3ReadOnly"),
    (rules.node_roles_reach_no_data, role("ec2.amazonaws.com", action="s3:GetObject"), "may s3:GetObject"),
    (rules.roles_share_one_boundary, bounded("arn:boundary", None), "role-1: permissionsBoundary must be arn:boundary"),
    (rules.roles_share_one_boundary, bounded("arn:a", "arn:b"), "role-1: permissionsBoundary must be arn:a"),
    (rules.target_groups_wait_for_draining_pods, edge(15), "must be more than preStop 15"),
]


@pytest.mark.parametrize(("rule", "stack"), GOOD)
def test_a_good_stack_passes(rule: StackRule, stack: Stack) -> None:
    assert list(rule(stack)) == []


@pytest.mark.parametrize(("rule", "stack", "message"), BAD)
def test_a_bad_stack_is_refused_with_the_resource_named(rule: StackRule, stack: Stack, message: str) -> None:
    assert any(message in found for found in rule(stack))


def test_every_stack_rule_has_a_good_and_a_bad_stack() -> None:
    assert {case[0] for case in GOOD} == {case[0] for case in BAD} == set(STACK_RULES)
