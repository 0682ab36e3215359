"""The CloudWatch dashboard as a document, written from the one list of panels (`panels.py`). Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components import panels

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


def body(shown: Sequence[Panel], region: str) -> str:
    """The dashboard's JSON: panels row by row, two in a row."""
    return json.dumps(
        {"widgets": [_widget(panel, index, region) for index, panel in enumerate(shown)]}, separators=(",", ":")
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
    names: dict[panels.Of, list[tuple[str, dict[str, str]]]] = {
        "balancer": [("", {"LoadBalancer": balancer})],
        "target groups": [
            (colour, {"LoadBalancer": balancer, "TargetGroup": group}) for colour, group in target_groups.items()
        ],
        "database": [("", {"DBInstanceIdentifier": database})],
        "cache": [(f"node {number}", {"CacheClusterId": one}) for number, one in enumerate(cache_members, start=1)],
        "dead queue": [("", {"QueueName": dead_queue})],
    }
    return [_counted(panel, names) for row in (panels.EDGE, panels.STORES) for panel in row.panels]


def engine_panels(namespace: str, colours: Sequence[str], kinds: Sequence[str] = ("vllm",)) -> list[Panel]:
    """What gateways and engines count and the collector sends, for each colour."""
    rows = (panels.CLIENTS, panels.WORK, *(panels.engine_row(kind) for kind in kinds), panels.MONEY)
    return [
        Panel(
            found.title or panel.title,
            [Line(colour, namespace, found.metric, {"colour": colour}, found.statistic) for colour in colours],
            found.unit,
        )
        for row in rows
        for panel in row.panels
        if (found := panel.collected) is not None
    ]


def node_panels(cluster: str, *, gpus: bool = True) -> list[Panel]:
    names: dict[panels.Of, list[tuple[str, dict[str, str]]]] = {"cluster": [("", {"ClusterName": cluster})]}
    return [_counted(panel, names) for panel in panels.node_row(gpus=gpus).panels]


def _counted(panel: panels.Panel, names: Mapping[panels.Of, Sequence[tuple[str, Mapping[str, str]]]]) -> Panel:
    lines = [
        Line(one.label or label, one.namespace, one.metric, dimensions, one.statistic)
        for one in panel.counted
        for label, dimensions in names[one.of]
    ]
    return Panel(panel.title, lines, panel.axis)
