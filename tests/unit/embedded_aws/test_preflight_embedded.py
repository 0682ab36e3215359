"""`penstock preflight` against the embedded AWS: real requests and replies, all checks side by side."""

from __future__ import annotations

import copy

from infra.local.layout import ACCOUNT
from infra.ops.preflight.asking import Account
from infra.ops.preflight.findings import Status
from infra.ops.preflight.run import preflight
from infra.settings import Settings
from tests.unit.embedded_aws.conftest import Aws
from tests.unit.settings_cases import VALUES


def made(aws: Aws) -> tuple[int, int]:
    ec2 = aws.client("ec2")
    return len(ec2.describe_addresses()["Addresses"]), len(ec2.describe_internet_gateways()["InternetGateways"])


def test_every_check_gets_an_answer_that_it_can_read(aws: Aws):
    values = copy.deepcopy(VALUES["prod"])
    values["aws"]["accountId"] = ACCOUNT
    settings = Settings.parse(values)
    before = made(aws)
    found = {finding.check: finding for finding in preflight(Account(settings, "prod", aws.client))}
    assert made(aws) == before, "a dry run made something"
    statuses = {name: finding.status for name, finding in found.items()}
    for name in (
        "Account",
        "Region",
        "Availability zones",
        "Running On-Demand G and VT instances",
        "All G and VT Spot Instance Requests",
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        "EC2-VPC Elastic IPs",
        "VPCs per Region",
        "Application Load Balancers per Region",
        "Clusters",
        "EKS version",
        "Dry run of ec2:CreateInternetGateway",
        "Dry run of ec2:AllocateAddress",
    ):
        assert statuses[name] in (Status.FITS, Status.NOTE), found[name]
    assert statuses["Image gateway sha256:000000000000"] is Status.LACKS
    # moto has neither, and that is said instead of guessed.
    assert statuses["Spot placement score"] is Status.UNKNOWN
    assert statuses["Permissions"] is Status.UNKNOWN
