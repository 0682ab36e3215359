"""EKS tokens: made as aws-iam-authenticator makes them, and reviewed as EKS reviews them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from infra.local.aws.eks_tokens import TokenError, read, signed_by
from infra.ops.eks_token import exec_credential, token

HOST = "127.9.0.1:4566"
REGION = "eu-central-1"


@pytest.fixture(scope="module")
def bearer() -> str:
    """A token of the key `deployer` with the secret `secret` for the cluster `penstock`, just made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}")
        return token(boto3.Session("deployer", "secret", region_name=REGION), "penstock", REGION)


def url_of(bearer: str) -> str:
    encoded = bearer.removeprefix("k8s-aws-v1.")
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()


def bearer_of(url: str) -> str:
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def test_a_token_proves_its_key_and_its_cluster(bearer: str) -> None:
    claim = read(bearer, HOST, datetime.now(UTC))
    assert (claim.access_key, claim.region) == ("deployer", REGION)
    assert signed_by(claim, "penstock", "secret")
    assert not signed_by(claim, "other", "secret"), "a token for one cluster is none for another"
    assert not signed_by(claim, "penstock", "wrong")


def test_a_token_is_good_for_15_minutes(bearer: str) -> None:
    now = datetime.now(UTC)
    read(bearer, HOST, now + timedelta(minutes=14, seconds=50))
    with pytest.raises(TokenError, match="it has expired"):
        read(bearer, HOST, now + timedelta(minutes=15, seconds=5))
    with pytest.raises(TokenError, match="from the future"):
        read(bearer, HOST, now - timedelta(minutes=6))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (HOST, "evil.example.com", "not for 127.9.0.1:4566"),
        ("http://", "file://", "not for 127.9.0.1:4566"),
        ("/?", "/admin?", "has a path"),
        ("Action=GetCallerIdentity", "Action=AssumeRole", "not GetCallerIdentity"),
        ("Action=GetCallerIdentity", "Action=GetCallerIdentity&Action=AssumeRole", "occurs twice"),
        ("Version=2011-06-15", "Version=2011-06-15&RoleArn=x", "unexpected parameters: RoleArn"),
        ("X-Amz-Expires=60", "X-Amz-Expires=86400", "not within 15 minutes"),
        ("X-Amz-Expires=60", "X-Amz-Expires=x", "cannot be read"),
        ("host%3Bx-k8s-aws-id", "host", "is not signed"),
        ("%2Fsts%2F", "%2Fs3%2F", "not for STS"),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "", "are missing: X-Amz-Algorithm"),
    ],
)
def test_a_tampered_token_is_refused_with_the_reason(bearer: str, old: str, new: str, reason: str) -> None:
    url = url_of(bearer)
    assert old in url
    with pytest.raises(TokenError, match=reason):
        read(bearer_of(url.replace(old, new, 1)), HOST, datetime.now(UTC))


@pytest.mark.parametrize("text", ["", "k8s-aws-v1.", "k8s-aws-v1.!!!", "k8s-aws-v2.aGVsbG8", "k8s-aws-v1.aGVsbG8"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        read(text, HOST, datetime.now(UTC))


def test_a_changed_parameter_breaks_the_signature(bearer: str) -> None:
    url = url_of(bearer).replace("X-Amz-Expires=60", "X-Amz-Expires=600")
    assert not signed_by(read(bearer_of(url), HOST, datetime.now(UTC)), "penstock", "secret")


def test_the_exec_credential_expires_before_the_token_does() -> None:
    made = exec_credential("k8s-aws-v1.x", datetime(2026, 11, 21, 10, 0, tzinfo=UTC))
    assert made["kind"] == "ExecCredential"
    assert made["apiVersion"] == "client.authentication.k8s.io/v1"
    assert made["status"] == {"token": "k8s-aws-v1.x", "expirationTimestamp": "2026-11-21T10:14:00Z"}


def review(aws: Any, bearer: str) -> dict[str, Any]:
    """What the API server hears of the authenticator."""
    document = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": bearer}}
    status, body = aws.http(aws.layout.authenticator_url, json.dumps(document).encode())
    assert status == 200
    return json.loads(body)["status"]


@pytest.fixture
def made_for(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes tokens for the running embedded AWS."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.layout.aws_url)
    return lambda session, name="penstock": token(session, name, REGION)


def test_the_creator_of_the_cluster_is_its_administrator(aws: Any, cluster: Any, made_for: Any) -> None:
    status = review(aws, made_for(aws.session))
    assert status["authenticated"] is True
    assert status["user"]["username"] == "arn:aws:iam::123456789012:user/penstock-deployer"
    assert status["user"]["groups"] == ["system:masters"]


def test_an_assumed_role_becomes_the_user_of_its_access_entry(aws: Any, cluster: Any, role: str, made_for: Any) -> None:
    eks = aws.client("eks")
    assumed = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="alice@example.com")["Credentials"]
    session = boto3.Session(assumed["AccessKeyId"], assumed["SecretAccessKey"], assumed["SessionToken"])
    refused = review(aws, made_for(session))
    assert refused["authenticated"] is False
    assert f"has no access entry for {role}" in refused["error"]
    eks.create_access_entry(clusterName="penstock", principalArn=role, kubernetesGroups=["penstock:operators"])
    try:
        user = review(aws, made_for(session))["user"]
    finally:
        eks.delete_access_entry(clusterName="penstock", principalArn=role)
    assert user["username"] == "arn:aws:sts::123456789012:assumed-role/cluster/alice-example.com"
    assert user["groups"] == ["penstock:operators"]


@pytest.mark.parametrize(
    ("key", "secret", "name", "reason"),
    [
        ("penstock-local", "penstock-local", "other", "fits no cluster"),
        ("penstock-local", "guessed", "penstock", "fits no cluster"),
        ("AKIAUNKNOWN", "penstock-local", "penstock", "access key AKIAUNKNOWN is unknown"),
    ],
)
def test_a_token_of_a_stranger_is_refused(
    aws: Any, cluster: Any, made_for: Any, key: str, secret: str, name: str, reason: str
) -> None:
    status = review(aws, made_for(boto3.Session(key, secret), name))
    assert status["authenticated"] is False
    assert reason in status["error"]


def test_what_is_no_token_review_is_a_bad_request(aws: Any) -> None:
    assert aws.http(aws.layout.authenticator_url, b"{}")[0] == 400
