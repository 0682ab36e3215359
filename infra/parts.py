"""Which parts of the platform run in the network: what they call decides which endpoints it has."""

from __future__ import annotations

from components import endpoints
from components.keys import key_policies
from infra.settings import Settings

DEPLOYED = (
    endpoints.NODES,
    endpoints.POD_IDENTITY,
    endpoints.TARGET_BINDING,
    endpoints.BUDGET_EVENTS,
    endpoints.MIGRATION,
)


def network_endpoints(settings: Settings) -> list[str]:
    """Names of the interface endpoints of a stack; empty where NAT is to carry it all."""
    if settings.network.interface_endpoints != "needed":
        return []
    watch = settings.watch
    chosen = {
        endpoints.KARPENTER: settings.controllers.karpenter.enabled and settings.runs_engines,
        endpoints.COLLECTOR: watch.collector.enabled,
        endpoints.MANAGED_PROMETHEUS: watch.prometheus == "managed",
        endpoints.TELEMETRY: watch.container_insights.enabled,
        endpoints.PROVIDER_KEYS: any(provider.api_key for provider in settings.providers),
        endpoints.BEDROCK: any(
            provider.kind == "bedrock" and provider.region == settings.aws.region for provider in settings.providers
        ),
    }
    return endpoints.interface_endpoints([*DEPLOYED, *(part for part, wanted in chosen.items() if wanted)])


def key_count(settings: Settings) -> int:
    """Customer-managed keys of the stack's own region: one for each class of data, and the files of jobs."""
    return len(key_policies("aws", settings.aws.region, settings.aws.account_id)) + settings.jobs.enabled
