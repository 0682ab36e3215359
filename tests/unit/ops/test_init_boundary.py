"""`penstock init --own-boundary` and `penstock init release`, on moto: made, kept, brought up to date, taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient

from infra.ops.setup import plan, roles, state
from infra.ops.setup.documents import GITHUB
from infra.ops.setup.plan import Change, Cloud
from infra.policy.boundary import Fence, boundary, push_images
from infra.settings import Settings
from tests.unit.ops.test_init import FLAGS, READS, SITE, WRITES, actions, aws, checkout, make, penstock

__all__ = ["aws", "checkout"]  # fixtures

FENCE = Fence("aws", SITE.account, (SITE.region,), SITE.boundary_arn, SITE.bucket, SITE.key_alias)
RELEASE = [push_images("aws", SITE.region, SITE.account, "penstock-dev/gateway")]


def bounded(cloud: Cloud, fence: Fence = FENCE) -> list[Change]:
    both = roles.roles_of(SITE, [READS], [WRITES], SITE.boundary_arn)
    return [*roles.boundary_changes(cloud, SITE, boundary(fence)), *roles.changes(cloud, SITE, both)]


@pytest.fixture(autouse=True)
def _state(aws: Cloud) -> None:
    """Its key is in the roles' policies."""
    make([*state.changes(aws, SITE)])


def bears(cloud: Cloud, role: str) -> Any:
    return (
        cloud.client("iam").get_role(RoleName=role)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    )


def test_the_role_that_deploys_stays_within_the_boundary_from_its_first_moment(aws: Cloud):
    changes = bounded(aws)
    assert changes[0].kind == "boundary", "a role cannot be made with what is not there"
    make(changes)
    assert bears(aws, "penstock-deploy-dev") == SITE.boundary_arn
    assert bears(aws, "penstock-preview-dev") is None, "it reads"
    assert actions(bounded(aws)) == {"keep"}


def test_a_role_of_an_earlier_version_gets_the_boundary_and_one_that_was_taken_off_comes_back(aws: Cloud):
    make([*roles.changes(aws, SITE, roles.roles_of(SITE, [READS], [WRITES]))])
    make(bounded(aws))
    assert bears(aws, "penstock-deploy-dev") == SITE.boundary_arn
    aws.client("iam").delete_role_permissions_boundary(RoleName="penstock-deploy-dev")
    pending = plan.pending(bounded(aws))
    assert [(each.name, each.detail.partition(":")[0]) for each in pending] == [("penstock-deploy-dev", "boundary")]
    make(pending)
    assert actions(bounded(aws)) == {"keep"}


def test_another_region_makes_another_document_of_the_same_boundary(aws: Cloud):
    make(bounded(aws))
    wider = Fence("aws", SITE.account, (SITE.region, "eu-north-1"), SITE.boundary_arn, SITE.bucket, SITE.key_alias)
    assert [each.kind for each in plan.pending(bounded(aws, wider))] == ["boundary"]
    make(bounded(aws, wider))
    assert actions(bounded(aws, wider)) == {"keep"}


@pytest.fixture
def _uses_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto lists who has a policy attached; AWS, asked with this filter, who has it as a boundary."""
    real = BaseClient._make_api_call

    def call(self: Any, operation: str, arguments: Any) -> Any:
        if operation != "ListEntitiesForPolicy":
            return real(self, operation, arguments)
        assert arguments["PolicyUsageFilter"] == "PermissionsBoundary"
        names = [each["RoleName"] for each in real(self, "ListRoles", {})["Roles"]]
        roles = [real(self, "GetRole", {"RoleName": name})["Role"] for name in names]
        bears = [
            {"RoleName": role["RoleName"]}
            for role in roles
            if role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") == arguments["PolicyArn"]
        ]
        return {"PolicyRoles": bears}

    monkeypatch.setattr(BaseClient, "_make_api_call", call)


@pytest.mark.usefixtures("_uses_are_listed")
def test_undo_takes_the_boundary_back_once_no_role_of_the_stack_has_it(aws: Cloud):
    make(bounded(aws))
    iam = aws.client("iam")
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    iam.create_role(RoleName="engine-1", AssumeRolePolicyDocument=trust, PermissionsBoundary=SITE.boundary_arn)
    (kept,) = roles.boundary_removals(aws, SITE)
    assert (kept.action, kept.detail) == ("keep", "in use by engine-1")
    iam.delete_role(RoleName="engine-1")
    both = roles.roles_of(SITE, (), ())
    make([*roles.removals(aws, SITE, both), *roles.boundary_removals(aws, SITE)])
    assert iam.list_policies(Scope="Local")["Policies"] == []
    assert list(roles.boundary_removals(aws, SITE)) == []


def test_the_role_of_a_release_trusts_that_environment_and_reaches_no_state(aws: Cloud):
    role = roles.release_role(SITE, RELEASE)
    make([*roles.changes(aws, SITE, [role])])
    iam = aws.client("iam")
    trust = iam.get_role(RoleName="penstock-release-dev")["Role"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Condition"]["StringEquals"][f"{GITHUB}:sub"] == "repo:acme/llm:environment:release"
    attached = iam.list_attached_role_policies(RoleName="penstock-release-dev")["AttachedPolicies"]
    assert [each["PolicyName"] for each in attached] == ["penstock-release-dev-1"]
    assert actions([*roles.changes(aws, SITE, [role])]) == {"keep"}
    make([*roles.removals(aws, SITE, [role])])
    assert [each["RoleName"] for each in iam.list_roles()["Roles"]] == []


def test_the_command_writes_the_boundary_into_file_and_policies_and_keeps_it(
    aws: Cloud, checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def made(context: Any, stack: str, kind: str, arn: str | None) -> list[dict[str, Any]]:
        asked.append((kind, arn))
        return [READS]

    monkeypatch.setattr("infra.ops.commands.policy.made", made)
    arn = SITE.policy_arn("penstock-boundary-team")
    flags = (*FLAGS, "--stack", "team", "--repository", "acme/llm", "--own-boundary")
    assert json.loads(penstock(checkout, *flags).stdout)["applied"] is True
    settings = Settings.from_stack_file(checkout / "Pulumi.team.yaml")
    assert settings.access.permissions_boundary_arn == arn
    assert bears(aws, "penstock-deploy-team") == arn
    later = ("roles", "release", "--stack", "team", "--repository", "acme/llm", "--yes", "--json")
    told = json.loads(penstock(checkout, *later).stdout)
    assert {each["name"] for each in told["changes"] if each["action"] == "create"} == {
        "penstock-release-team", "penstock-release-team-1",
    }  # fmt: skip
    assert [each for each in asked if each[0] == "deployer"] == [("deployer", arn)] * 2, "the file names it"
    assert any("ROLE_ARN" in step and "--env release" in step for step in told["next"])
    back = penstock(checkout, "--undo", "--yes", "--json", "--stack", "team")
    assert json.loads(back.stdout)["applied"] is True
    assert aws.client("iam").list_policies(Scope="Local")["Policies"] == []


def test_a_boundary_is_either_given_or_made(aws: Cloud, checkout: Path):
    result = penstock(checkout, *FLAGS, "--own-boundary", "--boundary", SITE.policy_arn("wide"))
    assert "--own-boundary goes without --boundary" in str(result.exception)
