"""Tokens for EKS: a presigned STS GetCallerIdentity URL, as `aws eks get-token` and aws-iam-authenticator make them.

Whoever gets the token can only learn who the caller is. The cluster's name is part of what is signed, so a token for
one cluster is none for another.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.signers import RequestSigner

PREFIX = "k8s-aws-v1."
CLUSTER_HEADER = "x-k8s-aws-id"
URL_SECONDS = 60
"""X-Amz-Expires of the URL. EKS takes the token for 15 minutes from its date all the same."""

TOKEN_LIFETIME = timedelta(minutes=14)
"""A minute less than what EKS grants, as aws-iam-authenticator does, so that no token expires on its way."""


def token(session: Any, cluster: str, region: str) -> str:
    """A bearer token for the EKS cluster named `cluster`.

    `session` is a boto3 session. Its endpoint settings hold (AWS_ENDPOINT_URL), so a token can be for an embedded AWS.
    Raises botocore's NoCredentialsError where the session has none.
    """
    client = session.client("sts", region_name=region)
    signer = RequestSigner(
        client.meta.service_model.service_id, region, "sts", "v4", session.get_credentials(), session.events
    )
    endpoint = client.meta.endpoint_url.rstrip("/")
    request = {
        "method": "GET",
        "url": f"{endpoint}/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {CLUSTER_HEADER: cluster},
        "context": {},
    }
    url = signer.generate_presigned_url(request, region_name=region, expires_in=URL_SECONDS, operation_name="")
    return PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def exec_credential(bearer: str, now: datetime | None = None) -> dict[str, Any]:
    """The token as the document that kubectl and Kubernetes clients read from an exec plugin's standard output."""
    expiry = (now or datetime.now(UTC)) + TOKEN_LIFETIME
    return {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {"interactive": False},
        "status": {"expirationTimestamp": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"), "token": bearer},
    }
