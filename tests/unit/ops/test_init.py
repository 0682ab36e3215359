"""`penstock init`: the stack file, and an account (moto's) that ends as planned, however often a run was cut off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from moto import mock_aws

from infra.ops.cli import cli, run
from infra.ops.commands import init
from infra.ops.context import Context
from infra.ops.errors import PenstockError, RefusedError, UsageError
from infra.ops.setup import answers, plan, roles, state
from infra.ops.setup.documents import GITHUB, Site, state_access, trust
from infra.ops.setup.plan import Change, Cloud
from infra.ops.setup.stack_file import EXAMPLES, Answers, stack_file
from infra.policy.evaluate import Decision, Request, evaluate
from infra.settings import Settings, SettingsError
from infra.settings.parse import values_of_text

CHECKOUT = Path(__file__).resolve().parents[3]
ACCOUNT, REGION = "123456789012", "eu-west-1"
SITE = Site("aws", ACCOUNT, REGION, "dev", "acme/llm")
READS: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}],
}
WRITES: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}],
}
CHANGING = ("Create", "Put", "Delete", "Attach", "Detach", "Update", "Enable", "Schedule", "Cancel", "Add")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield Cloud(client)


@cache
def client(service: str) -> Any:
    """Made once: reading a service's model takes longer than all its calls here."""
    return boto3.client(service, region_name=REGION)


def wanted(site: Site = SITE, reading: int = 1) -> tuple[roles.Role, roles.Role]:
    return roles.roles_of(site, [READS] * reading, [WRITES])


def planned(cloud: Cloud, site: Site = SITE, reading: int = 1) -> list[Change]:
    return [*state.changes(cloud, site), *roles.changes(cloud, site, wanted(site, reading))]


def make(changes: list[Change]) -> None:
    for each in plan.pending(changes):
        each.make()


def undo(cloud: Cloud, site: Site = SITE) -> list[Change]:
    return [*roles.removals(cloud, site, wanted(site)), *state.removals(cloud, site)]


def actions(changes: list[Change]) -> set[str]:
    return {each.action for each in changes}


def test_a_plan_names_every_change_and_a_second_run_has_none(aws: Cloud):
    first = planned(aws)
    assert actions(first) == {"create", "change"}
    shown = "\n".join(plan.shown(first))
    for name in (SITE.bucket, SITE.key_alias, GITHUB, "penstock-preview-dev", "penstock-deploy-dev-state"):
        assert name in shown
    make(first)
    assert actions(planned(aws)) == {"keep"}
    assert "nothing to do" not in "\n".join(plan.shown(first))


def test_the_bucket_is_versioned_encrypted_closed_and_speaks_tls_alone(aws: Cloud):
    make(planned(aws))
    s3 = aws.client("s3")
    assert s3.get_bucket_versioning(Bucket=SITE.bucket)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(Bucket=SITE.bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    rule = s3.get_bucket_encryption(Bucket=SITE.bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {
        "SSEAlgorithm": "aws:kms",
        "KMSMasterKeyID": state.key_arn(aws, SITE),
    }
    policy = json.loads(s3.get_bucket_policy(Bucket=SITE.bucket)["Policy"])
    assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    rules = s3.get_bucket_lifecycle_configuration(Bucket=SITE.bucket)["Rules"]
    assert rules[0]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 90
    kms = aws.client("kms")
    assert kms.get_key_rotation_status(KeyId=state.key_arn(aws, SITE))["KeyRotationEnabled"]


def test_each_role_trusts_one_environment_of_one_repository(aws: Cloud):
    make(planned(aws))
    for name, environment in (("penstock-preview-dev", "preview-dev"), ("penstock-deploy-dev", "dev")):
        document = aws.client("iam").get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        condition = document["Statement"][0]["Condition"]["StringEquals"]
        assert condition == {
            f"{GITHUB}:aud": "sts.amazonaws.com",
            f"{GITHUB}:sub": f"repo:acme/llm:environment:{environment}",
        }
    assert "*" not in json.dumps(trust(SITE, "dev"))


@pytest.mark.parametrize(
    ("action", "path", "reads", "writes"),
    [
        ("s3:GetObject", ".pulumi/stacks/penstock/dev.json", True, True),
        ("s3:GetObject", ".pulumi/stacks/penstock/prod.json", False, False),
        ("s3:PutObject", ".pulumi/stacks/penstock/dev.json", False, True),
        ("s3:PutObject", ".pulumi/locks/organization/penstock/dev/x.json", True, True),
        ("s3:DeleteObject", ".pulumi/locks/organization/penstock/prod/x.json", False, False),
        ("s3:PutObject", ".pulumi/history/penstock/dev/x.json", False, True),
        ("s3:PutBucketPolicy", "", False, False),
    ],
)
def test_a_role_reaches_its_own_stacks_state_alone(action: str, path: str, reads: bool, writes: bool):
    for write, allowed in ((False, reads), (True, writes)):
        document = state_access(SITE, "arn:aws:kms:eu-west-1:123456789012:key/k", write=write)
        request = Request(action=action, resource=f"arn:aws:s3:::{SITE.bucket}/{path}".rstrip("/"))
        assert (evaluate([document], request) is Decision.ALLOWED) is allowed


def test_what_somebody_changed_by_hand_is_put_right(aws: Cloud):
    make(planned(aws))
    s3, iam = aws.client("s3"), aws.client("iam")
    s3.put_bucket_versioning(Bucket=SITE.bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_bucket_policy(Bucket=SITE.bucket)
    open_trust = json.dumps(trust(Site("aws", ACCOUNT, REGION, "dev", "someone/else"), "dev"))
    iam.update_assume_role_policy(RoleName="penstock-deploy-dev", PolicyDocument=open_trust)
    iam.detach_role_policy(RoleName="penstock-preview-dev", PolicyArn=SITE.policy_arn("penstock-preview-dev-1"))
    found = [(each.name, each.detail) for each in plan.pending(planned(aws))]
    assert [name for name, _ in found] == [SITE.bucket, SITE.bucket, "penstock-preview-dev-1", "penstock-deploy-dev"]
    make(planned(aws))
    assert actions(planned(aws)) == {"keep"}


def test_policies_of_a_new_version_take_the_place_of_the_old_and_surplus_ones_go(aws: Cloud):
    make(planned(aws, reading=2))
    for number in range(7):  # IAM keeps five versions
        WRITES["Statement"][0]["Action"] = f"ec2:{number}"
        make(planned(aws))
    WRITES["Statement"][0]["Action"] = "ec2:*"
    make(planned(aws))
    attached = aws.client("iam").list_attached_role_policies(RoleName="penstock-preview-dev")["AttachedPolicies"]
    assert {each["PolicyName"] for each in attached} == {"penstock-preview-dev-1", "penstock-preview-dev-state"}
    assert actions(planned(aws)) == {"keep"}


class Killed(BaseException):
    """As by SIGKILL: nothing handles it."""


def killing(monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], int]:
    """Ends the process right behind the changing call of that number: what follows it is not done."""
    real, seen = BaseClient._make_api_call, [0]

    def call(self: Any, operation: str, arguments: Any) -> Any:
        if not operation.startswith(CHANGING):
            return real(self, operation, arguments)
        seen[0] += 1
        reply = real(self, operation, arguments)
        if seen[0] == number:
            raise Killed
        return reply

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return lambda: seen[0]


CALLS = 22
"""Changing calls of a whole run, which a test holds."""


def test_so_many_calls_change_something(aws: Cloud, monkeypatch: pytest.MonkeyPatch):
    counted = killing(monkeypatch, 0)
    make(planned(aws))
    assert counted() == CALLS


@pytest.mark.parametrize("number", range(1, CALLS + 1, 2))
def test_a_run_that_was_killed_anywhere_is_finished_by_the_next(aws: Cloud, number: int):
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, number)
        with pytest.raises(Killed):
            make(planned(aws))
    make(planned(aws))
    assert actions(planned(aws)) == {"keep"}
    ours = [
        key
        for key in aws.client("kms").list_keys()["Keys"]
        if aws.client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyManager"] == "CUSTOMER"
    ]
    assert len(ours) == 1, "a second key was made, which costs and encrypts nothing"


def test_undo_takes_all_back_and_may_itself_be_cut_off(aws: Cloud):
    make(planned(aws))
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, 3)
        with pytest.raises(Killed):
            make(undo(aws))
    make(undo(aws))
    assert actions(undo(aws)) <= {"keep"}
    iam = aws.client("iam")
    assert [role for role in iam.list_roles()["Roles"] if role["RoleName"].startswith("penstock")] == []
    assert iam.list_policies(Scope="Local")["Policies"] == []
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert aws.client("s3").list_buckets()["Buckets"] == []
    make(planned(aws))
    assert actions(planned(aws)) == {"keep"}, "what was undone can be made again"


def test_undo_leaves_a_bucket_with_a_state_and_what_others_use(aws: Cloud):
    prod = Site("aws", ACCOUNT, REGION, "prod", "acme/llm")
    make(planned(aws))
    make(planned(aws, prod))
    aws.client("s3").delete_bucket_policy(Bucket=SITE.bucket)  # moto's calls are without TLS
    aws.client("s3").put_object(Bucket=SITE.bucket, Key=".pulumi/stacks/penstock/prod.json", Body=b"{}")
    with pytest.raises(RefusedError, match="keeps the state of prod"):
        undo(aws, prod)
    changes = undo(aws)
    kept = {each.kind for each in changes if each.action == "keep"}
    assert kept == {"identity provider", "S3 bucket", "KMS key"}
    make(changes)
    assert actions([each for each in planned(aws, prod) if each.kind != "S3 bucket"]) == {"keep"}


def test_a_bucket_of_somebody_else_and_a_denied_call_say_what_to_do(aws: Cloud):
    def denied(service: str) -> Any:
        class Client:
            def __getattr__(self, operation: str) -> Any:
                def call(**_: Any) -> Any:
                    error = {"Error": {"Code": "AccessDenied", "Message": "no"}}
                    raise ClientError(error, operation)

                return call

        return Client()

    with pytest.raises(PenstockError, match=r"kms:DescribeKey is denied .* credentials of an administrator"):
        list(state.changes(Cloud(denied), SITE))
    with pytest.raises(RefusedError, match="are of account 123456789012, and the stack is of 999999999999"):
        plan.check_account(aws, "999999999999")


# The stack file


def given(models: str, **more: Any) -> Answers:
    return Answers(
        stack="team",
        models=models,
        account=ACCOUNT,
        region="us-east-1",
        zones=("a", "b", "c"),
        budget_usd=9000,
        clients=("198.51.100.0/24",),
        copy_region="us-west-2",
        **more,
    )


@pytest.mark.parametrize("models", EXAMPLES)
def test_each_example_becomes_a_file_that_the_parser_takes(models: str):
    example = (CHECKOUT / EXAMPLES[models][0]).read_text()
    text = stack_file(
        example, given(models, hostname="llm.acme.test", hosted_zone="Z0123456789", repository="acme/llm")
    )
    found = Settings.parse(values_of_text(text, "Pulumi.team.yaml"))
    assert (found.aws.account_id, found.aws.region, found.edge.hostname) == (ACCOUNT, "us-east-1", "llm.acme.test")
    assert found.budget.monthly_usd == 9000
    for left in ("111122223333", "444455556666", "eu-central-1", "203.0.113", "example.com"):
        assert left not in text
    assert "$schema=docs/schema/stack.schema.json" in text
    assert {line for line in example.splitlines() if line.strip().startswith("#") and "schema" not in line} <= set(
        text.splitlines()
    )


def test_production_is_copied_and_needs_a_zone_for_its_name():
    example = (CHECKOUT / "Pulumi.prod.yaml").read_text()
    named = given("production", hostname="llm.acme.test", hosted_zone="Z0123456789")
    found = Settings.parse(values_of_text(stack_file(example, named), "x"))
    assert (found.edge.port, found.edge.certificate_arn) == (443, None)
    assert (found.data.copy_region, found.aws.allowed_regions) == ("us-west-2", ("us-east-1", "us-west-2"))
    with pytest.raises(SettingsError, match=r"edge\.hostedZoneId to make one"):
        stack_file(example, given("production"))


def test_answers_that_do_not_fit_are_refused_with_the_parsers_words():
    example = (CHECKOUT / "Pulumi.prod.yaml").read_text()
    named = given("production", hostname="llm.acme.test", hosted_zone="Z0123456789")
    with pytest.raises(SettingsError, match=r"network\.zones"):
        stack_file(example, replace(named, zones=("a", "b")))


@pytest.mark.parametrize(
    ("name", "value"), [("account", "12345"), ("region", "Frankfurt"), ("zones", "a"), ("budget", "much")]
)
def test_an_answer_that_cannot_be_right_is_refused(name: str, value: str):
    with pytest.raises(UsageError, match=name):
        answers.checked(name, value)


# The command


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yaml"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    (tmp_path / "examples").mkdir()
    shutil.copytree(CHECKOUT / "examples" / "stacks", tmp_path / "examples" / "stacks")
    return tmp_path


FLAGS = ("--yes", "--json", "--models", "outside", "--region", REGION, "--clients", "198.51.100.0/24")


def penstock(checkout: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["init", *arguments], obj=Context(checkout=checkout))


def test_one_command_makes_file_state_and_roles(aws: Cloud, checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("infra.ops.commands.policy.made", lambda *_: [READS])
    flags = (*FLAGS, "--stack", "team", "--repository", "acme/llm")
    dry = json.loads(penstock(checkout, *flags, "--dry-run").stdout)
    assert (dry["applied"], dry["file"]["action"]) == (False, "create")
    assert not (checkout / "Pulumi.team.yaml").exists()
    assert aws.client("s3").list_buckets()["Buckets"] == []

    done = json.loads(penstock(checkout, *flags).stdout)
    assert done["applied"] is True
    assert Settings.from_stack_file(checkout / "Pulumi.team.yaml").aws.account_id == ACCOUNT
    assert f"export PULUMI_BACKEND_URL='s3://penstock-state-{ACCOUNT}-{REGION}?region={REGION}'" in done["next"]
    assert "export PULUMI_OPTION_POLICY_PACK=infra/policy" in done["next"]
    assert any("gh variable set ROLE_ARN" in step for step in done["next"])

    again = json.loads(penstock(checkout, *flags).stdout)
    assert (again["applied"], again["file"]["action"]) == (False, "unchanged")
    assert {each["action"] for each in again["changes"]} == {"keep"}

    back = json.loads(penstock(checkout, "--undo", "--yes", "--json", "--stack", "team").stdout)
    assert back["applied"] is True
    assert aws.client("s3").list_buckets()["Buckets"] == []


def test_a_file_that_is_there_is_kept_aside_before_it_is_written_over(aws: Cloud, checkout: Path):
    before = (checkout / "Pulumi.dev.yaml").read_text()
    result = penstock(checkout, "files", *FLAGS)
    assert json.loads(result.stdout)["backups"] == [".penstock/backup/Pulumi.dev.yaml.1"]
    assert (checkout / ".penstock/backup/Pulumi.dev.yaml.1").read_text() == before


def test_without_a_terminal_nothing_is_guessed_and_nothing_written(
    aws: Cloud, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    before = (checkout / "Pulumi.dev.yaml").read_text()
    assert run(["init", "files"], Context(checkout=checkout)) == 2
    assert "--region is missing" in capsys.readouterr().err
    assert run(["init", "files", "--region", REGION], Context(checkout=checkout)) == 4
    assert (checkout / "Pulumi.dev.yaml").read_text() == before


def test_a_terminal_is_asked_again_until_an_answer_can_be_right(
    aws: Cloud, checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(answers, "can_ask", lambda yes: True)
    monkeypatch.setattr(init, "asking", lambda yes, question: lambda lines: True)
    said = "outside\n\nFrankfurt\neu-west-1\n\n\n198.51.100.0/24\n\n\n"
    result = CliRunner().invoke(cli, ["init", "files", "--stack", "team"], obj=Context(checkout=checkout), input=said)
    assert result.exit_code == 0, result.output
    assert Settings.from_stack_file(checkout / "Pulumi.team.yaml").aws.region == "eu-west-1"


def test_a_change_that_fails_says_how_far_it_came_and_the_next_run_goes_on(
    aws: Cloud, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = BaseClient._make_api_call

    def refuse(self: Any, operation: str, arguments: Any) -> Any:
        if operation == "PutBucketPolicy":
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)
        return real(self, operation, arguments)

    penstock(checkout, "files", *FLAGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", refuse)
        assert run(["init", "state", "--yes"], Context(checkout=checkout)) == 1
    said = capsys.readouterr().err
    assert "4 of 9 changes are made. s3:PutBucketPolicy is denied" in said
    assert json.loads(penstock(checkout, "state", "--yes", "--json").stdout)["applied"] is True
