"""`penstock preflight`: quotas, and what others use of them already."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import ANY

from infra.ops.preflight import quotas
from infra.ops.preflight.asking import Account, Unanswered
from infra.ops.preflight.findings import Finding, Status
from tests.unit.preflight.cases import Stubbed, account, refusing


def quota(value: float, of: quotas.Quota, **changes: Any) -> dict[str, Any]:
    return {"Quota": {"QuotaCode": of.code, "QuotaName": of.name, "Value": value, **changes}}


G_ON_DEMAND = quotas.VCPUS["G and VT", "on demand"][0][1]
G_SPOT = quotas.VCPUS["G and VT", "spot"][0][1]
STANDARD = quotas.VCPUS["standard", "on demand"][0][1]


def instance(kind: str, **more: Any) -> dict[str, Any]:
    return {"InstanceType": kind, **more}


def vcpu_findings(aws: Stubbed, values: tuple[float, float, float], instances: list[dict[str, Any]]) -> list[Finding]:
    aws.reply("ec2", "describe_instances", {"Reservations": [{"Instances": instances}]}, {"Filters": ANY})
    for of, value in zip((G_ON_DEMAND, G_SPOT, STANDARD), values, strict=True):
        wanted = {"ServiceCode": "ec2", "QuotaCode": of.code}
        aws.reply("service-quotas", "get_service_quota", quota(value, of), wanted)
    return list(quotas.check_vcpus(account(aws, controllers__karpenter__enabled=False)))


def test_a_quota_that_bears_both_colours_and_the_maxima_fits(aws: Stubbed):
    mine = [{"Key": "eks:cluster-name", "Value": "penstock-prod"}]
    found = vcpu_findings(aws, (96, 384, 36), [instance("g6e.2xlarge", Tags=mine)])
    assert [finding.status for finding in found] == [Status.FITS] * 3
    assert found[0].asked == "96 vCPUs for a release or a lost zone, 96 at most"
    assert found[0].there == "96 vCPUs, 0 in use by others"


def test_what_others_run_is_taken_off_and_asked_for(aws: Stubbed):
    found = vcpu_findings(
        aws, (100, 250, 36), [instance("g5.xlarge"), instance("g6.2xlarge"), instance("trn2.48xlarge"), {}]
    )
    assert [finding.status for finding in found] == [Status.LACKS, Status.NOTE, Status.FITS]
    assert found[0].there == "100 vCPUs, 12 in use by others"
    assert found[0].request.endswith(
        "--region eu-central-1 --service-code ec2 --quota-code L-DB2E81BA --desired-value 108"
    )
    # The release fits into the spot quota, the maxima of the groups do not.
    assert found[1].request.endswith("--quota-code L-3819A6DF --desired-value 384")


def test_use_that_may_not_be_read_is_not_taken_as_none(aws: Stubbed):
    aws.fail("ec2", "describe_instances", "UnauthorizedOperation")
    for of, value in ((G_ON_DEMAND, 8), (G_SPOT, 9999), (STANDARD, 9999)):
        aws.reply("service-quotas", "get_service_quota", quota(value, of))
    found = list(quotas.check_vcpus(account(aws, controllers__karpenter__enabled=False)))
    assert [finding.status for finding in found] == [Status.LACKS, Status.UNKNOWN, Status.UNKNOWN]
    assert found[1].request == "allow ec2:DescribeInstances"


def test_a_quota_that_was_never_changed_has_its_default(aws: Stubbed):
    aws.fail("service-quotas", "get_service_quota", "NoSuchResourceException")
    aws.reply("service-quotas", "get_aws_default_service_quota", quota(0, G_ON_DEMAND))
    assert quotas.value_of(account(aws), G_ON_DEMAND) == 0


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({}, "of no use"),
        ({"Quota": {}}, "of no use"),
        (quota(64, G_SPOT), "of no use"),
        (
            quota(64, G_ON_DEMAND, QuotaName="Running On-Demand F instances"),
            "not 'Running On-Demand G and VT instances'",
        ),
    ],
)
def test_a_quota_reply_about_something_else_is_not_believed(aws: Stubbed, lie: dict[str, Any], words: str):
    aws.reply("service-quotas", "get_service_quota", lie)
    with pytest.raises(Unanswered, match=words):
        quotas.value_of(account(aws), G_ON_DEMAND)


def test_p5_and_older_p_nodes_on_spot_have_quotas_of_their_own():
    p5, older = (quota.code for _, quota in quotas.VCPUS["P", "spot"])
    assert quotas.counts_any(p5, ["p5en", "g6"])
    assert not quotas.counts_any(older, ["p5en", "g6"])
    assert quotas.counts_any(older, ["p4d"])
    assert not quotas.counts_any(p5, ["p4d"])


def test_counts_leave_out_what_this_stack_has_already(aws: Stubbed):
    mine = [{"Key": "project", "Value": "penstock"}, {"Key": "stack", "Value": "prod"}]
    arns = ["arn:one", "arn:two"]
    aws.reply("service-quotas", "get_service_quota", quota(5, quotas.ELASTIC_IPS))
    aws.reply("ec2", "describe_addresses", {"Addresses": [{"Tags": mine}] * 3 + [{}] * 3})
    aws.reply("service-quotas", "get_service_quota", quota(5, quotas.VPCS))
    aws.reply("ec2", "describe_vpcs", {"Vpcs": [{}, {"Tags": mine}]})
    aws.reply("service-quotas", "get_service_quota", quota(5, quotas.NATS_PER_ZONE))
    aws.reply("ec2", "describe_nat_gateways", {"NatGateways": [{}] * 6})
    aws.reply("service-quotas", "get_service_quota", quota(50, quotas.ENDPOINTS_PER_VPC))
    aws.reply("service-quotas", "get_service_quota", quota(2, quotas.BALANCERS))
    kinds = [{"LoadBalancerArn": arn, "Type": "application"} for arn in arns]
    aws.reply("elbv2", "describe_load_balancers", {"LoadBalancers": [*kinds, {"Type": "network"}]})
    described = [{"ResourceArn": arns[0], "Tags": mine}, {"ResourceArn": arns[1]}]
    aws.reply("elbv2", "describe_tags", {"TagDescriptions": described}, {"ResourceArns": arns})
    aws.reply("service-quotas", "get_service_quota", quota(1, quotas.CLUSTERS))
    aws.reply("eks", "list_clusters", {"clusters": ["a"], "nextToken": "x"}, {})
    aws.reply("eks", "list_clusters", {"clusters": ["penstock-prod"]}, {"nextToken": "x"})
    found = {item.check: item for item in quotas.check_counts(account(aws, network__interfaceEndpoints="needed"))}
    assert {name: item.status for name, item in found.items()} == {
        "EC2-VPC Elastic IPs": Status.LACKS,  # three are needed, two are left
        "VPCs per Region": Status.FITS,
        "NAT gateways per Availability Zone": Status.UNKNOWN,  # six in the region may be five in one zone
        "Application Load Balancers per Region": Status.FITS,
        "Clusters": Status.LACKS,
        "Interface VPC endpoints per VPC": Status.FITS,
    }
    assert found["EC2-VPC Elastic IPs"].request.endswith("--quota-code L-0263D0A3 --desired-value 6")


def test_a_network_without_nat_asks_for_no_address(aws: Stubbed):
    shape = account(aws, network__natGateways="none", network__interfaceEndpoints="needed")
    checks = {item.check for item in quotas.check_counts(Account(shape.settings, "prod", refusing))}
    assert "EC2-VPC Elastic IPs" not in checks
    assert "NAT gateways per Availability Zone" not in checks
    assert "Interface VPC endpoints per VPC" in checks


def test_pages_that_never_end_are_given_up(aws: Stubbed):
    for _ in range(2):
        aws.reply("eks", "list_clusters", {"clusters": ["a"], "nextToken": "again"})
    with pytest.raises(Unanswered, match="names the same page again"):
        list(account(aws).every("eks", "list_clusters", "clusters"))
