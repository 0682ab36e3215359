"""The permissions boundary that `penstock init` makes, decided by a real evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.policy.boundary import Fence, boundary, push_images
from infra.policy.deployer import MANAGED_POLICY_CHARACTERS, Place, policies
from infra.policy.evaluate import Decision, Request, authorise, evaluate, listed, statements
from infra.rehearsal import Rehearsal, rehearse_stack

CHECKOUT = Path(__file__).resolve().parents[3]
ACCOUNT, HOME, OTHER = "444455556666", "eu-central-1", "eu-west-1"
IAM = f"arn:aws:iam::{ACCOUNT}"
ARN = f"{IAM}:policy/penstock-boundary-prod"
FENCE = Fence("aws", ACCOUNT, (HOME, OTHER), ARN, f"penstock-state-{ACCOUNT}-{HOME}", "alias/penstock-state")
DOCUMENT = boundary(FENCE)
HERE = {"aws:RequestedRegion": HOME}
BOUNDED = {"iam:PermissionsBoundary": ARN}
STATE = f"arn:aws:s3:::{FENCE.state_bucket}"
ANYTHING = [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}]


@pytest.fixture(scope="module")
def prod() -> Rehearsal:
    return rehearse_stack(CHECKOUT / "Pulumi.prod.yaml")


def actions(documents: Any) -> Iterator[tuple[str, list[str]]]:
    for statement in statements(documents):
        if statement["Effect"] == "Allow":
            for action in listed(statement["Action"]):
                yield action, listed(statement.get("Resource"))


def test_the_document_fits_a_managed_policy():
    assert len(json.dumps(DOCUMENT, separators=(",", ":"))) <= MANAGED_POLICY_CHARACTERS


@pytest.mark.parametrize("kind", ["deployer", "preview"])
def test_all_that_a_deployment_needs_is_inside(prod: Rehearsal, kind: Any):
    documents = policies(kind, prod.registrations, Place("aws", HOME, ACCOUNT, "prod"), ARN)
    seen = 0
    for action, arns in actions(documents):
        for arn in arns:
            region = arn.split(":")[3] if arn.count(":") > 4 and arn.split(":")[3] else HOME
            context = {"aws:RequestedRegion": region, **BOUNDED}
            request = Request(action.replace("*", "Any"), arn, context=context)
            assert evaluate([DOCUMENT], request) is Decision.ALLOWED, f"{action} {arn}"
            seen += 1
    assert seen > 100


def test_all_that_the_programs_own_roles_are_granted_is_inside(prod: Rehearsal):
    documents = [
        json.loads(each.inputs["policy"])
        for each in prod.registrations
        if each.type == "aws:iam/rolePolicy:RolePolicy" and str(each.inputs["policy"]).startswith("{")
    ]
    assert len(documents) > 5
    for action, _ in actions(documents):
        request = Request(action.replace("*", "Any"), "*", context={**HERE, **BOUNDED})
        assert evaluate([DOCUMENT], request) is Decision.ALLOWED, action


NEVER = [
    Request("iam:CreateRole", f"{IAM}:role/engine-1", context=HERE),
    Request("iam:CreateRole", f"{IAM}:role/engine-1", context=HERE | {"iam:PermissionsBoundary": f"{IAM}:policy/wide"}),
    Request("iam:PutRolePolicy", f"{IAM}:role/without", context=HERE),
    Request("iam:AttachRolePolicy", f"{IAM}:role/without", context=HERE),
    Request("iam:PutRolePermissionsBoundary", f"{IAM}:role/engine-1", context=HERE),
    Request("iam:DeleteRolePermissionsBoundary", f"{IAM}:role/engine-1", context=HERE | BOUNDED),
    Request("iam:CreatePolicyVersion", ARN, context=HERE),
    Request("iam:SetDefaultPolicyVersion", ARN, context=HERE),
    Request("iam:DeletePolicyVersion", ARN, context=HERE),
    Request("iam:DeletePolicy", ARN, context=HERE),
    Request("iam:CreateUser", f"{IAM}:user/me", context=HERE),
    Request("iam:CreateAccessKey", f"{IAM}:user/me", context=HERE),
    Request("iam:AttachUserPolicy", f"{IAM}:user/me", context=HERE),
    Request("iam:AddUserToGroup", f"{IAM}:group/administrators", context=HERE),
    Request("iam:CreateOpenIDConnectProvider", "*", context=HERE),
    Request("iam:UpdateAssumeRolePolicy", f"{IAM}:role/penstock-deploy-prod", context=HERE | BOUNDED),
    Request("iam:PutRolePolicy", f"{IAM}:role/penstock-deploy-prod", context=HERE | BOUNDED),
    Request("iam:CreatePolicyVersion", f"{IAM}:policy/penstock-deploy-prod-1", context=HERE),
    Request("ec2:RunInstances", "*", context={"aws:RequestedRegion": "us-east-1"}),
    Request("s3:CreateBucket", "arn:aws:s3:::copy", context={"aws:RequestedRegion": "ap-southeast-1"}),
    Request("bedrock:InvokeModel", "*", context={"aws:RequestedRegion": "us-east-1"}),
    Request("organizations:LeaveOrganization", "*", context=HERE),
    Request("lambda:CreateFunction", "*", context=HERE),
    Request("s3:DeleteBucket", STATE, context=HERE),
    Request("s3:PutBucketPolicy", STATE, context=HERE),
    Request("s3:DeleteObjectVersion", f"{STATE}/.pulumi/stacks/penstock/prod.json", context=HERE),
    Request("kms:ScheduleKeyDeletion", "*", context=HERE | {"kms:ResourceAliases": ["alias/penstock-state"]}),
]


@pytest.mark.parametrize("request_", NEVER, ids=lambda it: f"{it.action}-{it.resource}")
def test_what_must_never_be_is_denied_to_an_administrator_within_it(request_: Request):
    assert not authorise(request_, identity=ANYTHING, boundary=DOCUMENT)


MAY = [
    Request("iam:CreateRole", f"{IAM}:role/engine-1", context=HERE | BOUNDED),
    Request("iam:AttachRolePolicy", f"{IAM}:role/engine-1", context=HERE | BOUNDED),
    Request("iam:GetRole", f"{IAM}:role/penstock-deploy-prod", context={"aws:RequestedRegion": "us-east-1"}),
    Request("ec2:RunInstances", "*", context={"aws:RequestedRegion": OTHER}),
    Request("route53:ChangeResourceRecordSets", "*", context={"aws:RequestedRegion": "us-east-1"}),
    Request("s3:PutObject", f"{STATE}/.pulumi/stacks/penstock/prod.json", context=HERE),
    Request("s3:DeleteBucket", "arn:aws:s3:::weights-1", context=HERE),
    Request("kms:ScheduleKeyDeletion", "*", context=HERE | {"kms:ResourceAliases": ["alias/weights"]}),
]


@pytest.mark.parametrize("request_", MAY, ids=lambda it: f"{it.action}-{it.resource}")
def test_what_a_deployment_does_stays_possible_within_it(request_: Request):
    assert authorise(request_, identity=ANYTHING, boundary=DOCUMENT)
    assert not authorise(request_, boundary=DOCUMENT), "a boundary grants nothing by itself"


def test_an_inference_profile_may_answer_from_a_region_of_its_group_where_the_stack_asks_one():
    from dataclasses import replace

    asked = Request("bedrock:InvokeModelWithResponseStream", "*", context={"aws:RequestedRegion": "eu-north-1"})
    assert evaluate([boundary(replace(FENCE, bedrock=True))], asked) is Decision.ALLOWED
    assert evaluate([DOCUMENT], asked) is Decision.DENIED


ECR = f"arn:aws:ecr:{HOME}:{ACCOUNT}:repository"


@pytest.mark.parametrize(
    ("action", "resource", "may"),
    [
        ("ecr:GetAuthorizationToken", "*", True),
        ("ecr:PutImage", f"{ECR}/penstock-prod/gateway", True),
        ("ecr:UploadLayerPart", f"{ECR}/penstock-prod/gateway", True),
        ("ecr:PutImage", f"{ECR}/penstock-prod/engine", False),
        ("ecr:BatchDeleteImage", f"{ECR}/penstock-prod/gateway", False),
        ("ecr:SetRepositoryPolicy", f"{ECR}/penstock-prod/gateway", False),
        ("ecr:PutImageTagMutability", f"{ECR}/penstock-prod/gateway", False),
        ("s3:GetObject", "arn:aws:s3:::penstock-state", False),
    ],
)
def test_the_role_of_a_release_pushes_to_one_repository_and_does_nothing_else(action: str, resource: str, may: bool):
    document = push_images("aws", HOME, ACCOUNT, "penstock-prod/gateway")
    assert authorise(Request(action, resource), identity=[document]) is may
