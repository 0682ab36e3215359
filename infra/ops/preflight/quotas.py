"""Service quotas against need: vCPUs by class and capacity, and the counts that a new stack adds to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from infra.ops.preflight.asking import Account, Unanswered, guarded, items
from infra.ops.preflight.findings import Finding, Status
from infra.parts import network_endpoints
from infra.settings import capacity
from infra.settings.instances import Capacity, QuotaClass, family_of, quota_class, vcpus_of


@dataclass(frozen=True)
class Quota:
    service: str
    code: str
    name: str
    """As Service Quotas calls it. A reply with another name is not believed."""


VCPUS: dict[tuple[QuotaClass, Capacity], tuple[tuple[str, Quota], ...]] = {
    ("G and VT", "on demand"): (("", Quota("ec2", "L-DB2E81BA", "Running On-Demand G and VT instances")),),
    ("P", "on demand"): (("", Quota("ec2", "L-417A185B", "Running On-Demand P instances")),),
    ("standard", "on demand"): (
        ("", Quota("ec2", "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances")),
    ),
    ("G and VT", "spot"): (("", Quota("ec2", "L-3819A6DF", "All G and VT Spot Instance Requests")),),
    ("P", "spot"): (
        ("p5", Quota("ec2", "L-C4BD4855", "All P5 Spot Instance Requests")),
        ("p", Quota("ec2", "L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests")),
    ),
    ("standard", "spot"): (
        ("", Quota("ec2", "L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests")),
    ),
}
"""Quotas in vCPUs, with the beginning of the families that each counts; the first that fits counts.

Codes and names: AWS's list of quotas as gruntwork-io/terraform-aws-utilities of 2026-03-26 holds it.
"""

ELASTIC_IPS = Quota("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs")
VPCS = Quota("vpc", "L-F678F1CE", "VPCs per Region")
NATS_PER_ZONE = Quota("vpc", "L-FE5A380F", "NAT gateways per Availability Zone")
ENDPOINTS_PER_VPC = Quota("vpc", "L-29B6F2EB", "Interface VPC endpoints per VPC")
BALANCERS = Quota("elasticloadbalancing", "L-53DA6B97", "Application Load Balancers per Region")
CLUSTERS = Quota("eks", "L-1194D53C", "Clusters")


def counts_any(code: str, families: Iterable[str]) -> bool:
    """Whether a quota of the P classes on spot counts one of these families."""
    for prefix, quota in VCPUS["P", "spot"]:
        fitting = [family for family in families if family.startswith(prefix)]
        if quota.code == code:
            return bool(fitting if prefix == "p5" else [family for family in fitting if not family.startswith("p5")])
    return False


def value_of(account: Account, quota: Quota) -> float:
    """The account's value, or AWS's default where the account never had another. Raises Unanswered."""
    arguments = {"ServiceCode": quota.service, "QuotaCode": quota.code}
    try:
        reply = account.ask("service-quotas", "get_service_quota", **arguments)
    except Unanswered as silence:
        if silence.code != "NoSuchResourceException":
            raise
        reply = account.ask("service-quotas", "get_aws_default_service_quota", **arguments)
    found = reply.get("Quota") or {}
    value = found.get("Value")
    if found.get("QuotaCode") != quota.code or not isinstance(value, int | float) or value < 0:
        raise Unanswered(f"servicequotas:GetServiceQuota: the reply for {quota.code} is of no use: {found!r:.120}")
    if found.get("QuotaName", quota.name) != quota.name:
        raise Unanswered(f"servicequotas:GetServiceQuota: {quota.code} is {found['QuotaName']!r}, not {quota.name!r}")
    return float(value)


def vcpus_in_use(account: Account) -> Counter[tuple[QuotaClass, Capacity]]:
    """vCPUs of running instances that are not this stack's nodes. Raises Unanswered."""
    used: Counter[tuple[QuotaClass, Capacity]] = Counter()
    filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    for reservation in account.every("ec2", "describe_instances", "Reservations", Filters=filters):
        for instance in items(reservation, "Instances", "ec2:DescribeInstances"):
            tags = {tag.get("Key"): tag.get("Value") for tag in instance.get("Tags") or []}
            if tags.get("eks:cluster-name") == account.cluster_name:
                continue
            kind: Capacity = "spot" if instance.get("InstanceLifecycle") == "spot" else "on demand"
            try:
                used[quota_class(instance["InstanceType"]), kind] += _vcpus(instance)
            except (KeyError, ValueError):
                continue  # of a class that no quota asked for here counts
    return used


def check_vcpus(account: Account) -> Iterator[Finding]:
    """One finding for each quota that the stack's groups count against."""
    settings = account.settings
    most = capacity.vcpus_at_most(settings)
    release, lost = capacity.situations(settings)[1:]
    needs = [capacity.vcpus_needed(settings, situation) for situation in (release, lost)]
    try:
        used: Counter[tuple[QuotaClass, Capacity]] | None = vcpus_in_use(account)
    except Unanswered:
        used = None
    families = {family_of(name) for pool in capacity.gpu_pools(settings) for name in pool.instance_types}
    for key, ceiling in most.items():
        if not ceiling:
            continue
        need = max((need.get(key, 0) for need in needs), default=0) if key[0] != "standard" else ceiling
        for _, quota in VCPUS[key]:
            if key == ("P", "spot") and not counts_any(quota.code, families):
                continue
            asked = f"{need} vCPUs for a release or a lost zone, {ceiling} at most"
            others = None if used is None else used[key]
            yield guarded(
                quota.name,
                asked,
                partial(_judged, account, quota, need, ceiling, partial(_known, others), asked, "vCPUs"),
            )


def check_counts(account: Account) -> Iterator[Finding]:
    """Quotas of things that the stack adds one or a few of."""
    network = account.settings.network
    gateways = {"none": 0, "one": 1}.get(network.nat_gateways, len(network.zones))
    endpoints = len(network_endpoints(account.settings))
    counted: list[tuple[Quota, int, str, Callable[[], int | None]]] = [
        (ELASTIC_IPS, gateways, "one for each NAT gateway", partial(_addresses, account)),
        (VPCS, 1, "one VPC", partial(_vpcs, account)),
        (NATS_PER_ZONE, min(1, gateways), f"{gateways} over {len(network.zones)} zones", partial(_gateways, account)),
        (ENDPOINTS_PER_VPC, endpoints, "all in the new VPC", partial(_known, 0)),
        (BALANCERS, 1, "one load balancer", partial(_balancers, account)),
        (CLUSTERS, 1, "one cluster", partial(_clusters, account)),
    ]
    for quota, need, why, count in counted:
        if not need:
            continue
        asked = f"{need} ({why})"
        yield guarded(quota.name, asked, partial(_judged, account, quota, need, need, count, asked, ""))


def _known(others: int | None) -> int | None:
    return others


def _judged(
    account: Account,
    quota: Quota,
    need: int,
    most: int,
    count: Callable[[], int | None],
    asked: str,
    unit: str,
) -> Finding:
    value, others = value_of(account, quota), count()
    there = f"{value:g}{' ' if unit else ''}{unit}, " + (
        "use by others unknown" if others is None else f"{others} in use by others"
    )
    free = value - (others or 0)
    request = (
        f"aws service-quotas request-service-quota-increase --region {account.region} --service-code {quota.service} "
        f"--quota-code {quota.code} --desired-value {most + (others or 0)}"
    )
    if free < need:
        if quota is NATS_PER_ZONE and value >= need:
            return Finding(quota.name, asked, f"{there} over all zones; the fullest zone is not known", Status.UNKNOWN)
        return Finding(quota.name, asked, there, Status.LACKS, request)
    if others is None:
        return Finding(quota.name, asked, there, Status.UNKNOWN, "allow ec2:DescribeInstances")
    if free < most:
        return Finding(quota.name, asked, there, Status.NOTE, request)
    return Finding(quota.name, asked, there, Status.FITS)


def _vcpus(instance: dict[str, Any]) -> int:
    try:
        return vcpus_of(instance["InstanceType"])
    except ValueError:
        options = instance.get("CpuOptions") or {}
        return int(options.get("CoreCount", 0)) * int(options.get("ThreadsPerCore", 0))


def _addresses(account: Account) -> int:
    found = items(account.ask("ec2", "describe_addresses"), "Addresses", "ec2:DescribeAddresses")
    return sum(not account.owns(item.get("Tags")) for item in found)


def _vpcs(account: Account) -> int:
    return sum(not account.owns(item.get("Tags")) for item in account.every("ec2", "describe_vpcs", "Vpcs"))


def _gateways(account: Account) -> int:
    filters = [{"Name": "state", "Values": ["pending", "available"]}]
    found = account.every("ec2", "describe_nat_gateways", "NatGateways", Filters=filters)
    return sum(not account.owns(item.get("Tags")) for item in found)


def _balancers(account: Account) -> int:
    found = account.every("elbv2", "describe_load_balancers", "LoadBalancers")
    arns = [item["LoadBalancerArn"] for item in found if item.get("Type") == "application"]
    mine = 0
    for start in range(0, len(arns), 20):  # as many as DescribeTags takes
        tags = account.ask("elbv2", "describe_tags", ResourceArns=arns[start : start + 20])
        described = items(tags, "TagDescriptions", "elasticloadbalancing:DescribeTags")
        mine += sum(account.owns(item.get("Tags")) for item in described)
    return len(arns) - mine


def _clusters(account: Account) -> int:
    return sum(name != account.cluster_name for name in account.every("eks", "list_clusters", "clusters"))
