"""The TokenReview webhook that the API server asks: EKS token -> IAM principal -> access entry -> user and groups.

Of the access policies only AmazonEKSClusterAdminPolicy with cluster scope has an effect here (system:masters). EKS
enforces the others with an authorizer of its own; use `kubernetesGroups` and RBAC for anything less.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.local.aws.eks_tokens import Claim, TokenError, read, signed_by
from infra.local.layout import ACCOUNT, Layout

if TYPE_CHECKING:
    from infra.local.aws.front import Environment, StartResponse
    from infra.local.aws.moto.identities import Identity

logger = logging.getLogger(__name__)

ADMINISTRATOR_POLICY = ":cluster-access-policy/AmazonEKSClusterAdminPolicy"
LONGEST_REVIEW = 1 << 16  # bytes


class Authenticator:
    """A WSGI application. `load` makes sure that the services that it reads are there, with their extensions."""

    def __init__(self, layout: Layout, load: Callable[[], None]) -> None:
        self._host = urlsplit(layout.aws_url).netloc
        environment = layout.aws_environment("")
        self._deployer = (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        self._load = load
        self._loaded = False

    def __call__(self, environment: Environment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            length = int(environment.get("CONTENT_LENGTH") or 0)
            if not 0 < length <= LONGEST_REVIEW:
                raise ValueError(f"a TokenReview of {length} bytes")
            review = json.loads(environment["wsgi.input"].read(length))
            token = review["spec"]["token"]
            version = review["apiVersion"]
        except (ValueError, KeyError, TypeError) as error:
            start_response("400 Bad Request", [("Content-Type", "text/plain")])
            return [f"not a TokenReview: {error}".encode()]
        try:
            status = {"authenticated": True, "user": self.authenticate(token, datetime.now(UTC))}
        except TokenError as error:
            logger.warning("token refused: %s", error)
            status = {"authenticated": False, "error": f"token refused: {error}"}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"apiVersion": version, "kind": "TokenReview", "status": status}).encode()]

    def authenticate(self, token: str, now: datetime) -> dict[str, Any]:
        """The token's user as a TokenReview gives it (username, uid, groups, extra). Raises TokenError."""
        claim = read(token, self._host, now)
        if not self._loaded:
            self._load()
            self._loaded = True
        identity = self._identify(claim)
        secret = identity.secret or ""
        cluster = next((cluster for cluster in self._clusters() if signed_by(claim, cluster.name, secret)), None)
        if cluster is None:
            raise TokenError(f"its signature fits no cluster of this account (key {claim.access_key})")
        return user_of(cluster, identity)

    def _identify(self, claim: Claim) -> Identity:
        from dataclasses import replace

        from infra.local.aws.moto import identities

        key, secret = self._deployer
        if claim.access_key == key:
            return replace(identities.deployer(ACCOUNT), secret=secret)
        identity = identities.find(ACCOUNT, claim.access_key)
        if identity is None:
            raise TokenError(f"its access key {claim.access_key} is unknown")
        if (claim.session_token or None) != identity.session_token:
            raise TokenError("its session token is not that of the key")
        return identity

    def _clusters(self) -> list[Any]:
        from moto.eks.models import eks_backends

        return [cluster for backend in list(eks_backends[ACCOUNT].values()) for cluster in backend.clusters.values()]


def user_of(cluster: Any, identity: Identity) -> dict[str, Any]:
    """The user that the cluster's access entries make of a principal. Raises TokenError where no entry is for it."""
    entry = cluster.access_entries.get(identity.principal)
    if entry is None:
        raise TokenError(f"cluster {cluster.name} has no access entry for {identity.principal}")
    groups = list(entry["kubernetesGroups"])
    if any(
        arn.endswith(ADMINISTRATOR_POLICY) and policy["accessScope"]["type"] == "cluster"
        for arn, policy in entry["policies"].items()
    ):
        groups.append("system:masters")
    return {
        "username": entry["username"].replace("{{SessionName}}", identity.session.replace("@", "-")),
        "uid": f"aws-iam-authenticator:{ACCOUNT}:{identity.user_id.split(':')[0]}",
        "groups": groups,
        "extra": {
            "arn": [identity.arn],
            "canonicalArn": [identity.principal],
            "sessionName": [identity.session],
            "principalId": [identity.user_id.split(":")[0]],
        },
    }
