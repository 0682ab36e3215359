"""Reads secrets of AWS Secrets Manager: the database owner's login, which RDS rotates, and keys of outside providers.

Only the migration does this, once: it is written with the standard library, and needs no AWS SDK. The reader of budget
events signs its calls here too.
Credentials are those of the pod (EKS Pod Identity), or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import http.client
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECONDS = 10.0
MOST_BYTES = 256 * 1024
IDENTITY_AGENTS = ("169.254.170.23", "fd00:ec2::23", "127.0.0.1", "::1")
"""Where credentials may come from over plain HTTP (EKS user guide): a token must not be sent to anybody else."""
ARN = re.compile(r"arn:(aws(?:-cn|-us-gov)?):secretsmanager:([a-z0-9-]+):[0-9]{12}:secret:[\w/+=.@!-]+")


class SecretError(Exception):
    """The secret cannot be had. The message is for the operator and has no part of the secret."""


@dataclass(frozen=True)
class Credentials:
    key_id: str
    key: str = field(repr=False)
    token: str = field(default="", repr=False)


def owner_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with user and password of PENSTOCK_DATABASE_SECRET_ARN where that is set. Raises SecretError."""
    found = dict(environment)
    if arn := environment.get("PENSTOCK_DATABASE_SECRET_ARN", ""):
        found["PENSTOCK_DATABASE_USER"], found["PENSTOCK_DATABASE_PASSWORD"] = read_login(arn, environment)
        found.pop("PENSTOCK_DATABASE_PASSWORD_FILE", None)
    return found


def read_login(arn: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """User name and password of the secret. Takes 20 s at most. Raises SecretError."""
    try:
        content = json.loads(read_secret(arn, environment, "PENSTOCK_DATABASE_SECRET_ARN"))
        return str(content["username"]), str(content["password"])
    except (ValueError, LookupError, TypeError):
        raise SecretError(f"{arn} does not hold a user name and a password") from None


def read_secret(arn: str, environment: Mapping[str, str], variable: str = "PENSTOCK_PROVIDER_SECRETS") -> str:
    """The secret's text. Takes 20 s at most. `variable`: where the ARN is from. Raises SecretError."""
    found = ARN.fullmatch(arn)
    if found is None:
        raise SecretError(f"{variable}: {arn!r} is not the ARN of a secret")
    partition, region = found[1], found[2]
    credentials = pod_credentials(environment)
    endpoint = (
        environment.get("AWS_ENDPOINT_URL_SECRETS_MANAGER")
        or environment.get("AWS_ENDPOINT_URL")
        or f"https://secretsmanager.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"
    )
    body = json.dumps({"SecretId": arn}).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"}
    now = dt.datetime.now(dt.UTC)
    signed = sign(urlsplit(endpoint).netloc, headers, body, region, credentials, now)
    status, raw = _request("POST", endpoint, "/", body, signed)
    if status != 200:
        raise SecretError(f"Secrets Manager answered {status} for {arn}: {_reason(raw)}")
    try:
        return str(json.loads(raw)["SecretString"])
    except (ValueError, LookupError, TypeError):
        raise SecretError(f"Secrets Manager's answer for {arn} holds no text") from None


def sign(
    host: str,
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    credentials: Credentials,
    now: dt.datetime,
    service: str = "secretsmanager",
) -> dict[str, str]:
    """The headers of a POST to `/` with its Signature Version 4; all are signed."""
    date = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "Host": host, "X-Amz-Date": date}
    if credentials.token:
        sent["X-Amz-Security-Token"] = credentials.token
    lines = sorted((name.lower(), value.strip()) for name, value in sent.items())
    names = ";".join(name for name, _ in lines)
    request = "\n".join(
        ("POST", "/", "", *(f"{name}:{value}" for name, value in lines), "", names, hashlib.sha256(body).hexdigest())
    )
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", date, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    return sent | {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, SignedHeaders={names}, "
        f"Signature={signature}"
    }


def pod_credentials(environment: Mapping[str, str]) -> Credentials:
    """Those of the pod, or of the environment. Takes 10 s at most. Raises SecretError."""
    if uri := environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", ""):
        return _of_the_pod(uri, environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""))
    key_id, key = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
    if not key_id or not key:
        raise SecretError(
            "no AWS credentials: the pod's service account has no Pod Identity association yet "
            "(AWS_CONTAINER_CREDENTIALS_FULL_URI is not set)"
        )
    return Credentials(key_id, key, environment.get("AWS_SESSION_TOKEN", ""))


def _of_the_pod(uri: str, token_file: str) -> Credentials:
    address = urlsplit(uri)
    if address.scheme != "https" and (address.hostname or "") not in IDENTITY_AGENTS:
        raise SecretError(f"AWS_CONTAINER_CREDENTIALS_FULL_URI: {uri!r} is neither HTTPS nor the Pod Identity agent")
    try:
        token = Path(token_file).read_text().strip() if token_file else ""
    except OSError as error:
        raise SecretError(f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: {error.strerror or error}") from None
    status, raw = _request("GET", uri, address.path or "/", b"", {"Authorization": token} if token else {})
    if status != 200:
        raise SecretError(f"the Pod Identity agent answered {status}: {_reason(raw)}")
    try:
        content = json.loads(raw)
        return Credentials(content["AccessKeyId"], content["SecretAccessKey"], content.get("Token", ""))
    except (ValueError, LookupError, TypeError):
        raise SecretError("the Pod Identity agent's answer has no credentials") from None


def _request(method: str, url: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    address = urlsplit(url)
    try:
        if address.scheme == "https":
            trust = ssl.create_default_context()
            connection = http.client.HTTPSConnection(address.netloc, timeout=SECONDS, context=trust)
        else:
            connection = http.client.HTTPConnection(address.netloc, timeout=SECONDS)
        try:
            connection.request(method, path, body or None, dict(headers))
            reply = connection.getresponse()
            return reply.status, reply.read(MOST_BYTES)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise SecretError(f"{address.netloc} did not answer: {error or type(error).__name__}") from None


def _reason(raw: bytes) -> str:
    """Type and message of AWS's error; nothing else of the answer is repeated."""
    try:
        content: Any = json.loads(raw)
        kind, message = content.get("__type", ""), content.get("message") or content.get("Message") or ""
    except (ValueError, AttributeError):
        return "no reason given"
    return f"{str(kind).rpartition('#')[2]} {message}".strip()[:300]
