"""The load balancer controller: rights of target registration alone, nothing else switched on."""

from __future__ import annotations

from typing import Any

import pytest

from components import controller_policies
from components import load_balancer_manifests as manifests
from infra.policy.evaluate import Decision, Request, evaluate
from tests.unit.settings_cases import problems, put

GROUP = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/edge-blue/1"
OTHER = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/payroll/1"
HERE = {"aws:RequestedRegion": "eu-central-1"}
POLICY = controller_policies.target_binding([GROUP], "eu-central-1")


@pytest.mark.parametrize(
    ("allowed", "action", "resource", "context"),
    [
        (True, "elasticloadbalancing:RegisterTargets", GROUP, {}),
        (True, "elasticloadbalancing:DeregisterTargets", GROUP, {}),
        (True, "elasticloadbalancing:DescribeTargetHealth", "*", HERE),
        (True, "ec2:DescribeVpcs", "*", HERE),
        (False, "elasticloadbalancing:RegisterTargets", OTHER, {}),
        (False, "elasticloadbalancing:DescribeTargetHealth", "*", {"aws:RequestedRegion": "us-east-1"}),
        (False, "elasticloadbalancing:ModifyRule", "*", HERE),
        (False, "elasticloadbalancing:DeleteTargetGroup", GROUP, {}),
        (False, "ec2:AuthorizeSecurityGroupIngress", "*", HERE),
        (False, "ec2:CreateSecurityGroup", "*", HERE),
        (False, "wafv2:DisassociateWebACL", "*", HERE),
        (False, "iam:CreateServiceLinkedRole", "*", HERE),
    ],
)
def test_it_registers_pods_with_its_own_groups_and_changes_nothing_else(
    allowed: bool, action: str, resource: str, context: dict[str, Any]
):
    assert (evaluate([POLICY], Request(action, resource, context=context)) is Decision.ALLOWED) is allowed


def test_in_the_cluster_it_writes_bindings_and_conditions_of_pods_alone():
    assert {verb for each in manifests.cluster_rules() for verb in each["verbs"]} == {"get", "list", "watch"}
    written = {
        (each["apiGroups"][0], resource)
        for each in manifests.rules_of_the_platform()
        for resource in each["resources"]
        if set(each["verbs"]) - {"get", "list", "watch"}
    }
    assert written == {
        ("elbv2.k8s.aws", "targetgroupbindings"),
        ("elbv2.k8s.aws", "targetgroupbindings/status"),
        ("", "pods/status"),
        ("", "events"),
    }
    every = [*manifests.cluster_rules(), *manifests.rules_of_the_platform(), *manifests.rules_of_its_own()]
    assert not any("secrets" in each["resources"] or "*" in each["resources"] + each["verbs"] for each in every)


def test_only_its_node_opens_a_connection_to_it():
    policy = manifests.policy()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    ports = {port["port"] for each in policy["egress"] for port in each["ports"]}
    assert ports == {53, 80, 443}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("controllers.loadBalancer.version", "2.13.4", "allowed: 3.x"),
        ("controllers.loadBalancer.image", "v3.5.0", "must match"),
        ("access.permissionsBoundaryArn", "arn:aws:iam::1:role/x", "must match"),
        ("access.permissionsBoundaryArn", "arn:aws:iam::999999999999:policy/b", "allowed: a policy of aws.accountId"),
    ],
)
def test_a_controller_or_a_boundary_that_cannot_work_is_refused(path: str, value: Any, said: str):
    assert said in problems(put(path, value))[path]


def test_a_server_that_nobody_calls_has_a_certificate_of_its_own():
    from cryptography import x509

    from infra.certificates import self_signed

    made, other = self_signed("a.kube-system.svc"), self_signed("a.kube-system.svc")
    read = x509.load_pem_x509_certificate(made.certificate.encode())
    assert read.issuer == read.subject
    assert (read.not_valid_after_utc - read.not_valid_before_utc).days >= 3650
    assert made.key != other.key
    assert made.key not in repr(other)


def test_a_zone_without_control_planes_stops_the_cluster_and_is_named():
    import pulumi

    from infra.cluster import fit_for_a_control_plane

    assert fit_for_a_control_plane(["s-a", "s-b"], {"a": "euc1-az2", "b": "euc1-az3"}) == ["s-a", "s-b"]
    with pytest.raises(pulumi.RunError, match=r"zones: b is a zone .* \(use1-az3\); allowed: a"):
        fit_for_a_control_plane(["s-a", "s-b"], {"a": "use1-az1", "b": "use1-az3"})
