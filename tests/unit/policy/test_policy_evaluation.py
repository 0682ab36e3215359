"""The evaluation itself: IAM's order of decision, wildcards, conditions, principals."""

from __future__ import annotations

from typing import Any

import pytest

from infra.policy.evaluate import Decision, Request, UnsupportedPolicyError, authorise, covers_arn, evaluate

ROLE = "arn:aws:iam::123456789012:role/engine"
ROOT = "arn:aws:iam::123456789012:root"
BUCKET = "arn:aws:s3:::weights"


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    defaults = {"Effect": "Allow", "Resource": "*"}
    return {"Statement": [defaults | each for each in statements]}


READ = policy({"Action": ["s3:Get*", "s3:ListBucket"]})
DENY = policy({"Effect": "Deny", "Action": "s3:GetObject"})


def test_nothing_is_granted_without_an_allow() -> None:
    assert evaluate([], Request("s3:GetObject")) is Decision.NOT_GRANTED
    assert evaluate([READ], Request("s3:PutObject")) is Decision.NOT_GRANTED


def test_a_deny_wins_wherever_it_stands() -> None:
    assert evaluate([DENY, READ], Request("s3:GetObject")) is Decision.DENIED
    assert evaluate([READ, DENY], Request("s3:GetObject")) is Decision.DENIED
    everyone = policy({"Principal": "*", "Action": "s3:*"})
    assert not authorise(Request("s3:GetObject", principal=ROLE), identity=[DENY], resource=[everyone])


@pytest.mark.parametrize(
    ("pattern", "action", "matches"),
    [
        ("s3:GetObject", "S3:getobject", True),
        ("s3:Get*", "s3:GetObject", True),
        ("s3:Get*", "s3:PutObject", False),
        ("s3:?etObject", "s3:GetObject", True),
        ("s3:Get[OB]bject", "s3:GetObject", False),
        ("*", "kms:Decrypt", True),
    ],
)
def test_actions_are_compared_with_wildcards_and_without_case(pattern: str, action: str, matches: bool) -> None:
    granted = evaluate([policy({"Action": pattern})], Request(action)) is Decision.ALLOWED
    assert granted is matches


@pytest.mark.parametrize(
    ("pattern", "arn", "covered"),
    [
        ("*", BUCKET, True),
        (f"{BUCKET}/*", f"{BUCKET}/a/b", True),
        (f"{BUCKET}/*", BUCKET, False),
        (f"{BUCKET}*", f"{BUCKET}-other", True),
        ("arn:aws:logs:*:1:log-group:*", "arn:aws:logs:eu-central-1:1:log-group:/a:log-stream:b", True),
        ("arn:aws:sqs:*:queue", "arn:aws:sqs:eu-central-1:1:queue", False),
        ("arn:aws:s3:::Weights", BUCKET, False),
        (f"{BUCKET}/*", "*", False),
    ],
)
def test_a_wildcard_of_an_arn_stays_in_its_segment(pattern: str, arn: str, covered: bool) -> None:
    assert covers_arn(pattern, arn) is covered


def test_what_is_named_by_not_is_left_out() -> None:
    all_but_iam = policy({"NotAction": "iam:*"})
    assert evaluate([all_but_iam], Request("iam:CreateUser")) is Decision.NOT_GRANTED
    assert evaluate([all_but_iam], Request("s3:GetObject")) is Decision.ALLOWED
    elsewhere = {"Statement": {"Effect": "Deny", "Action": "s3:*", "NotResource": f"{BUCKET}/*"}}
    assert evaluate([elsewhere], Request("s3:GetObject", "arn:aws:s3:::other/x")) is Decision.DENIED
    assert evaluate([elsewhere], Request("s3:GetObject", f"{BUCKET}/x")) is Decision.NOT_GRANTED


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringEquals": {"a:K": "x"}}, {"A:k": "x"}, True),
        ({"StringEquals": {"k": ["x", "y"]}}, {"k": "y"}, True),
        ({"StringEquals": {"k": "x"}}, {}, False),
        ({"StringEquals": {"k": "x", "l": "y"}}, {"k": "x"}, False),
        ({"StringEquals": {"k": "x"}, "Bool": {"l": "true"}}, {"k": "x", "l": "false"}, False),
        ({"StringEqualsIfExists": {"k": "x"}}, {}, True),
        ({"StringNotEquals": {"k": "x"}}, {}, True),
        ({"StringNotEquals": {"k": ["x", "y"]}}, {"k": "y"}, False),
        ({"StringLike": {"k": "x-*"}}, {"k": "x-1"}, True),
        ({"StringLike": {"k": "${aws:PrincipalTag/team}-*"}}, {"k": "a-1", "aws:PrincipalTag/team": "a"}, True),
        ({"StringNotLike": {"k": "x-*"}}, {"k": "x-1"}, False),
        ({"ArnLike": {"k": "arn:aws:s3:::*"}}, {"k": BUCKET}, True),
        ({"ArnLike": {"k": "arn:*:weights"}}, {"k": BUCKET}, False),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws:SecureTransport": "false"}, True),
        ({"Null": {"k": "true"}}, {}, True),
        ({"Null": {"k": "false"}}, {}, False),
        ({"IpAddress": {"k": "10.0.0.0/8"}}, {"k": "10.1.2.3"}, True),
        ({"NumericLessThan": {"k": "10"}}, {"k": "9"}, True),
        ({"ForAllValues:StringEquals": {"k": ["x", "y"]}}, {"k": ["x", "z"]}, False),
        ({"ForAllValues:StringEquals": {"k": ["x"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"k": ["x"]}}, {"k": ["z", "x"]}, True),
    ],
)
def test_a_condition_holds_as_in_iam(condition: dict[str, Any], context: dict[str, Any], holds: bool) -> None:
    granted = evaluate([policy({"Action": "*", "Condition": condition})], Request("s3:GetObject", context=context))
    assert (granted is Decision.ALLOWED) is holds


def test_a_statement_for_the_account_leaves_the_decision_to_its_iam_policies() -> None:
    key = policy({"Principal": {"AWS": ROOT}, "Action": "kms:*"})
    request = Request("kms:Decrypt", principal=ROLE)
    assert evaluate([key], request) is Decision.LEFT_TO_IAM
    assert not authorise(request, resource=[key], resource_decides=True)
    may = policy({"Action": "kms:Decrypt"})
    assert authorise(request, identity=[may], resource=[key], resource_decides=True)
    foreign = Request("kms:Decrypt", principal="arn:aws:iam::999999999999:role/engine")
    assert not authorise(foreign, identity=[may], resource=[key], resource_decides=True)


def test_where_the_resource_decides_a_callers_own_policy_is_not_enough() -> None:
    request = Request("kms:Decrypt", principal=ROLE)
    assert authorise(request, identity=[policy({"Action": "kms:*"})])
    assert not authorise(request, identity=[policy({"Action": "kms:*"})], resource=[], resource_decides=True)


def test_all_aws_principals_are_not_all_services() -> None:
    anyone = policy({"Principal": {"AWS": "*"}, "Action": "kms:Decrypt"})
    assert evaluate([anyone], Request("kms:Decrypt", principal=ROLE)) is Decision.ALLOWED
    assert evaluate([anyone], Request("kms:Decrypt", principal="logs.amazonaws.com")) is Decision.NOT_GRANTED


def test_a_boundary_limits_what_a_policy_grants() -> None:
    request = Request("s3:GetObject", principal=ROLE)
    assert authorise(request, identity=[READ], boundary=READ)
    assert not authorise(request, identity=[READ], boundary=policy({"Action": "kms:*"}))


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": "*", "Condition": {"DateLessThan": {"k": "2030-01-01"}}},
        {"Action": "*", "Condition": {"StringLike": {"k": "${aws:username}"}}},
        {"Action": "*", "Principal": {"CanonicalUser": "x"}},
        {"Action": "*", "NotPrincipal": "*"},
        {"Action": "*", "Effect": "Permit"},
        {"Action": "*", "NotAction": "s3:*"},
        {"Action": "*", "Conditions": {}},
    ],
)
def test_what_is_not_known_is_never_taken_as_granted(statement: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedPolicyError):
        evaluate([policy(statement)], Request("s3:GetObject", context={"k": "x"}))
