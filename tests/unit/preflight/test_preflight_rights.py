"""`penstock preflight`: what the caller may do, and whether the region is open to the account."""

from __future__ import annotations

from typing import Any

import pytest

from infra.ops.preflight import rights
from infra.ops.preflight.findings import Status
from tests.unit.preflight.cases import NOW, Stubbed, account, caller


def decisions(**changed: str) -> dict[str, Any]:
    rows = {action: changed.get(action.replace(":", "_"), "allowed") for action in rights.ACTIONS}
    return {"EvaluationResults": [{"EvalActionName": name, "EvalDecision": row} for name, row in rows.items()]}


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (decisions(), Status.FITS),
        (decisions(ec2_CreateVpc="implicitDeny"), Status.UNKNOWN),
        (decisions(ec2_CreateVpc="explicitDeny", s3_CreateBucket="implicitDeny"), Status.LACKS),
    ],
)
def test_the_simulator_is_asked_about_the_role_behind_a_session(aws: Stubbed, reply: dict[str, Any], status: Status):
    caller(aws, "arn:aws:sts::444455556666:assumed-role/deployer/me")
    role = "arn:aws:iam::444455556666:role/teams/deployer"
    known = {"Path": "/teams/", "RoleName": "deployer", "RoleId": "A" * 16, "Arn": role, "CreateDate": NOW}
    aws.reply("iam", "get_role", {"Role": known}, {"RoleName": "deployer"})
    wanted = {"PolicySourceArn": role, "ActionNames": list(rights.ACTIONS)}
    aws.reply("iam", "simulate_principal_policy", reply, wanted)
    (found,) = rights.check_permissions(account(aws))
    assert found.status is status


def test_a_simulator_that_leaves_an_action_out_has_not_answered(aws: Stubbed):
    caller(aws, "arn:aws:iam::444455556666:user/me")
    aws.reply("iam", "simulate_principal_policy", {"EvaluationResults": decisions()["EvaluationResults"][1:]})
    aws.fail("ec2", "create_internet_gateway", "DryRunOperation")
    aws.fail("ec2", "allocate_address", "UnauthorizedOperation")
    simulated, gateway, address = rights.check_permissions(account(aws))
    assert simulated.there == "iam:SimulatePrincipalPolicy: no decision about ec2:CreateVpc"
    assert (gateway.status, address.status) == (Status.FITS, Status.LACKS)


def test_a_dry_run_that_was_carried_out_is_said(aws: Stubbed):
    caller(aws, "arn:aws:iam::444455556666:root")
    aws.reply("ec2", "create_internet_gateway", {"InternetGateway": {}}, {"DryRun": True})
    aws.fail("ec2", "allocate_address", "RequestLimitExceeded")
    simulated, gateway, address = rights.check_permissions(account(aws))
    assert "no policies of its own" in simulated.there
    assert (gateway.status, gateway.there) == (Status.UNKNOWN, "the service did not heed DryRun: look for what it made")
    assert address.there == "ec2:AllocateAddress: AWS asks to slow down; try again later"


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"eu-central-1": "opt-in-not-required"}, Status.FITS),
        ({"eu-central-1": "not-opted-in"}, Status.LACKS),
        ({}, Status.LACKS),
    ],
)
def test_the_region_must_be_enabled(aws: Stubbed, states: dict[str, str], status: Status):
    rows = [{"RegionName": name, "OptInStatus": state} for name, state in states.items()]
    aws.reply("ec2", "describe_regions", {"Regions": rows})
    (found,) = rights.check_region(account(aws))
    assert found.status is status
