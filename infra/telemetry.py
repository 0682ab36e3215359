"""Logs and metrics out of the cluster: Container Insights, and the collector of the platform's own metrics."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from components.collector import Collector, CollectorArgs
from components.telemetry import Telemetry
from components.watch import Watch
from infra.cluster import Cluster
from infra.foundation import Foundation
from infra.settings import Settings

MANAGED, NONE = "managed", "none"


def build_telemetry(
    settings: Settings,
    foundation: Foundation,
    cluster: Cluster,
    watch: Watch,
    after: Sequence[pulumi.Resource],
    stack: str,
    provider: pulumi.ProviderResource,
) -> None:
    """`after`: what makes the namespace and its network policies."""
    opts = pulumi.ResourceOptions(providers=[provider, cluster.provider], depends_on=after)
    insights, collector = settings.watch.container_insights, settings.watch.collector
    if insights.enabled:
        kinds = ("gateway", "engine") if settings.runs_engines else ("gateway",)
        Telemetry(
            "telemetry",
            {
                "region": settings.aws.region,
                "cluster": cluster.name,
                "cluster_name": cluster.control_plane_name,
                "addon_version": insights.addon_version,
                "namespace": settings.namespace,
                "log_groups": {kind: watch.log_group_names[kind] for kind in kinds},
                "log_group_arns": {kind: watch.log_group_arns[kind] for kind in kinds},
                "log_retention_days": settings.cluster.log_retention_days,
                "logs_key_arn": foundation.keys.logs,
            },
            opts,
        )
    if collector.enabled:
        Collector("collector", _collector_args(settings, foundation, cluster, stack), opts)


def _collector_args(settings: Settings, foundation: Foundation, cluster: Cluster, stack: str) -> CollectorArgs:
    prometheus = settings.watch.prometheus
    args: CollectorArgs = {
        "region": settings.aws.region,
        "cluster_name": cluster.control_plane_name,
        "namespace": settings.namespace,
        "image": pulumi.Output.concat(foundation.image_urls["collector"], "@", settings.watch.collector.image),
        "log_group": f"/penstock/{stack}/metrics",
        "log_retention_days": settings.cluster.log_retention_days,
        "logs_key_arn": foundation.keys.logs,
        "managed_prometheus": prometheus == MANAGED,
    }
    if prometheus not in (MANAGED, NONE):
        args["remote_write_url"] = prometheus
    return args
