"""Watching: logs, alarms, the dashboard, budgets and unusual cost; all of it speaks on the topic."""

from __future__ import annotations

import pulumi

from components.edge import Edge
from components.shares import COLOURS
from components.spend import COLOUR_TAG, PART_TAG, CostAnomalies, MonthlyBudget, part
from components.watch import Watch, WatchArgs
from infra.foundation import Foundation
from infra.settings import Settings


def build_watch(
    settings: Settings, foundation: Foundation, edge: Edge, cluster: str, stack: str, opts: pulumi.ResourceOptions
) -> Watch:
    """`cluster`: its physical name."""
    kept = settings.watch.log_retention_days
    args: WatchArgs = {
        "region": settings.aws.region,
        "log_group_prefix": f"/penstock/{stack}",
        "log_retention_days": {"gateway": kept.gateway, **({"engine": kept.engine} if settings.runs_engines else {})},
        "logs_key_arn": foundation.keys.logs,
        "topic_arn": foundation.topic_arn,
        "runbooks_url": settings.watch.runbooks_url,
        "first_byte_seconds": settings.watch.first_byte_seconds,
        "load_balancer_dimension": edge.load_balancer_dimension,
        "target_group_dimensions": {
            "blue": edge.blue_target_group_arn.apply(dimension_of),
            "green": edge.green_target_group_arn.apply(dimension_of),
        },
        "database_identifier": foundation.database_identifier,
        "database_storage_gib": settings.data.database.storage_gib,
        "cache_members": foundation.cache_members,
        "dead_queue_name": foundation.dead_queue_name,
        "dashboard_name": f"penstock-{stack}",
    }
    if settings.watch.collector.enabled:
        args["engines"] = {
            "waiting_requests": settings.watch.waiting_requests,
            "first_token_seconds": settings.watch.first_token_seconds,
            "kinds": sorted({model.engine for model in settings.models}, reverse=True),
        }
    if settings.watch.container_insights.enabled:
        args["insights_of"] = cluster
        args["gpus"] = settings.may_have_gpus
    watch = Watch("watch", args, opts)
    budget = settings.budget
    MonthlyBudget(
        "budget",
        {
            "monthly_usd": budget.monthly_usd,
            "actual_percents": budget.alert_percents,
            "forecast_percents": budget.forecast_percents,
            "topic_arn": foundation.topic_arn,
        },
        opts,
    )
    parts = [("system", PART_TAG, budget.part_usd.system)]
    if settings.may_have_gpus:
        parts.append(("gpu", PART_TAG, budget.part_usd.gpu))
    if budget.colour_usd is not None:
        parts += [(colour, COLOUR_TAG, budget.colour_usd) for colour in COLOURS]
    for name, tag, usd in parts:
        MonthlyBudget(
            f"budget-{name}",
            {
                "monthly_usd": usd,
                "actual_percents": budget.alert_percents,
                "forecast_percents": budget.forecast_percents,
                "topic_arn": foundation.topic_arn,
                "tag_key": tag,
                "tag_value": part(stack, name),
            },
            opts,
        )
    CostAnomalies(
        "anomalies",
        {"stack": stack, "least_usd": budget.anomaly_usd, "topic_arn": foundation.topic_arn},
        opts,
    )
    return watch


def dimension_of(target_group_arn: str) -> str:
    """What CloudWatch calls a target group: the last part of its ARN, `targetgroup/<name>/<id>`."""
    return target_group_arn.rsplit(":", 1)[-1]
