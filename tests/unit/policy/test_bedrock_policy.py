"""What a role may ask on Amazon Bedrock: the models of the stack file, and no others."""

from __future__ import annotations

import pytest

from components.bedrock import invoke_models
from components.policies import document
from infra.policy.evaluate import Request, authorise

ACCOUNT, HOME = "123456789012", "eu-central-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/gateway"
OWN = "anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
BEHIND = PROFILE.removeprefix("eu.")
PROFILE_ARN = f"arn:aws:bedrock:{HOME}:{ACCOUNT}:inference-profile/{PROFILE}"
POLICY = document(*invoke_models("aws", ACCOUNT, [(HOME, OWN), (HOME, PROFILE)]))
BY_PROFILE = {"bedrock:InferenceProfileArn": PROFILE_ARN}


def model(name: str, region: str = HOME) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{name}"


@pytest.mark.parametrize("action", ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"])
@pytest.mark.parametrize(
    ("resource", "context"),
    [(model(OWN), {}), (PROFILE_ARN, {}), (model(BEHIND, "eu-west-3"), BY_PROFILE)],
)
def test_the_named_models_may_be_asked(action: str, resource: str, context: dict[str, str]):
    assert authorise(Request(action, resource, ROLE, context), identity=[POLICY])


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("bedrock:InvokeModel", model("amazon.nova-pro-v1:0"), {}),
        ("bedrock:InvokeModel", model(OWN, "us-east-1"), {}),
        ("bedrock:InvokeModel", model(BEHIND, "eu-west-3"), {}),
        ("bedrock:InvokeModel", model(BEHIND), {"bedrock:InferenceProfileArn": PROFILE_ARN + "2"}),
        ("bedrock:InvokeModel", PROFILE_ARN.replace(ACCOUNT, "999999999999"), {}),
        ("bedrock:CreateModelInvocationJob", model(OWN), {}),
        ("bedrock:GetFoundationModel", model(OWN), {}),
    ],
)
def test_nothing_else_may_be_asked(action: str, resource: str, context: dict[str, str]):
    assert not authorise(Request(action, resource, ROLE, context), identity=[POLICY])


def test_without_models_there_is_no_statement():
    assert invoke_models("aws", ACCOUNT, []) == []
