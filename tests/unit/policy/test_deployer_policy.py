"""The deployer's and the previewer's policies of each stack, decided by a real evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.ops.cli import cli
from infra.policy.deployer import MANAGED_POLICY_CHARACTERS, Place, PolicyError, policies
from infra.policy.evaluate import Request, authorise
from infra.policy.needs import is_read
from infra.policy.needs_services import NEEDS
from infra.rehearsal import Registration, Rehearsal, rehearse_stack

CHECKOUT = Path(__file__).resolve().parents[3]
PLACE = Place("aws", "eu-central-1", "444455556666", "prod")
BOUNDARY = "arn:aws:iam::444455556666:policy/boundary"
OURS = {"aws:ResourceTag/project": "penstock", "aws:ResourceTag/stack": "prod"}
EC2, IAM = "arn:aws:ec2:eu-central-1:444455556666", "arn:aws:iam::444455556666"
ROLE = f"{IAM}:role/engine-1a2b3c4"


@pytest.fixture(scope="module")
def prod() -> Rehearsal:
    return rehearse_stack(CHECKOUT / "Pulumi.prod.yaml")


@pytest.fixture(scope="module")
def deployer(prod: Rehearsal) -> list[dict]:
    return policies("deployer", prod.registrations, PLACE)


@pytest.fixture(scope="module")
def previewer(prod: Rehearsal) -> list[dict]:
    return policies("preview", prod.registrations, PLACE)


ALLOWED = [
    Request("s3:CreateBucket", "arn:aws:s3:::weights-1a2b3c4"),
    Request("eks:CreateCluster", "arn:aws:eks:eu-central-1:444455556666:cluster/penstock-prod"),
    Request("ec2:CreateVpc", f"{EC2}:vpc/vpc-1"),
    Request("ec2:DeleteVpc", f"{EC2}:vpc/vpc-1", context=OURS),
    Request("iam:CreateRole", ROLE),
    Request("iam:PassRole", ROLE, context={"iam:PassedToService": "pods.eks.amazonaws.com"}),
    Request(
        "iam:AttachRolePolicy",
        f"{IAM}:role/cluster-1a2b3c4",
        context={"iam:PolicyARN": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"},
    ),
    Request("kms:ScheduleKeyDeletion", "arn:aws:kms:eu-central-1:444455556666:key/1", context=OURS),
]
REFUSED = [
    Request("s3:CreateBucket", "arn:aws:s3:::payroll"),
    Request("s3:GetObject", "arn:aws:s3:::weights-1a2b3c4/model.safetensors"),
    Request("eks:DeleteCluster", "arn:aws:eks:eu-central-1:444455556666:cluster/another"),
    Request("ec2:CreateVpc", "arn:aws:ec2:us-east-1:444455556666:vpc/vpc-1"),
    Request("ec2:DeleteVpc", f"{EC2}:vpc/vpc-1"),
    Request("ec2:DeleteVpc", f"{EC2}:vpc/vpc-1", context=OURS | {"aws:ResourceTag/stack": "dev"}),
    Request("ec2:TerminateInstances", f"{EC2}:instance/i-1", context=OURS),
    Request("iam:CreateRole", f"{IAM}:role/administrator"),
    Request("iam:CreateUser", f"{IAM}:user/me"),
    Request("iam:PassRole", ROLE, context={"iam:PassedToService": "ec2.amazonaws.com"}),
    Request("iam:PassRole", f"{IAM}:role/administrator", context={"iam:PassedToService": "eks.amazonaws.com"}),
    Request("iam:AttachRolePolicy", ROLE, context={"iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"}),
    Request("kms:ScheduleKeyDeletion", "arn:aws:kms:eu-central-1:444455556666:key/1"),
    Request("kms:CreateGrant", "arn:aws:kms:eu-central-1:444455556666:key/1"),
]


@pytest.mark.parametrize("request_", ALLOWED, ids=lambda it: f"{it.action}-{it.resource}")
def test_the_deployer_may_do_what_a_deployment_does(request_: Request, deployer: list[dict]) -> None:
    assert authorise(request_, identity=deployer)


@pytest.mark.parametrize("request_", REFUSED, ids=lambda it: f"{it.action}-{it.resource}")
def test_the_deployer_may_not_reach_beyond_its_stack(request_: Request, deployer: list[dict]) -> None:
    assert not authorise(request_, identity=deployer)


def test_the_previewer_reads_and_changes_nothing_and_sees_no_secret(previewer: list[dict]) -> None:
    actions = {action for each in previewer for statement in each["Statement"] for action in statement["Action"]}
    assert [action for action in actions if not is_read(action)] == []
    assert "secretsmanager:GetSecretValue" not in actions
    assert authorise(Request("rds:DescribeDBInstances", "*"), identity=previewer) is False
    every = f"arn:aws:rds:{PLACE.region}:{PLACE.account}:db:*"
    assert authorise(Request("rds:DescribeDBInstances", every), identity=previewer), "the program lists by a filter"
    for question in ("ec2:DescribeVpcs", "ec2:DescribeInstanceTypeOfferings"):
        assert authorise(Request(question), identity=previewer)


def test_with_a_boundary_no_role_is_made_without_it(prod: Rehearsal) -> None:
    bounded = policies("deployer", prod.registrations, PLACE, BOUNDARY)
    for action in ("iam:CreateRole", "iam:PutRolePolicy"):
        assert not authorise(Request(action, ROLE), identity=bounded)
        assert authorise(Request(action, ROLE, context={"iam:PermissionsBoundary": BOUNDARY}), identity=bounded)


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_each_stacks_policies_fit_into_a_role(stack: str) -> None:
    registrations = rehearse_stack(CHECKOUT / f"Pulumi.{stack}.yaml").registrations
    for kind in ("deployer", "preview"):
        documents = policies(kind, registrations, PLACE)
        assert len(documents) <= 10
        assert max(len(json.dumps(each, separators=(",", ":"))) for each in documents) <= MANAGED_POLICY_CHARACTERS


def test_every_grant_beyond_the_record_has_a_reason() -> None:
    for token, needs in NEEDS.items():
        for reason, actions in needs.more:
            assert reason, token
            assert actions, token


def test_a_type_that_is_not_known_is_refused_by_name() -> None:
    odd = Registration("aws:ec2/odd:Odd", "odd", "urn", "", {}, False, False, (), "", frozenset(), True)
    with pytest.raises(PolicyError, match="aws:ec2/odd:Odd"):
        policies("deployer", [odd], PLACE)


def test_the_command_prints_the_documents_of_a_stack() -> None:
    result = CliRunner().invoke(cli, ["policy", "preview", "--stack", "prod", "--json"])
    assert result.exit_code == 0, result.output
    assert {each["Version"] for each in json.loads(result.stdout)} == {"2012-10-17"}


def test_the_command_says_which_stack_it_lacks() -> None:
    result = CliRunner().invoke(cli, ["policy", "deployer", "--stack", "none"])
    assert "Pulumi.none.yaml" in str(result.exception)
