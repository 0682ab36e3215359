"""What is paid for beside nodes, network and stores: watching, the firewall, weights, copies in a second region. Pure.

Amounts that depend on use are assumed, and each line says of what: an order of magnitude, so that none of it is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from infra.settings import Settings

SCRAPES_A_MONTH = 730 * 3600 // 30
"""The collector asks every 30 seconds (components/collector_manifests.py)."""
SERIES_OF_AN_ENGINE = 520
"""Of vLLM 0.32 with one model (tests/contracts/fixtures/vllm-0.32/metrics.txt)."""
SERIES_OF_A_GATEWAY = 700
"""An allowance: it grows with models, tenants and status codes."""
OBSERVATIONS_OF_A_NODE, OBSERVATIONS_OF_A_POD = 60, 50
"""Of Container Insights, each minute; an allowance, not a measurement. GPUs count with their node."""
PODS_OF_A_NODE = 10
"""Network, proxy, agents and controllers, beside gateways and engines; an allowance."""
MINUTES_A_MONTH = 730 * 60
FIREWALL_RULES = 4
"""components/firewall.py; a test compares."""
COPY_KEYS = 2
"""Of the second region: weights and snapshots (components/copies.py); a test compares."""


class Amount(NamedTuple):
    part: str
    item: str
    count: float
    """Of a month."""
    key: str
    """In the price table."""
    remark: str = ""


def in_the_region(settings: Settings) -> Iterator[Amount]:
    yield Amount("firewall", "web ACL", 1, "waf:acl-month")
    yield Amount("firewall", f"{FIREWALL_RULES} rules", FIREWALL_RULES, "waf:rule-month")
    if gib := _weights_gib(settings):
        yield Amount("weights", "S3, GiB of the models", gib, "s3:gib-month")
    if settings.watch.prometheus == "managed":
        millions = _series(settings) * SCRAPES_A_MONTH / 1_000_000
        yield Amount(
            "watching", "Prometheus, million samples", millions, "amp:million-samples",
            f"assumed: {SERIES_OF_AN_ENGINE} series an engine, {SERIES_OF_A_GATEWAY} a gateway",
        )  # fmt: skip
    if settings.watch.container_insights.enabled:
        yield Amount(
            "watching", "Container Insights, million observations", _observations(settings) / 1_000_000,
            "insights:million-observations",
            f"assumed: {OBSERVATIONS_OF_A_NODE} a node and {OBSERVATIONS_OF_A_POD} a pod each minute",
        )  # fmt: skip


def in_the_second_region(settings: Settings) -> Iterator[Amount]:
    """Prices are those of the other region."""
    if settings.data.copy_region is None:
        return
    yield Amount("copies", "KMS keys", COPY_KEYS, "kms:key-month")
    if gib := _weights_gib(settings):
        yield Amount("copies", "weights, GiB", gib, "s3:gib-month")
    gib = settings.data.database.storage_gib
    yield Amount("copies", "backups, GiB", gib, "rds:backup-gib-month", "assumed: as much as the storage")


def _weights_gib(settings: Settings) -> float:
    return sum(model.weights_gib for model in settings.models if model.streamed)


def _pods(settings: Settings) -> tuple[int, int]:
    """Gateways and engines of both colours, as the file has them."""
    releases = (settings.release.blue, settings.release.green)
    return (
        sum(release.gateway_replicas for release in releases),
        sum(count for release in releases for count in release.engine_replicas.values()),
    )


def _series(settings: Settings) -> int:
    gateways, engines = _pods(settings)
    return gateways * SERIES_OF_A_GATEWAY + engines * SERIES_OF_AN_ENGINE


def _observations(settings: Settings) -> int:
    groups = settings.node_groups
    spot = groups.gpu_spot.desired_nodes_per_zone * len(settings.network.zones)
    nodes = groups.system.desired_nodes + groups.gpu.desired_nodes + spot
    each_minute = nodes * (OBSERVATIONS_OF_A_NODE + PODS_OF_A_NODE * OBSERVATIONS_OF_A_POD)
    return (each_minute + sum(_pods(settings)) * OBSERVATIONS_OF_A_POD) * MINUTES_A_MONTH
