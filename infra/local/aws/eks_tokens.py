"""Reads and verifies EKS bearer tokens (pure): base64 of a presigned STS GetCallerIdentity URL."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

PREFIX = "k8s-aws-v1."
CLUSTER_HEADER = "x-k8s-aws-id"
LONGEST_TOKEN = 8192  # characters
LIFETIME = timedelta(minutes=15)
CLOCK_SKEW = timedelta(minutes=5)
PARAMETERS = frozenset(
    (
        "Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
        "X-Amz-Security-Token", "X-Amz-SignedHeaders", "X-Amz-Signature",
    )
)  # fmt: skip


class TokenError(ValueError):
    """The token is refused; the message says why."""


@dataclass(frozen=True)
class Claim:
    """What a token says about itself, not yet proven."""

    access_key: str
    date: str
    region: str
    session_token: str | None
    signature: str
    parameters: Mapping[str, str]
    host: str


def read(token: str, host: str, now: datetime) -> Claim:
    """Takes a token apart. `host` is the STS that it must call (host:port). Raises TokenError."""
    if not token.startswith(PREFIX):
        raise TokenError(f"it does not begin with {PREFIX}")
    if len(token) > LONGEST_TOKEN:
        raise TokenError(f"it has more than {LONGEST_TOKEN} characters")
    encoded = token[len(PREFIX) :]
    try:
        url = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode("ascii")
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError(f"it holds no URL: {error}") from error
    if parts.scheme not in ("http", "https") or parts.netloc != host:
        raise TokenError(f"its URL is for {parts.scheme}://{parts.netloc}, not for {host}")
    if parts.path not in ("", "/") or parts.fragment:
        raise TokenError("its URL has a path")
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise TokenError("a parameter occurs twice")
    if unknown := set(parameters) - PARAMETERS:
        raise TokenError(f"unexpected parameters: {', '.join(sorted(unknown))}")
    if missing := PARAMETERS - {"X-Amz-Security-Token"} - set(parameters):
        raise TokenError(f"parameters are missing: {', '.join(sorted(missing))}")
    if parameters["Action"] != "GetCallerIdentity":
        raise TokenError(f"its action is {parameters['Action']}, not GetCallerIdentity")
    if parameters["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
        raise TokenError(f"its algorithm is {parameters['X-Amz-Algorithm']}")
    if CLUSTER_HEADER not in parameters["X-Amz-SignedHeaders"].split(";"):
        raise TokenError(f"the header {CLUSTER_HEADER} is not signed")
    check_time(parameters["X-Amz-Date"], parameters["X-Amz-Expires"], now)
    credential = parameters["X-Amz-Credential"].split("/")
    if len(credential) != 5 or credential[3:] != ["sts", "aws4_request"]:
        raise TokenError("its credential is not for STS")
    return Claim(
        access_key=credential[0],
        date=parameters["X-Amz-Date"],
        region=credential[2],
        session_token=parameters.get("X-Amz-Security-Token"),
        signature=parameters["X-Amz-Signature"],
        parameters=parameters,
        host=parts.netloc,
    )


def check_time(date: str, expires: str, now: datetime) -> None:
    try:
        made = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        seconds = int(expires)
    except ValueError as error:
        raise TokenError(f"its date or expiry cannot be read: {error}") from error
    if not 0 < seconds <= LIFETIME.total_seconds():
        raise TokenError(f"its expiry of {seconds} s is not within 15 minutes")
    if now - made > LIFETIME:
        raise TokenError("it has expired")
    if made - now > CLOCK_SKEW:
        raise TokenError("it is from the future")


def signed_by(claim: Claim, cluster: str, secret: str) -> bool:
    """Whether the signature is that of `secret` over the URL and the cluster's name (AWS Signature Version 4)."""
    headers = {"host": claim.host, CLUSTER_HEADER: cluster}
    names = claim.parameters["X-Amz-SignedHeaders"].split(";")
    if set(names) != set(headers):
        return False
    query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(claim.parameters.items())
        if name != "X-Amz-Signature"
    )
    canonical = "\n".join(
        (
            "GET", "/", query, *(f"{name}:{headers[name]}" for name in sorted(names)), "",
            claim.parameters["X-Amz-SignedHeaders"], hashlib.sha256(b"").hexdigest(),
        )
    )  # fmt: skip
    day = claim.date[:8]
    scope = f"{day}/{claim.region}/sts/aws4_request"
    if claim.parameters["X-Amz-Credential"] != f"{claim.access_key}/{scope}":
        return False
    text = f"AWS4-HMAC-SHA256\n{claim.date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, claim.region, "sts", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), claim.signature)
