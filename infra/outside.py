"""Outside providers: a secret for each key, and what gateways may do for them in AWS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import bedrock, policies
from components.role import ServiceRole
from infra.cluster import Cluster
from infra.foundation import Foundation
from infra.settings import Settings

RECOVERY_DAYS = 7
"""The shortest wait that Secrets Manager offers before a deleted secret is gone for good."""
SECRETS = "PENSTOCK_PROVIDER_SECRETS"


@dataclass(frozen=True)
class Outside:
    secrets: dict[str, pulumi.Output[str]]
    """ARN of the secret for each provider's key, by the provider's name."""
    environment: dict[str, pulumi.Output[str]]
    """Variables of the gateways."""
    statements: pulumi.Output[list[policies.Statement]] | None
    """What gateways may do; None: nothing."""


def build_outside(settings: Settings, foundation: Foundation, provider: pulumi.ProviderResource) -> Outside:
    """The secrets are made without a value: an operator writes it, and neither program nor state ever has it."""
    secrets = {
        each.name: aws.secretsmanager.Secret(
            f"provider-key-{each.name}",
            description=f"Key of the outside provider {each.name}: penstock provider key {each.name}",
            kms_key_id=foundation.keys.credentials,
            recovery_window_in_days=RECOVERY_DAYS if settings.protected else 0,
            opts=pulumi.ResourceOptions(provider=provider),
        ).arn
        for each in settings.providers
        if each.api_key
    }
    chats, embeddings = (
        sorted(
            {
                (each.region or settings.aws.region, model.upstream)
                for each in settings.providers
                for model in settings.outside_models
                if each.kind == "bedrock"
                and not each.api_key
                and model.provider == each.name
                and model.makes_embeddings is embedding
            }
        )
        for embedding in (False, True)
    )
    invoking = bedrock.invoke_models(foundation.partition, settings.aws.account_id, chats, embeddings)
    statements = None
    if secrets or invoking:
        statements = pulumi.Output.all(*secrets.values()).apply(
            lambda arns: [*([policies.read_secrets(arns)] if arns else []), *invoking]
        )
    environment = {SECRETS: pulumi.Output.json_dumps(secrets)} if secrets else {}
    return Outside(secrets, environment, statements)


def gateway_role(
    settings: Settings,
    cluster: Cluster,
    statements: Sequence[pulumi.Output[Any]],
    provider: pulumi.ProviderResource,
) -> list[pulumi.Resource]:
    """The gateways' one role, of all statements together; nothing where there are none."""
    if not statements:
        return []
    role = ServiceRole(
        "gateway",
        {
            "services": ["pods.eks.amazonaws.com"],
            "description": "Gateways: read what budgets say, ask outside providers, read their keys",
            "managed_policies": [],
            "policy": pulumi.Output.all(*statements).apply(
                lambda lists: policies.dumps(policies.document(*(each for some in lists for each in some)))
            ),
        },
        pulumi.ResourceOptions(providers=[provider]),
    )
    return [
        aws.eks.PodIdentityAssociation(
            "gateway",
            cluster_name=cluster.control_plane_name,
            namespace=settings.namespace,
            service_account="gateway",
            role_arn=role.arn,
            opts=pulumi.ResourceOptions(provider=provider),
        )
    ]
