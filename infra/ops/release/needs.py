"""What a staged colour needs: GPUs, nodes beyond those that run, and US dollars an hour. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.ops.cost.estimate import nodes_usd_per_hour
from infra.ops.cost.prices import Table
from infra.settings import Settings, capacity


@dataclass(frozen=True)
class Needs:
    """Of the file after staging against the one before."""

    gpus: int
    """All that the colour's engines ask for."""
    more_gpus: int
    """Beyond what it asked for before."""
    nodes: dict[str, int]
    """More than run at desired size, by node group; on demand before spot."""
    usd_per_hour: float | None
    """For those nodes at list price, spot at its ceiling; None where a price is missing."""
    left_pods: int
    """Engine pods for which no node may exist."""

    def as_dict(self) -> dict[str, Any]:
        return vars(self) | {"usd_per_hour": None if self.usd_per_hour is None else round(self.usd_per_hour, 2)}

    def text(self, colour: str) -> str:
        nodes = ", ".join(f"{count} more of {name}" for name, count in self.nodes.items() if count)
        price = "" if not nodes else " (no price)" if self.usd_per_hour is None else f", {self.usd_per_hour:.2f} USD/h"
        lost = f"; no node may exist for {self.left_pods} engine pods" if self.left_pods else ""
        return f"{colour} wants {self.gpus} GPUs ({self.more_gpus:+d}): {nodes or 'no further nodes'}{price}{lost}."


def needs(before: Settings, after: Settings, colour: str, table: Table) -> Needs:
    """Raises ValueError for an instance type that is not known."""
    then, now = capacity.situations(before)[0], capacity.situations(after)[0]
    more, left = _further_nodes(after)
    gpus = now.of_colour(colour)["gpus"]
    return Needs(gpus, gpus - then.of_colour(colour)["gpus"], more, nodes_usd_per_hour(after, table, more), left)


def _further_nodes(settings: Settings) -> tuple[dict[str, int], int]:
    """Nodes beyond the desired ones, on demand before spot, and the pods for which even all of them have no room."""
    pools = capacity.gpu_pools(settings)
    wanted = capacity.demands(settings)
    nodes = {pool.name: pool.desired for pool in pools}
    left = capacity.place(wanted, [(pool, nodes[pool.name]) for pool in pools])[1]
    for pool in pools:
        while left and nodes[pool.name] < pool.most:
            nodes[pool.name] += 1
            before, left = left, capacity.place(wanted, [(each, nodes[each.name]) for each in pools])[1]
            if pool.colour and left == before:  # what is left is the other colour's
                nodes[pool.name] -= 1
                break
    return {pool.name: nodes[pool.name] - pool.desired for pool in pools}, left
