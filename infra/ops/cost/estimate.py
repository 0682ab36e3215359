"""A stack's month and its tokens, in US dollars. Pure: settings and prices in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.ops.cost import services
from infra.ops.cost.idle import Idle, idle
from infra.ops.cost.prices import Table
from infra.settings import Settings, capacity
from infra.settings.accelerators import gpus_of

HOURS = 730
"""Of a month, as AWS's own calculator counts."""

SECRETS = 5
"""The first client's and the first admin's key, the gateways' password, the release command's header value, and the
password of the database's owner, which RDS keeps; a cache with a token has one more."""

LEFT_OUT = (
    "traffic (NAT, endpoints, between zones and regions, to the internet), capacity units of the load balancer, "
    "requests (firewall, S3, queues), logs, alarms and metrics in CloudWatch, ECR, growth of storage and of node "
    "groups, extended support, tax"
)

BUDGET_PARTS = {"system": ("system:",), "gpu": ("gpu:", "gpuSpot:", "reserved-", "karpenter")}
"""Key of budget.partUsd -> how the items that it counts begin: nodes and their volumes, by tag."""


@dataclass(frozen=True)
class Line:
    part: str
    item: str
    amount: float
    """Hours, GiB or pieces, of a whole month."""
    key: str
    """In the price table."""
    usd: float | None
    """A month; None where the table has no price."""
    remark: str = ""


@dataclass(frozen=True)
class Tokens:
    """A million output tokens of one model, by its GPUs' share of a node alone."""

    model: str
    tokens_per_second: float | None
    """Of one engine pod, as it was given; None where none was."""
    usd_per_million: float | None
    sold_at: float
    """outputUsdPerMillionTokens of the stack file."""


@dataclass(frozen=True)
class Estimate:
    region: str
    budget_usd: int
    """budget.monthlyUsd of the stack file."""
    part_budgets_usd: Mapping[str, int]
    """budget.partUsd of the stack file, by key."""
    lines: tuple[Line, ...]
    release_usd_per_hour: float | None
    """More, while both colours are up; None where a price is missing."""
    tokens: tuple[Tokens, ...]
    sources: tuple[str, ...]
    idle: tuple[Idle, ...]

    @property
    def month(self) -> float:
        return sum(line.usd or 0 for line in self.lines)

    @property
    def over_budget(self) -> dict[str, float]:
        """Keys under penstock:budget whose amount is below the estimate, with the estimate."""
        found = {"monthlyUsd": (self.month, self.budget_usd)}
        for name, limit in self.part_budgets_usd.items():
            mine = (line.usd or 0 for line in self.lines if line.item.startswith(BUDGET_PARTS[name]))
            found[f"partUsd.{name}"] = (sum(mine), limit)
        return {key: usd for key, (usd, limit) in found.items() if usd > limit}

    @property
    def unpriced(self) -> list[str]:
        return sorted({line.key for line in self.lines if line.usd is None})

    def as_dict(self) -> dict[str, Any]:
        return {
            "region": self.region,
            "month_usd": round(self.month, 2),
            "budget_usd": self.budget_usd,
            "over_budget": {key: round(usd, 2) for key, usd in self.over_budget.items()},
            "unpriced": self.unpriced,
            "parts": {part: round(usd, 2) for part, usd in self.by_part().items()},
            "lines": [vars(line) for line in self.lines],
            "release_usd_per_hour": self.release_usd_per_hour,
            "million_tokens": [vars(tokens) for tokens in self.tokens],
            "idle": [vars(each) for each in self.idle],
            "left_out": LEFT_OUT,
            "sources": list(self.sources),
        }

    def by_part(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for line in self.lines:
            found[line.part] = found.get(line.part, 0) + (line.usd or 0)
        return found


def estimate(
    settings: Settings,
    table: Table,
    *,
    endpoints: int,
    keys: int,
    copies: Table | None = None,
    spot_percent: float = 100,
    tokens_per_second: Mapping[str, float] | None = None,
    utilisation_percent: float = 100,
) -> Estimate:
    """`endpoints` and `keys` are counts that the program decides; `copies` are prices of data.copyRegion. Percentages
    are above 0 and at most 100.

    Groups stand at desiredNodes; engines beyond them are on Karpenter's nodes. On demand EKS starts the first type of a
    list; of spot the dearest type is taken, at `spot_percent` of its price on demand: 100 is what spot never exceeds.
    """
    lines = (
        *_lines(settings, table, endpoints, keys, spot_percent),
        *_services(settings, table, copies or Table(settings.data.copy_region or "", {})),
    )
    given = tokens_per_second or {}
    per_gpu = _usd_per_gpu_hour(settings, table)
    return Estimate(
        table.region,
        settings.budget.monthly_usd,
        {"system": settings.budget.part_usd.system, "gpu": settings.budget.part_usd.gpu},
        lines,
        _release(settings, table, spot_percent),
        tuple(
            Tokens(
                model.name,
                given.get(model.name),
                _per_million(per_gpu, model.gpus, given.get(model.name), utilisation_percent),
                model.output_usd_per_million_tokens,
            )
            for model in settings.models
        ),
        tuple(sorted({*table.sources, *(copies.sources if copies else ())})),
        idle(settings, lambda key: price.usd if (price := table.get(key)) else None),
    )


def _lines(settings: Settings, table: Table, endpoints: int, keys: int, spot_percent: float) -> Iterator[Line]:
    def line(part: str, item: str, count: float, key: str, *, hourly: bool = True, remark: str = "") -> Line:
        price = table.get(key)
        amount = count * (HOURS if hourly else 1)
        said = [remark] if remark else []
        said += ["by hand"] if price and price.by_hand else []
        return Line(part, item, amount, key, None if price is None else amount * price.usd, "; ".join(said))

    groups, zones = settings.node_groups, len(settings.network.zones)
    yield line("control plane", "EKS cluster", 1, "eks:cluster-hour")
    for name, group in (("system", groups.system), ("gpu", groups.gpu)):
        if group.desired_nodes:
            kind = group.instance_types[0]
            yield line("nodes on demand", f"{name}: {group.desired_nodes} x {kind}", group.desired_nodes, f"ec2:{kind}")
            gib = group.desired_nodes * group.volume_gib
            yield line("storage", f"{name}: volumes, GiB", gib, "ebs:gp3-gib-month", hourly=False)
    spot = groups.gpu_spot
    if nodes := spot.desired_nodes_per_zone * zones:
        kind, remark = _dearest(spot.instance_types, table)
        priced = line("nodes on spot", f"gpuSpot: {nodes} x {kind}", nodes, f"ec2:{kind}", remark=remark)
        usd = None if priced.usd is None else priced.usd * spot_percent / 100
        yield replace(priced, usd=usd)
        yield line("storage", "gpuSpot: volumes, GiB", nodes * spot.volume_gib, "ebs:gp3-gib-month", hourly=False)
    for each in groups.reservations:
        item, kind = f"reserved-{each.name}: {each.nodes} x {each.instance_type}", f"ec2:{each.instance_type}"
        if each.kind == "capacityBlock":
            # It costs the same whether or not its instances run, and was paid before the first did.
            yield Line("nodes reserved", item, 0, kind, 0.0, "paid in advance")
        elif each.nodes:
            yield line("nodes reserved", item, each.nodes, kind, remark="runs or not")
        if each.nodes:
            own = settings.controllers.karpenter if each.used_by == "karpenter" else groups.gpu
            gib = each.nodes * own.volume_gib
            yield line("storage", f"reserved-{each.name}: volumes, GiB", gib, "ebs:gp3-gib-month", hourly=False)
    for pool, count in _karpenter(settings).items():
        kind, remark = _dearest(pool.instance_types, table)
        kind, share = (kind, spot_percent / 100) if pool.capacity == "spot" else (_cheapest(pool, table), 1)
        part = "nodes on spot" if pool.capacity == "spot" else "nodes on demand"
        priced = line(part, f"{pool.name}: {count} x {kind}", count, f"ec2:{kind}", remark=remark)
        yield replace(priced, usd=None if priced.usd is None else priced.usd * share)
        gib = count * settings.controllers.karpenter.volume_gib
        yield line("storage", f"{pool.name}: volumes, GiB", gib, "ebs:gp3-gib-month", hourly=False)
    if gateways := {"none": 0, "one": 1}.get(settings.network.nat_gateways, zones):
        yield line("NAT", "gateways", gateways, "vpc:nat-hour")
        yield line("NAT", "public addresses", gateways, "vpc:address-hour")
    if endpoints:
        yield line("endpoints", f"{endpoints} in {zones} zones", endpoints * zones, "vpc:endpoint-hour")
    yield line("load balancer", "load balancer", 1, "elb:balancer-hour")
    yield line("load balancer", "public addresses", zones, "vpc:address-hour")
    cache, database = settings.data.cache, settings.data.database
    yield line("cache", f"{1 + cache.replicas} x {cache.node_type}", 1 + cache.replicas, f"cache:{cache.node_type}")
    copies = 2 if database.multi_zone else 1
    yield line("database", f"{copies} x {database.instance_class}", copies, f"rds:{database.instance_class}")
    yield line("database", "storage, GiB", copies * database.storage_gib, "rds:gp3-gib-month", hourly=False)
    yield line("keys", "KMS keys", keys, "kms:key-month", hourly=False)
    yield line("keys", "secrets", _secrets(settings), "secret:month", hourly=False)


def _services(settings: Settings, table: Table, copies: Table) -> Iterator[Line]:
    for prices, amounts in (
        (table, services.in_the_region(settings)),
        (copies, services.in_the_second_region(settings)),
    ):
        for part, item, count, key, remark in amounts:
            price = prices.get(key)
            said = [remark] if remark else []
            said += ["by hand"] if price and price.by_hand else []
            usd = None if price is None else count * price.usd
            yield Line(part, item, count, key, usd, "; ".join(said))


def _karpenter(settings: Settings) -> dict[capacity.Pool, int]:
    """Karpenter's nodes for the engines that find no room on the groups as they stand."""
    pools = capacity.gpu_pools(settings)
    chosen = [pool for pool in pools if pool.chosen]
    room = [(pool, pool.most if pool.chosen or pool.capacity == "reserved" else pool.desired) for pool in pools]
    nodes, _ = capacity.place(capacity.demands(settings), room)
    return {pool: nodes[pool.name] for pool in chosen if nodes[pool.name]}


def _cheapest(pool: capacity.Pool, table: Table) -> str:
    """What Karpenter starts on demand: the type with the lowest price."""
    prices = {kind: price.usd for kind in pool.instance_types if (price := table.get(f"ec2:{kind}"))}
    return min(prices, key=lambda kind: prices[kind]) if prices else pool.instance_types[0]


def _secrets(settings: Settings) -> int:
    return SECRETS + settings.data.cache.auth + sum(provider.api_key for provider in settings.providers)


def _dearest(types: Sequence[str], table: Table) -> tuple[str, str]:
    """The type of the list with the highest price, and a remark on those without one."""
    prices = {kind: price.usd for kind in types if (price := table.get(f"ec2:{kind}"))}
    silent = [kind for kind in types if kind not in prices]
    if not prices:
        return types[0], ""
    return max(prices, key=lambda kind: prices[kind]), f"no price for {', '.join(silent)}" if silent else ""


def _usd_per_gpu_hour(settings: Settings, table: Table) -> float | None:
    pools = [pool for pool in capacity.gpu_pools(settings) if pool.capacity == "on demand"]
    pool = next((pool for pool in pools if pool.most), pools[0])
    kind = pool.instance_types[0] if pool.name == "gpu" else _cheapest(pool, table)
    price = table.get(f"ec2:{kind}")
    return None if price is None else price.usd / gpus_of(kind)


def _per_million(per_gpu: float | None, gpus: int, rate: float | None, utilisation_percent: float) -> float | None:
    if per_gpu is None or rate is None:
        return None
    return per_gpu * gpus / (rate * utilisation_percent / 100 * 3600) * 1_000_000


def _release(settings: Settings, table: Table, spot_percent: float) -> float | None:
    """US dollars an hour of the nodes that a release adds to those that run."""
    both = capacity.situations(settings)[1]
    more = {pool.name: max(0, both.nodes[pool.name] - pool.desired) for pool in capacity.gpu_pools(settings)}
    return nodes_usd_per_hour(settings, table, more, spot_percent)


def nodes_usd_per_hour(
    settings: Settings, table: Table, nodes: Mapping[str, int], spot_percent: float = 100
) -> float | None:
    """US dollars an hour of so many nodes of each group with GPUs; None where a price that counts is missing."""
    total = 0.0
    for pool in capacity.gpu_pools(settings):
        more = 0 if pool.capacity == "reserved" else nodes.get(pool.name, 0)  # paid for already
        spot = pool.capacity == "spot"
        kind = _dearest(pool.instance_types, table)[0] if spot else pool.instance_types[0]
        price = table.get(f"ec2:{kind}")
        if price is None and more:
            return None
        if price is not None:
            total += more * price.usd * (spot_percent / 100 if spot else 1)
    return total
