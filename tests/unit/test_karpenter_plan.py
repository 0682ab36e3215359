"""What Karpenter may do and make: its rights are decided as IAM does, its pools are read as Karpenter reads them."""

from __future__ import annotations

from typing import Any

import pytest

from components import controller_policies, karpenter_manifests
from infra.policy.evaluate import Decision, Request, evaluate
from tests.unit.karpenter_cases import POOL
from tests.unit.settings_cases import problems, put

ACCOUNT = "arn:aws:ec2:eu-central-1:123456789012"
ROLE = "arn:aws:iam::123456789012:role/karpenter-node"
POLICY = controller_policies.karpenter(
    partition="aws",
    region="eu-central-1",
    account="123456789012",
    cluster="penstock-prod",
    node_role_arn=ROLE,
    instance_profile_arn="arn:aws:iam::123456789012:instance-profile/karpenter-node",
    queue_arn="arn:aws:sqs:eu-central-1:123456789012:interruptions",
    queue_key_arn="arn:aws:kms:eu-central-1:123456789012:key/messages",
    subnet_ids=["subnet-a"],
    security_group_ids=["sg-nodes"],
)
OWN = {
    "aws:ResourceTag/kubernetes.io/cluster/penstock-prod": "owned",
    "aws:ResourceTag/karpenter.sh/nodepool": "gpu-spot",
}
FOREIGN = OWN | {"aws:ResourceTag/kubernetes.io/cluster/penstock-prod": "shared"}
ASKED = {
    "aws:RequestTag/kubernetes.io/cluster/penstock-prod": "owned",
    "aws:RequestTag/eks:eks-cluster-name": "penstock-prod",
    "aws:RequestTag/karpenter.sh/nodepool": "gpu",
}


def decided(action: str, resource: str, context: dict[str, Any] | None = None) -> bool:
    return evaluate([POLICY], Request(action, resource, context=context or {})) is Decision.ALLOWED


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("ec2:RunInstances", f"{ACCOUNT}:subnet/subnet-a", {}),
        ("ec2:CreateFleet", f"{ACCOUNT}:instance/i-1", ASKED),
        ("ec2:TerminateInstances", f"{ACCOUNT}:instance/i-1", OWN),
        ("iam:PassRole", ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
        ("sqs:ReceiveMessage", "arn:aws:sqs:eu-central-1:123456789012:interruptions", {}),
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-central-1"}),
    ],
)
def test_karpenter_may_do_its_work(action: str, resource: str, context: dict[str, Any]):
    assert decided(action, resource, context)


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("ec2:RunInstances", f"{ACCOUNT}:subnet/subnet-of-another", {}),
        ("ec2:RunInstances", f"{ACCOUNT}:security-group/sg-open", {}),
        ("ec2:RunInstances", f"{ACCOUNT}:instance/i-1", {}),
        ("ec2:TerminateInstances", f"{ACCOUNT}:instance/i-2", FOREIGN),
        ("ec2:TerminateInstances", f"{ACCOUNT}:instance/i-2", {}),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/administrator", {"iam:PassedToService": "ec2.amazonaws.com"}),
        ("iam:PassRole", ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
        ("iam:CreateInstanceProfile", "arn:aws:iam::123456789012:instance-profile/other", {}),
        ("sqs:ReceiveMessage", "arn:aws:sqs:eu-central-1:123456789012:other", {}),
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "us-east-1"}),
        ("s3:GetObject", "arn:aws:s3:::weights/model", {}),
    ],
)
def test_karpenter_may_do_nothing_to_what_is_not_its_own(action: str, resource: str, context: dict[str, Any]):
    assert not decided(action, resource, context)


def test_spot_is_tried_before_on_demand_and_no_node_is_held_for_ever():
    pools = karpenter_manifests.node_pools(POOL)
    assert pools["gpu-spot"][1]["weight"] > pools["gpu"][1]["weight"]
    for _, pool in pools.values():
        assert pool["template"]["spec"]["expireAfter"] == "720h"
        assert pool["template"]["spec"]["terminationGracePeriod"] == "24h"
        assert pool["limits"] == {"nvidia.com/gpu": "8"}
        assert any(budget["nodes"] == "0" for budget in pool["disruption"]["budgets"])


@pytest.mark.parametrize(
    ("path", "value", "where", "said"),
    [
        ("version", "1.12.9", "version", "does not know Kubernetes 1.36; allowed: 1.13 or later"),
        ("amiAlias", "bottlerocket@latest", "amiAlias", "must match"),
        ("instanceTypes", ["g7.xlarge"], "instanceTypes[0]", "needs NVIDIA driver 595"),
        ("instanceTypes", ["p5e.48xlarge"], "instanceTypes[0]", "is had by reservation alone"),
    ],
)
def test_a_karpenter_that_cannot_work_is_refused(path: str, value: Any, where: str, said: str):
    assert said in problems(put(f"controllers.karpenter.{path}", value))[f"controllers.karpenter.{where}"]


def test_nodes_on_demand_are_given_up_for_spot_only_where_a_model_asks_for_spot():
    def policies(**changes: Any) -> dict[str, str]:
        pools = karpenter_manifests.node_pools({**POOL, **changes})
        return {name: pool["disruption"]["consolidationPolicy"] for name, (_, pool) in pools.items()}

    assert policies() == {"gpu-spot": "WhenEmpty", "gpu": "WhenEmpty"}
    assert policies(returns_to_spot=True) == {"gpu-spot": "WhenEmpty", "gpu": "WhenEmptyOrUnderutilized"}
