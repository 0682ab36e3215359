"""What rings, as plain data: alarms on what users feel and on what will soon hurt them. Nothing here touches AWS.

Each alarm names an anchor of the runbooks' page, docs/runbooks.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.engines import ENGINES

MINUTE = 60
GIB = 2**30
COLLECTED = "Penstock"
"""CloudWatch's namespace of what the collector sends."""
SERVER_ERRORS = ("500", "502", "503", "504")
FULL_CACHE = 0.95
FAILED_PER_CENT = 2
HOT_CELSIUS = 85
"""Data-centre GPUs slow down a little above (NVIDIA's product briefs name 87 to 95)."""


@dataclass(frozen=True)
class Alarm:
    name: str
    runbook: str
    """The anchor on the page of runbooks."""
    says: str
    namespace: str
    metric: str
    dimensions: Mapping[str, pulumi.Input[str]]
    threshold: float
    statistic: str = "Sum"
    """CloudWatch's statistic, or a percentile such as p99."""
    falls: bool = False
    """Rings at the threshold or below, else at the threshold or above."""
    period: int = MINUTE
    """Seconds."""
    of: int = 3
    """Periods looked at."""
    at_least: int = field(default=2)
    """Periods among them that must be bad."""
    expression: str = ""
    """CloudWatch's metric mathematics over `terms`, in place of the one metric."""
    terms: Mapping[str, Mapping[str, pulumi.Input[str]]] = field(default_factory=dict)
    """Dimensions of the metric in each term of the expression, by the term's id."""

    @property
    def percentile(self) -> bool:
        return self.statistic.startswith("p")


def edge_alarms(balancer: pulumi.Input[str], first_byte_seconds: float) -> list[Alarm]:
    """What clients feel, as the load balancer counts it."""

    def alarm(name: str, says: str, metric: str, threshold: float, statistic: str = "Sum") -> Alarm:
        return Alarm(
            name=name,
            runbook=name,
            says=says,
            namespace="AWS/ApplicationELB",
            metric=metric,
            dimensions={"LoadBalancer": balancer},
            threshold=threshold,
            statistic=statistic,
        )

    return [
        alarm("gateway-errors", "Gateways answered with a server error", "HTTPCode_Target_5XX_Count", 5),
        alarm("no-gateway", "The load balancer found no gateway that answers", "HTTPCode_ELB_5XX_Count", 1),
        alarm(
            "slow-first-byte",
            f"One answer in a hundred began later than {first_byte_seconds:g} s",
            "TargetResponseTime",
            first_byte_seconds,
            "p99",
        ),
        alarm("broken-connections", "Gateways refused or broke connections", "TargetConnectionErrorCount", 5),
    ]


def colour_alarms(balancer: pulumi.Input[str], target_groups: Mapping[str, pulumi.Input[str]]) -> list[Alarm]:
    return [
        Alarm(
            name=f"unhealthy-gateways-{colour}",
            runbook="unhealthy-gateways",
            says=f"A gateway of {colour} fails its health check",
            namespace="AWS/ApplicationELB",
            metric="UnHealthyHostCount",
            dimensions={"LoadBalancer": balancer, "TargetGroup": target_group},
            threshold=1,
            statistic="Maximum",
            of=5,
            at_least=5,  # a pod that starts or leaves is unhealthy for a while
        )
        for colour, target_group in target_groups.items()
    ]


def database_alarms(identifier: pulumi.Input[str], storage_gib: int) -> list[Alarm]:
    here = {"DBInstanceIdentifier": identifier}
    return [
        Alarm(
            name="database-storage",
            runbook="database-storage",
            says="The database has a tenth of its first storage left",
            namespace="AWS/RDS",
            metric="FreeStorageSpace",
            dimensions=here,
            threshold=storage_gib * GIB // 10,
            statistic="Minimum",
            falls=True,
            period=5 * MINUTE,
        ),
        Alarm(
            name="database-busy",
            runbook="database-busy",
            says="The database's CPU is busy",
            namespace="AWS/RDS",
            metric="CPUUtilization",
            dimensions=here,
            threshold=90,
            statistic="Average",
            period=5 * MINUTE,
            at_least=3,
        ),
    ]


def cache_alarms(members: Sequence[pulumi.Input[str]]) -> list[Alarm]:
    """For each node by itself: any of them may be the primary after a failover."""
    return [
        alarm
        for number, member in enumerate(members, start=1)
        for alarm in (
            Alarm(
                name=f"cache-memory-{number}",
                runbook="cache-memory",
                says=f"Node {number} of the cache is nearly full",
                namespace="AWS/ElastiCache",
                metric="DatabaseMemoryUsagePercentage",
                dimensions={"CacheClusterId": member},
                threshold=90,
                statistic="Maximum",
            ),
            Alarm(
                name=f"cache-evictions-{number}",
                runbook="cache-evictions",
                says=f"Node {number} of the cache throws keys away",
                namespace="AWS/ElastiCache",
                metric="Evictions",
                dimensions={"CacheClusterId": member},
                threshold=1,
            ),
        )
    ]


def engine_alarms(
    colours: Sequence[str], waiting_requests: int, first_token_seconds: float, kinds: Sequence[str] = ("vllm",)
) -> list[Alarm]:
    """What gateways and engines count themselves, as the collector sends it. Percentiles of a histogram do not reach
    CloudWatch: the mean is judged here, the slowest hundredth at the load balancer."""

    def alarm(
        name: str,
        colour: str,
        says: str,
        metric: str,
        threshold: float,
        statistic: str,
        *,
        kind: str = "vllm",
        **more: Any,
    ) -> Alarm:
        # The platform's own engine has no name in its alarms'.
        return Alarm(
            name=f"{name}-{colour}" if kind == "vllm" else f"{name}-{kind}-{colour}",
            runbook=name,
            says=f"{says} ({colour})",
            namespace=COLLECTED,
            metric=metric,
            threshold=threshold,
            statistic=statistic,
            dimensions={"colour": colour},
            **more,
        )

    return [
        each
        for colour in colours
        for each in (
            *(
                alarm(
                    name,
                    colour,
                    says,
                    metric,
                    threshold,
                    "Maximum",
                    kind=kind,
                    of=5,
                    at_least=5,
                )
                for kind in kinds
                for name, says, metric, threshold in (
                    (
                        "waiting-requests",
                        f"{waiting_requests} or more requests wait in an engine",
                        ENGINES[kind].metrics.waiting,
                        waiting_requests,
                    ),
                    (
                        "full-engines",
                        "The key-value cache of an engine is full",
                        ENGINES[kind].metrics.kv_cache_usage,
                        FULL_CACHE,
                    ),
                )
                if metric is not None
            ),
            alarm(
                "slow-first-token",
                colour,
                f"Streams began later than {first_token_seconds:g} s in the mean",
                "penstock_ttft_seconds",
                first_token_seconds,
                "Average",
                of=5,
                at_least=3,
            ),
            alarm(
                "cut-streams",
                colour,
                "Streams ended with an error event",
                "penstock_interrupted_streams_total",
                1,
                "Sum",
            ),
            alarm(
                "failed-requests",
                colour,
                f"{FAILED_PER_CENT} per cent of the requests failed",
                "penstock_requests_total",
                FAILED_PER_CENT,
                "Sum",
                # Without requests there is no share, and no point.
                expression=f"100 * ({' + '.join(f'FILL(e{code}, 0)' for code in SERVER_ERRORS)}) / every",
                terms={
                    "every": {"colour": colour},
                    **{f"e{code}": {"colour": colour, "code": code} for code in SERVER_ERRORS},
                },
            ),
        )
    ]


def node_alarms(cluster: str, *, gpus: bool = True) -> list[Alarm]:
    """What Container Insights sees of the nodes."""

    def alarm(name: str, says: str, metric: str, threshold: float) -> Alarm:
        return Alarm(
            name=name,
            runbook=name,
            says=says,
            namespace="ContainerInsights",
            metric=metric,
            dimensions={"ClusterName": cluster},
            threshold=threshold,
            statistic="Maximum",
            of=5,
            at_least=5,
        )

    hot = alarm("hot-gpu", f"A GPU is at {HOT_CELSIUS} degrees or above", "node_gpu_temperature", HOT_CELSIUS)
    return [
        *([hot] if gpus else []),
        alarm("failed-nodes", "A node does not answer", "cluster_failed_node_count", 1),
    ]


def queue_alarms(dead_queue: pulumi.Input[str]) -> list[Alarm]:
    return [
        Alarm(
            name="unread-events",
            runbook="unread-events",
            says="The gateways could not read an event of cost or alarm",
            namespace="AWS/SQS",
            metric="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": dead_queue},
            threshold=1,
            statistic="Maximum",
            period=5 * MINUTE,
            of=1,
            at_least=1,
        )
    ]
