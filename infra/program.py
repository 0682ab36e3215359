"""The whole program as one function, for the Pulumi CLI and for the Automation API alike."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.cluster import build_cluster
from infra.controllers import build_controllers
from infra.foundation import build_foundation
from infra.serving import build_serving
from infra.settings import Settings, SettingsError


def deploy() -> None:
    """Reads the stack's configuration, builds the three layers, exports.

    Raises pulumi.RunError, before any resource, where the configuration is not usable: Pulumi shows its text alone.
    """
    try:
        settings = Settings.from_pulumi()
    except SettingsError as problem:
        raise pulumi.RunError(str(problem)) from None
    stack = pulumi.get_stack()
    if boundary := settings.access.permissions_boundary_arn:
        pulumi.runtime.register_stack_transformation(bounded_by(boundary))
    made = list[pulumi.Resource]()
    pulumi.runtime.register_stack_transformation(noted_in(made))
    provider = aws.Provider(
        "aws",
        region=settings.aws.region,
        allowed_account_ids=[settings.aws.account_id],
        default_tags={"tags": {"project": "penstock", "stack": stack}},
    )
    foundation = build_foundation(settings, stack, provider)
    cluster = build_cluster(settings, foundation, stack, provider)
    build_controllers(settings, foundation, cluster, provider)
    serving = build_serving(settings, foundation, cluster, stack, provider, made)

    pulumi.export("gatewayUrl", serving.gateway_url)
    pulumi.export("apiKey", serving.api_key)
    pulumi.export("adminKey", serving.admin_key)
    pulumi.export("providerSecrets", serving.provider_secrets)
    pulumi.export("kubeconfig", cluster.kubeconfig)
    pulumi.export("clusterName", cluster.name)
    pulumi.export("clusterArn", cluster.arn)
    pulumi.export("namespace", settings.namespace)
    pulumi.export("region", settings.aws.region)
    pulumi.export("weights", settings.weights)
    pulumi.export("models", settings.model_names)
    pulumi.export("databaseAddress", foundation.database_address)
    pulumi.export("cacheAddress", foundation.cache_address)
    pulumi.export("eventsQueueUrl", foundation.events_queue_url)


def bounded_by(boundary: str) -> pulumi.ResourceTransformation:
    """Puts the permissions boundary on every role of the program, whichever component makes it."""

    def transform(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if args.type_ != "aws:iam/role:Role":
            return None
        return pulumi.ResourceTransformationResult({**args.props, "permissionsBoundary": boundary}, args.opts)

    return transform


def noted_in(made: list[pulumi.Resource]) -> pulumi.ResourceTransformation:
    """Puts every resource that is not a component into the list, and changes none."""

    def transform(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if isinstance(args.resource, pulumi.CustomResource):
            made.append(args.resource)
        return None

    return transform
