"""The sums of a stack file: what its engines and gateways need, what its node groups can give, with a zone less, too.

Three situations are summed: the file as it stands; a release, in which both colours run each model as large as the
larger of the two; and that release after the loss of a zone. Pods are placed largest first, on demand before spot, so
the numbers are those of the floor and not a forecast of the scheduler. GPUs are counted; memory is not.

What a zone takes with it: the spot groups of that zone. The groups on demand stretch over all zones, and start their
nodes in the zones that are left; so do Karpenter's pools, which are filled last, up to their ceiling in GPUs. A
reservation goes with its zone; of the zones the one is taken whose loss is worst. A model that scales is summed with
its ceiling. A model with a `gpuType` counts on a node group only where all its types have that GPU, for which of them
comes is not known; Karpenter picks what the pod needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from components.shares import COLOURS
from infra.settings.accelerators import gpus_of, has_gpu
from infra.settings.instances import Capacity, QuotaClass, quota_class, vcpus_of
from infra.settings.model import ColourRelease, Shape

SYSTEM_RESERVE_MILLICORES = 1000
"""Of each system node, for what is not a gateway: DNS, network, controllers (an allowance, not a measurement)."""


class Demand(NamedTuple):
    """Engine pods of one model in one colour."""

    colour: str
    model: str
    gpus: int
    """Of one pod."""
    pods: int
    gpu: str | None = None
    """The only GPU that will do; None: any."""


@dataclass(frozen=True)
class Pool:
    """A node group, or the spot groups of all zones together."""

    name: str
    capacity: Capacity
    instance_types: tuple[str, ...]
    gpus: int
    """Of the smallest node: what a pod can count on."""
    vcpus: int
    """Of the largest node: what a quota must bear."""
    classes: tuple[QuotaClass, ...]
    desired: int
    most: int
    most_without_a_zone: int
    chosen: bool = False
    """Nodes are picked for the pods that wait (Karpenter); else a node may be of any type of the group."""
    colour: str | None = None
    """It takes engines of this colour alone."""
    zone: str | None = None
    """All of it goes with this zone; None: it stretches over all zones."""

    def gpus_for(self, gpu: str | None) -> int:
        """GPUs that a pod which needs this GPU can count on in one node; 0 where a node need not have it."""
        if gpu is None:
            return self.gpus
        having = [each for each in self.instance_types if has_gpu(each, gpu)]
        if not having or (len(having) < len(self.instance_types) and not self.chosen):
            return 0
        # The ceiling in nodes was reckoned with the fewest GPUs of all types: no more than that is sure.
        return self.gpus


@dataclass(frozen=True)
class Situation:
    """Engines placed on the pools."""

    name: str
    demands: tuple[Demand, ...]
    nodes: dict[str, int]
    """By pool."""
    left: int
    """Engine pods for which there is no room."""
    room: int
    """GPUs of all nodes that may exist."""
    zone: str | None = None
    """The one that is lost."""

    @property
    def gpus(self) -> int:
        return sum(demand.gpus * demand.pods for demand in self.demands)

    @property
    def pods(self) -> int:
        return sum(demand.pods for demand in self.demands)

    def of_colour(self, colour: str) -> dict[str, int]:
        mine = [demand for demand in self.demands if demand.colour == colour]
        return {"pods": sum(d.pods for d in mine), "gpus": sum(d.gpus * d.pods for d in mine)}


class Shortfall(NamedTuple):
    path: str
    """The key that has to change."""
    message: str
    """With the sum written out, and what is allowed."""


def gpu_pools(shape: Shape) -> tuple[Pool, ...]:
    """Raises ValueError for an instance type whose GPUs or vCPUs are not known."""
    groups, zones = shape.node_groups, len(shape.network.zones)
    gpu, spot = groups.gpu, groups.gpu_spot
    per_zone = spot.max_nodes_per_zone
    found = (
        _pool("gpu", "on demand", gpu.instance_types, gpu.desired_nodes, gpu.max_nodes, gpu.max_nodes),
        _pool(
            "gpuSpot",
            "spot",
            spot.instance_types,
            spot.desired_nodes_per_zone * zones,
            per_zone * zones,
            per_zone * (zones - 1),
        ),
    )
    found += tuple(
        replace(
            _pool(f"reserved-{each.name}", "reserved", (each.instance_type,), standing, each.nodes, each.nodes),
            zone=each.zone,
        )
        for each in groups.reservations
        for standing in [each.nodes if each.used_by == "nodeGroup" else 0]
    )
    wanted = shape.controllers.karpenter
    if not (wanted.enabled and shape.models):
        return found
    both = (
        _ceiling("karpenterSpot", "spot", wanted.instance_types, wanted.max_gpus),
        _ceiling("karpenter", "on demand", wanted.instance_types, wanted.max_gpus),
    )
    if not wanted.per_colour:
        return (*found, *both)
    owned = (replace(pool, name=f"{pool.name}-{colour}", colour=colour) for pool in both for colour in COLOURS)
    return (*found, *owned)


def system_pool(shape: Shape) -> Pool:
    """Raises ValueError for an instance type whose vCPUs are not known."""
    group = shape.node_groups.system
    return Pool(
        "system",
        "on demand",
        tuple(group.instance_types),
        0,
        max(map(vcpus_of, group.instance_types)),
        tuple(sorted({quota_class(instance_type) for instance_type in group.instance_types})),
        group.desired_nodes,
        group.max_nodes,
        group.max_nodes,
    )


def demands(shape: Shape, *, release: bool = False) -> tuple[Demand, ...]:
    """Engine pods as the file has them, or those of a release, in which each colour is as large as the larger one.

    A model that scales counts with its ceiling in each colour that is up.
    """
    found = []
    for colour, mine in zip(COLOURS, _releases(shape), strict=True):
        for model in shape.models:
            replicas = mine.engine_replicas.get(model.name, 0)
            if release:
                replicas = max(other.engine_replicas.get(model.name, 0) for other in _releases(shape))
            pods = model.most(replicas) * model.nodes
            found.append(Demand(colour, model.name, model.gpus, pods, model.gpu_type))
    return tuple(found)


def place(wanted: Iterable[Demand], pools: Sequence[tuple[Pool, int]]) -> tuple[dict[str, int], int]:
    """Nodes used by pool, and pods left over. `pools` are filled in their order, each up to its number of nodes.

    A pod's GPUs are on one node, of the type that it needs. Pods that need a type go first, then largest first: with
    GPUs in powers of two no placing of pods that are alike in their type has room for more.
    """
    free: list[list[int]] = [[] for _ in pools]  # GPUs left on each node that was opened
    left = 0
    for demand in sorted(wanted, key=lambda item: (item.gpu is None, -item.gpus)):
        for _ in range(demand.pods):
            left += not _one(demand, pools, free)
    return {pool.name: len(nodes) for (pool, _), nodes in zip(pools, free, strict=True)}, left


def situations(shape: Shape) -> tuple[Situation, Situation, Situation]:
    """As the file stands; a release; a release with a zone less. Raises ValueError as `gpu_pools` does."""
    pools = gpu_pools(shape)
    both = demands(shape, release=True)
    return (
        _situation("as in the file", demands(shape), [(pool, pool.most) for pool in pools]),
        _situation("release, both colours", both, [(pool, pool.most) for pool in pools]),
        _worst([_without(zone, both, pools) for zone in shape.network.zones]),
    )


def vcpus_needed(shape: Shape, situation: Situation) -> dict[tuple[QuotaClass, Capacity], int]:
    """vCPUs of the nodes in a situation. A pool of several classes counts in full for each: any may be bought."""
    return _vcpus((pool, situation.nodes[pool.name]) for pool in gpu_pools(shape))


def vcpus_at_most(shape: Shape) -> dict[tuple[QuotaClass, Capacity], int]:
    """vCPUs when every group is as large as the file lets it be, the system group's among them."""
    return _vcpus((pool, pool.most) for pool in (*gpu_pools(shape), system_pool(shape)))


def pods_after_a_zone(replicas: int, zones: int) -> int:
    """Pods that still run in the moment a zone is lost, where they were even over the zones; the worst zone goes."""
    return replicas - -(-replicas // zones)


def shortfalls(shape: Shape) -> Iterator[Shortfall]:
    """Why the layout does not survive the loss of one zone; nothing where it does.

    Survives means: each model of a colour with traffic has a pod in another zone that goes on at once, and the zones
    that are left have room for all pods of both colours, gateways and engines.
    """
    zones = len(shape.network.zones)
    for colour, release in zip(COLOURS, _releases(shape), strict=True):
        if not release.weight:
            continue
        for model, replicas in release.engine_replicas.items():
            if 0 < replicas < zones:
                yield Shortfall(
                    f"release.{colour}.engineReplicas.{model}",
                    f"{replicas} over {zones} zones may all be in the zone that is lost: "
                    f"pods are held to a spread from {zones} on; allowed: {zones} or more",
                )
    try:
        lost = situations(shape)[2]
        pools = gpu_pools(shape)
        system = system_pool(shape)
        system_cpu = min(map(vcpus_of, shape.node_groups.system.instance_types)) * 1000
    except ValueError:
        return  # another rule names the type
    if lost.left:
        yield Shortfall("nodeGroups", _written_out(shape, lost, pools))
    gateways = 2 * max(release.gateway_replicas for release in _releases(shape))
    each = (system_cpu - SYSTEM_RESERVE_MILLICORES) // shape.gateway.cpu_millicores
    if gateways > each * system.most_without_a_zone:
        yield Shortfall(
            "nodeGroups.system.maxNodes",
            f"after the loss of one of {zones} zones {gateways} gateways of both colours at "
            f"{shape.gateway.cpu_millicores} millicores do not fit {system.most} nodes of {each} gateways each "
            f"({system_cpu} millicores less {SYSTEM_RESERVE_MILLICORES}); allowed: "
            + (f"{-(-gateways // each)} nodes or more" if each else "larger nodes"),
        )


def unplaceable(shape: Shape) -> Iterator[Shortfall]:
    """Models whose pod is larger than every node that may exist. Raises ValueError as `gpu_pools` does."""
    pools = gpu_pools(shape)
    named = _named(pools)
    for index, model in enumerate(shape.models):
        gpu = model.gpu_type
        if gpu and not any(has_gpu(each, gpu) for pool in pools for each in pool.instance_types):
            continue  # another rule says so
        largest = max((pool.gpus_for(gpu) for pool in pools if pool.most), default=0)
        if model.gpus > largest:
            of_type = f" {gpu}" if gpu else ""
            yield Shortfall(
                f"models[{index}].gpus",
                f"{model.gpus} is too large, no node of {named} is sure to have more than {largest}{of_type}; "
                f"allowed: {largest} or less, or larger instance types",
            )


def summary(shape: Shape) -> dict[str, Any]:
    """All sums as plain data, for people and programs. Raises ValueError as `gpu_pools` does."""
    return {
        "situations": [
            {
                "name": situation.name,
                "pods": situation.pods,
                "gpus": situation.gpus,
                "room_gpus": situation.room,
                "left_pods": situation.left,
                "nodes": situation.nodes,
                "colours": {colour: situation.of_colour(colour) for colour in COLOURS},
                "vcpus": {
                    f"{kind}, {capacity}": vcpus for (kind, capacity), vcpus in vcpus_needed(shape, situation).items()
                },
            }
            for situation in situations(shape)
        ],
        "vcpus_at_most": {f"{kind}, {capacity}": vcpus for (kind, capacity), vcpus in vcpus_at_most(shape).items()},
        "survives_a_zone": not list(shortfalls(shape)),
        "shortfalls": [f"{item.path}: {item.message}" for item in shortfalls(shape)],
    }


def _releases(shape: Shape) -> tuple[ColourRelease, ColourRelease]:
    return shape.release.blue, shape.release.green


def _pool(name: str, capacity: Capacity, types: Sequence[str], desired: int, most: int, without: int) -> Pool:
    return Pool(
        name,
        capacity,
        tuple(types),
        min(map(gpus_of, types)),
        max(map(vcpus_of, types)),
        tuple(sorted({quota_class(instance_type) for instance_type in types})),
        desired,
        most,
        without,
    )


def _ceiling(name: str, capacity: Capacity, types: Sequence[str], gpus: int) -> Pool:
    """A pool of Karpenter's: its ceiling in nodes of the fewest GPUs. The vCPUs are those of the type that has the most
    for a GPU, so that their sum bounds every mix of types."""
    fewest = min(map(gpus_of, types))
    vcpus = max(-(-vcpus_of(each) * fewest // gpus_of(each)) for each in types)
    return replace(_pool(name, capacity, types, 0, gpus // fewest, gpus // fewest), vcpus=vcpus, chosen=True)


def _named(pools: Sequence[Pool]) -> str:
    names = [pool.name for pool in pools]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _one(demand: Demand, pools: Sequence[tuple[Pool, int]], free: list[list[int]]) -> bool:
    """Puts one pod on the first node with room, or on a new one."""
    gpus = demand.gpus
    for (pool, most), nodes in zip(pools, free, strict=True):
        if pool.gpus_for(demand.gpu) < gpus or pool.colour not in (None, demand.colour):
            continue
        for index, room in enumerate(nodes):
            if room >= gpus:
                nodes[index] -= gpus
                return True
        if len(nodes) < most:
            nodes.append(pool.gpus - gpus)
            return True
    return False


def _situation(name: str, wanted: tuple[Demand, ...], pools: Sequence[tuple[Pool, int]]) -> Situation:
    nodes, left = place(wanted, pools)
    return Situation(name, wanted, nodes, left, sum(pool.gpus * most for pool, most in pools))


def _without(zone: str, wanted: tuple[Demand, ...], pools: Sequence[Pool]) -> Situation:
    left = [(pool, 0 if pool.zone == zone else pool.most_without_a_zone) for pool in pools]
    return replace(_situation("release, one zone lost", wanted, left), zone=zone)


def _worst(lost: Sequence[Situation]) -> Situation:
    """The zone whose loss leaves the most engine pods without room; of those alike, the one with the most GPUs."""
    return max(lost, key=lambda situation: (situation.left, -situation.room))


def _vcpus(pools: Iterable[tuple[Pool, int]]) -> dict[tuple[QuotaClass, Capacity], int]:
    found: dict[tuple[QuotaClass, Capacity], int] = {}
    for pool, nodes in pools:
        if pool.capacity == "reserved":
            continue  # EC2 counted it when it was reserved, or not at all (Capacity Blocks)
        for kind in pool.classes:
            found[kind, pool.capacity] = found.get((kind, pool.capacity), 0) + nodes * pool.vcpus
    return found


def _written_out(shape: Shape, lost: Situation, pools: Sequence[Pool]) -> str:
    zones = len(shape.network.zones)
    wanted = " + ".join(
        f"{d.pods} x {d.gpus} ({d.colour} {d.model}{f', {d.gpu} alone' if d.gpu else ''})"
        for d in lost.demands
        if d.pods
    )
    gpu, spot, *more = pools
    behind = "".join(f" + {pool.name} {0 if pool.zone == lost.zone else pool.most} x {pool.gpus}" for pool in more)
    per_zone = shape.node_groups.gpu_spot.max_nodes_per_zone
    return (
        f"after the loss of one of {zones} zones a release with both colours up wants {wanted} = {lost.gpus} GPUs; "
        f"left are gpu.maxNodes {gpu.most} x {gpu.gpus} + gpuSpot.maxNodesPerZone {per_zone} x {zones - 1} zones x "
        f"{spot.gpus}{behind} = {lost.room} GPUs, and {lost.left} engine pods find none; "
        "allowed: more maxNodes or maxNodesPerZone, or fewer engineReplicas or scaling.maxReplicas"
    )
