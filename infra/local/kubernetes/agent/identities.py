"""EKS Pod Identity: a pod whose service account has an association gets credentials in its environment.

On EKS a webhook names an agent on the node, which gives out short-lived credentials of the role. Here the pod gets the
platform's own: the embedded AWS enforces no IAM policies.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from infra.local.kubernetes.agent.api import Json
from infra.local.kubernetes.agent.aws import Aws, AwsError
from infra.local.kubernetes.agent.environment import ConfigError

KEPT_SECONDS = 2.0
"""Pods of a release start together: they share one look."""


class Identities:
    """Asks EKS which service accounts have a role."""

    def __init__(self, aws: Aws, environment: Mapping[str, str]) -> None:
        self._aws = aws
        self._environment = dict(environment)
        self._known: set[tuple[str, str]] = set()
        self._known_until = float("-inf")

    async def environment_of(self, pod: Json) -> dict[str, str]:
        """Variables of the pod's containers. Raises ConfigError where EKS does not answer: the start is tried again."""
        account = (pod["metadata"]["namespace"], pod["spec"].get("serviceAccountName") or "default")
        if time.monotonic() >= self._known_until:
            try:
                clusters = await self._aws.clusters()
                self._known = {found for name in clusters for found in await self._aws.pod_identities(name)}
            except AwsError as error:
                raise ConfigError(f"the pod identity of {'/'.join(account)} is not known yet: {error}") from error
            self._known_until = time.monotonic() + KEPT_SECONDS
        return dict(self._environment) if account in self._known else {}


def identity_environment(endpoint: str, region: str, key: tuple[str, str]) -> dict[str, str]:
    """What AWS's clients read: where AWS is, and credentials for it."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": key[0],
        "AWS_SECRET_ACCESS_KEY": key[1],
    }
