"""What people look at: log groups, alarms with their runbooks, the dashboard."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components import alarms, dashboards


class EngineLimitsShape(TypedDict):
    waiting_requests: int
    """An alarm tells when so many requests wait in one engine."""
    first_token_seconds: float
    """An alarm tells when a colour's mean time to the first token reaches this."""
    kinds: NotRequired[Sequence[str]]
    """Of the engines there are, vLLM alone unless given; each kind tells under names of its own."""


class WatchArgs(TypedDict):
    region: str
    log_group_prefix: str
    """Names of the log groups begin with it: `/penstock/prod` and the kind `gateway` make `/penstock/prod/gateway`."""
    log_retention_days: Mapping[str, int]
    """Days that a log group keeps its lines, by kind of workload, such as `gateway`: each kind has a group."""
    logs_key_arn: pulumi.Input[str]
    topic_arn: pulumi.Input[str]
    runbooks_url: str
    """The page that alarms name; each adds its anchor."""
    first_byte_seconds: float
    """An alarm tells when one answer in a hundred begins later."""
    load_balancer_dimension: pulumi.Input[str]
    target_group_dimensions: Mapping[str, pulumi.Input[str]]
    """Each colour's target group as CloudWatch calls it: the end of its ARN, `targetgroup/<name>/<id>`."""
    database_identifier: pulumi.Input[str]
    """Name of the RDS instance, for its alarms and panels (`identifier` of `Database`)."""
    database_storage_gib: int
    """The database's first storage, in GiB: an alarm tells when a tenth of it or less is free."""
    cache_members: Sequence[pulumi.Input[str]]
    """Ids of the cache's nodes."""
    dead_queue_name: pulumi.Input[str]
    """Queue of messages that no gateway could read (`deadQueueName` of `Events`): the first one rings."""
    dashboard_name: str
    """Name of the CloudWatch dashboard; an account has each name once."""
    engines: NotRequired[EngineLimitsShape]
    """With the collector: alarms and panels on what gateways and engines count."""
    insights_of: NotRequired[str]
    """With Container Insights: the cluster's name, for alarms and panels on its nodes."""
    gpus: NotRequired[bool]
    """False: none of its nodes has a GPU."""


class Watch(pulumi.ComponentResource):
    """Log groups, alarms on what users feel and on what will soon hurt them, and a dashboard of the same."""

    log_group_names: pulumi.Output[Mapping[str, str]]
    """Name of each log group, by kind of workload."""
    log_group_arns: pulumi.Output[Mapping[str, str]]
    """ARN of each log group, by kind of workload, for the roles of those who write to it."""
    dashboard_name: pulumi.Output[str]
    """The same name, known once the dashboard is there."""

    def __init__(self, name: str, args: WatchArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Watch", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        groups = {
            group: aws.cloudwatch.LogGroup(
                f"{name}-{group}",
                name=f"{args['log_group_prefix']}/{group}",
                kms_key_id=args["logs_key_arn"],
                retention_in_days=days,
                opts=child,
            )
            for group, days in args["log_retention_days"].items()
        }
        for alarm in [
            *alarms.edge_alarms(args["load_balancer_dimension"], args["first_byte_seconds"]),
            *alarms.colour_alarms(args["load_balancer_dimension"], args["target_group_dimensions"]),
            *alarms.database_alarms(args["database_identifier"], args["database_storage_gib"]),
            *alarms.cache_alarms(args["cache_members"]),
            *alarms.queue_alarms(args["dead_queue_name"]),
            *_alarms_in_the_cluster(args),
        ]:
            _ring(f"{name}-{alarm.name}", alarm, args["topic_arn"], args["runbooks_url"], child)
        dashboard = aws.cloudwatch.Dashboard(
            name,
            dashboard_name=args["dashboard_name"],
            dashboard_body=pulumi.Output.all(
                balancer=args["load_balancer_dimension"],
                target_groups=args["target_group_dimensions"],
                database=args["database_identifier"],
                cache_members=args["cache_members"],
                dead_queue=args["dead_queue_name"],
            ).apply(
                lambda known: dashboards.body(
                    [*dashboards.platform_panels(**known), *_panels_in_the_cluster(args)], args["region"]
                )
            ),
            opts=child,
        )
        self.log_group_names = pulumi.Output.all(**{name: group.name for name, group in groups.items()})
        self.log_group_arns = pulumi.Output.all(**{name: group.arn for name, group in groups.items()})
        self.dashboard_name = dashboard.dashboard_name
        self.register_outputs(
            {
                "logGroupNames": self.log_group_names,
                "logGroupArns": self.log_group_arns,
                "dashboardName": self.dashboard_name,
            }
        )


def _alarms_in_the_cluster(args: WatchArgs) -> list[alarms.Alarm]:
    found: list[alarms.Alarm] = []
    if limits := args.get("engines"):
        colours = list(args["target_group_dimensions"])
        found += alarms.engine_alarms(
            colours, limits["waiting_requests"], limits["first_token_seconds"], limits.get("kinds", ("vllm",))
        )
    if cluster := args.get("insights_of"):
        found += alarms.node_alarms(cluster, gpus=args.get("gpus", True))
    return found


def _panels_in_the_cluster(args: WatchArgs) -> list[dashboards.Panel]:
    found: list[dashboards.Panel] = []
    if limits := args.get("engines"):
        colours = list(args["target_group_dimensions"])
        found += dashboards.engine_panels(alarms.COLLECTED, colours, limits.get("kinds", ("vllm",)))
    if cluster := args.get("insights_of"):
        found += dashboards.node_panels(cluster, gpus=args.get("gpus", True))
    return found


def _ring(
    name: str,
    alarm: alarms.Alarm,
    topic_arn: pulumi.Input[str],
    runbooks_url: str,
    opts: pulumi.ResourceOptions,
) -> None:
    aws.cloudwatch.MetricAlarm(
        name,
        alarm_description=f"{alarm.says}. Runbook: {runbooks_url}#{alarm.runbook}",
        **_measured(alarm),
        evaluation_periods=alarm.of,
        datapoints_to_alarm=alarm.at_least,
        comparison_operator="LessThanOrEqualToThreshold" if alarm.falls else "GreaterThanOrEqualToThreshold",
        threshold=alarm.threshold,
        # No requests is no failure.
        treat_missing_data="notBreaching",
        alarm_actions=[topic_arn],
        ok_actions=[topic_arn],
        opts=opts,
    )


def _measured(alarm: alarms.Alarm) -> dict[str, Any]:
    """One metric, or an expression over several: CloudWatch takes either."""
    if not alarm.expression:
        return {
            "namespace": alarm.namespace,
            "metric_name": alarm.metric,
            "dimensions": dict(alarm.dimensions),
            "statistic": None if alarm.percentile else alarm.statistic,
            "extended_statistic": alarm.statistic if alarm.percentile else None,
            "period": alarm.period,
        }
    terms = [
        {
            "id": term,
            "metric": {
                "namespace": alarm.namespace,
                "metric_name": alarm.metric,
                "dimensions": dict(dimensions),
                "stat": alarm.statistic,
                "period": alarm.period,
            },
        }
        for term, dimensions in alarm.terms.items()
    ]
    result = {"id": "result", "expression": alarm.expression, "label": alarm.says, "return_data": True}
    return {"metric_queries": [result, *terms]}
