"""The CloudWatch dashboard as a document, written from a list of panels. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.engines import ENGINES
from components.engines.adapter import Metrics

WIDTH, HEIGHT, COLUMNS = 12, 6, 2
"""CloudWatch's grid is 24 units wide."""


@dataclass(frozen=True)
class Line:
    label: str
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    statistic: str = "Sum"


@dataclass(frozen=True)
class Panel:
    title: str
    lines: Sequence[Line]
    unit: str
    """Written beside the axis."""


def body(panels: Sequence[Panel], region: str) -> str:
    """The dashboard's JSON: panels row by row, two in a row."""
    return json.dumps(
        {"widgets": [_widget(panel, index, region) for index, panel in enumerate(panels)]}, separators=(",", ":")
    )


def _widget(panel: Panel, index: int, region: str) -> dict:
    return {
        "type": "metric",
        "x": index % COLUMNS * WIDTH,
        "y": index // COLUMNS * HEIGHT,
        "width": WIDTH,
        "height": HEIGHT,
        "properties": {
            "title": panel.title,
            "region": region,
            "view": "timeSeries",
            "stacked": False,
            "period": 60,
            "yAxis": {"left": {"label": panel.unit, "min": 0, "showUnits": False}},
            "metrics": [_metric(line) for line in panel.lines],
        },
    }


def _metric(line: Line) -> list:
    named = [part for dimension in line.dimensions.items() for part in dimension]
    return [line.namespace, line.metric, *named, {"label": line.label, "stat": line.statistic}]


def platform_panels(
    *, balancer: str, target_groups: Mapping[str, str], database: str, cache_members: Sequence[str], dead_queue: str
) -> list[Panel]:
    """What the person on call looks at first: clients at the top, stores below."""

    def edge(label: str, metric: str, statistic: str = "Sum") -> Line:
        return Line(label, "AWS/ApplicationELB", metric, {"LoadBalancer": balancer}, statistic)

    def colours(metric: str, statistic: str) -> list[Line]:
        return [
            Line(
                colour, "AWS/ApplicationELB", metric, {"LoadBalancer": balancer, "TargetGroup": target_group}, statistic
            )
            for colour, target_group in target_groups.items()
        ]

    def cache(metric: str, statistic: str) -> list[Line]:
        return [
            Line(f"node {number}", "AWS/ElastiCache", metric, {"CacheClusterId": member}, statistic)
            for number, member in enumerate(cache_members, start=1)
        ]

    def stored(label: str, metric: str, statistic: str = "Average") -> Line:
        return Line(label, "AWS/RDS", metric, {"DBInstanceIdentifier": database}, statistic)

    return [
        Panel("Requests of each colour", colours("RequestCount", "Sum"), "requests a minute"),
        Panel(
            "Errors",
            [edge("by gateways", "HTTPCode_Target_5XX_Count"), edge("no gateway", "HTTPCode_ELB_5XX_Count")],
            "answers a minute",
        ),
        Panel(
            "Time to the first byte",
            [edge(statistic, "TargetResponseTime", statistic) for statistic in ("p50", "p90", "p99")],
            "seconds",
        ),
        Panel("Healthy gateways", colours("HealthyHostCount", "Minimum"), "gateways"),
        Panel("Open connections", [edge("open", "ActiveConnectionCount")], "connections"),
        Panel("Database: CPU", [stored("CPU", "CPUUtilization")], "per cent"),
        Panel("Database: free storage", [stored("free", "FreeStorageSpace", "Minimum")], "bytes"),
        Panel("Cache: memory", cache("DatabaseMemoryUsagePercentage", "Maximum"), "per cent"),
        Panel("Cache: evictions", cache("Evictions", "Sum"), "keys a minute"),
        Panel(
            "Events that nobody could read",
            [Line("dead", "AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": dead_queue}, "Maximum")],
            "messages",
        ),
    ]


def engine_panels(namespace: str, colours: Sequence[str], kinds: Sequence[str] = ("vllm",)) -> list[Panel]:
    """What gateways and engines count, for each colour."""

    def lines(metric: str, statistic: str) -> list[Line]:
        return [Line(colour, namespace, metric, {"colour": colour}, statistic) for colour in colours]

    return [
        Panel("Requests that gateways answered", lines("penstock_requests_total", "Sum"), "requests a minute"),
        Panel("Time to the first token, mean", lines("penstock_ttft_seconds", "Average"), "seconds"),
        *(
            Panel(title if kind == "vllm" else f"{title} ({kind})", lines(metric, statistic), unit)
            for kind in kinds
            for title, metric, statistic, unit in _figures(ENGINES[kind].metrics)
            if metric is not None
        ),
        Panel("Streams cut", lines("penstock_interrupted_streams_total", "Sum"), "a minute"),
    ]


def _figures(names: Metrics) -> list[tuple[str, str | None, str, str]]:
    return [
        ("Requests that wait in the fullest engine", names.waiting, "Maximum", "requests"),
        ("Requests that run in the busiest engine", names.running, "Maximum", "requests"),
        ("Key-value cache of the fullest engine", names.kv_cache_usage, "Maximum", "share"),
        ("Preemptions", names.preemptions, "Sum", "a minute"),
    ]


def node_panels(cluster: str, *, gpus: bool = True) -> list[Panel]:
    def line(label: str, metric: str, statistic: str) -> Line:
        return Line(label, "ContainerInsights", metric, {"ClusterName": cluster}, statistic)

    of_gpus = [
        Panel(
            "GPUs in use",
            [line("mean", "node_gpu_utilization", "Average"), line("memory", "node_gpu_memory_utilization", "Average")],
            "per cent",
        ),
        Panel("Hottest GPU", [line("hottest", "node_gpu_temperature", "Maximum")], "degrees Celsius"),
    ]
    return [
        *(of_gpus if gpus else []),
        Panel(
            "Nodes",
            [line("all", "cluster_node_count", "Minimum"), line("failed", "cluster_failed_node_count", "Maximum")],
            "nodes",
        ),
    ]
