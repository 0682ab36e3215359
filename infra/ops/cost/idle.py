"""What a stack file pays for and hardly uses. Pure: settings and prices in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.settings import Settings
from infra.settings.accelerators import gpus_of

HOURS = 730
"""Of a month, as in the estimate."""


@dataclass(frozen=True)
class Idle:
    key: str
    """Of the stack file."""
    why: str
    usd: float | None
    """A month that it may save; None where the price is not known."""


Price = Callable[[str], float | None]
"""US dollars an hour, by key of the price table."""


def idle(settings: Settings, price: Price) -> tuple[Idle, ...]:
    """The dearest first, those without a price last."""
    found = [*_colours(settings, price), *_nodes(settings, price), *_spare(settings, price)]
    return tuple(sorted(found, key=lambda each: (each.usd is None, -(each.usd or 0), each.key)))


def _gpu_hour(settings: Settings, price: Price) -> float | None:
    """Of one GPU of the group `gpu`, on demand."""
    kind = settings.node_groups.gpu.instance_types[0]
    node = price(f"ec2:{kind}")
    return None if node is None else node / gpus_of(kind)


def _colours(settings: Settings, price: Price) -> Iterator[Idle]:
    for colour, release in (("blue", settings.release.blue), ("green", settings.release.green)):
        gpus = sum(release.engine_replicas[model.name] * model.gpus for model in settings.models)
        if release.weight or not (release.gateway_replicas or gpus):
            continue
        hour = _gpu_hour(settings, price) if gpus else 0.0
        yield Idle(
            f"release.{colour}",
            f"no traffic, and {release.gateway_replicas} gateways with {gpus} GPUs of engines; 0 replicas once the "
            "release is over",
            None if hour is None else hour * gpus * HOURS,
        )


def _nodes(settings: Settings, price: Price) -> Iterator[Idle]:
    """Whole nodes on demand whose GPUs no engine of the stack file takes."""
    group, spot = settings.node_groups.gpu, settings.node_groups.gpu_spot
    per_node = gpus_of(group.instance_types[0])
    there = group.desired_nodes * per_node
    there += spot.desired_nodes_per_zone * len(settings.network.zones) * min(map(gpus_of, spot.instance_types))
    wanted = sum(
        release.engine_replicas[model.name] * model.gpus
        for release in (settings.release.blue, settings.release.green)
        for model in settings.models
    )
    free = min((there - wanted) // per_node, group.desired_nodes - group.min_nodes)
    if free > 0:
        hour = price(f"ec2:{group.instance_types[0]}")
        yield Idle(
            "nodeGroups.gpu.desiredNodes",
            f"{free} nodes more than the engines' {wanted} GPUs need; fewer, unless a release or lost zone needs them",
            None if hour is None else hour * free * HOURS,
        )


def _spare(settings: Settings, price: Price) -> Iterator[Idle]:
    """What survives the loss of a zone, in a stack that is not protected."""
    if settings.protected:
        return
    database, cache = settings.data.database, settings.data.cache
    if database.multi_zone:
        hour = price(f"rds:{database.instance_class}")
        yield Idle(
            "data.database.multiZone", "a standby in an unprotected stack", None if hour is None else hour * HOURS
        )
    if cache.replicas:
        hour = price(f"cache:{cache.node_type}")
        usd = None if hour is None else hour * cache.replicas * HOURS
        yield Idle("data.cache.replicas", f"{cache.replicas} standby nodes in an unprotected stack", usd)
    zones = len(settings.network.zones)
    if settings.network.nat_gateways == "perZone":
        hour = price("vpc:nat-hour")
        usd = None if hour is None else hour * (zones - 1) * HOURS
        yield Idle("network.natGateways", f"one in each of {zones} zones of an unprotected stack; `one` is enough", usd)
