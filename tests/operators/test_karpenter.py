"""Our node pools before the real Karpenter: spot first, on demand when spot is dry, back to spot, in their bounds.

Karpenter's core is real, with the rights that the program gives it; its cloud is its own pretended one (kwok), which
has whatever it lists. "Spot is dry" is a list without spot. EC2's own refusals, and how long they are remembered, are
not seen here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from components import engine_manifests
from components.manifests import ZONE_LABEL
from tests.operators.nodes import DRY, ENGINES, NORMAL, ZONES, Provisioner
from tests.unit.engine_cases import DRAIN, PROBES, shape

pytestmark = [pytest.mark.operators, pytest.mark.timeout(900)]

ALWAYS = {"schedule": "* * * * *", "duration": "10m", "reasons": ["Drifted", "Underutilized"]}
"""As the working hours of the program's budget, at all hours."""


@pytest.fixture
def clean(provisioner: Provisioner) -> Iterator[Provisioner]:
    yield provisioner
    provisioner.clear()


def engines(provisioner: Provisioner, **changes: Any) -> None:
    """The Deployments of a model's engines, as the program makes them."""
    engine = shape(**changes)
    objects = [
        engine_manifests.deployment(
            engine, part, namespace=ENGINES, image="none", zones=len(ZONES), drain=DRAIN, probes=PROBES
        )
        for part in engine_manifests.parts(engine, "blue")
    ]
    provisioner.plane.apply(*({"apiVersion": "apps/v1", "kind": "Deployment", **each} for each in objects))


def test_engines_get_spot_nodes_first_one_in_each_zone(clean: Provisioner):
    clean.offer(NORMAL)
    clean.pools()
    engines(clean, replicas=3)
    clean.until("3 engines run", lambda: len(clean.placed()) == 3)
    assert clean.capacities() == ["spot"] * 3
    assert sorted(node["metadata"]["labels"][ZONE_LABEL] for node in clean.nodes()) == sorted(ZONES)
    assert all({"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"} in node["spec"]["taints"]
               for node in clean.nodes())  # fmt: skip


def test_engines_start_on_demand_where_spot_is_dry_and_return_to_spot_one_by_one(clean: Provisioner):
    clean.offer(DRY)
    clean.pools(returns_to_spot=True, budgets=[{"nodes": "1"}])
    engines(clean, replicas=3, spot_share=100)
    clean.until("3 engines run", lambda: len(clean.placed()) == 3)
    assert clean.capacities() == ["on-demand"] * 3
    clean.offer(NORMAL)
    fewest, over = 3, threading.Event()

    def watch() -> None:
        nonlocal fewest
        while not over.wait(0.3):
            fewest = min(fewest, len(clean.placed()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        clean.until("all are on spot", lambda: sorted(clean.placed().values()) == ["spot"] * 3, 400)
    finally:
        over.set()
        watcher.join()
    assert fewest >= 2, "one node at a time, and its replacement runs before it goes"


def test_in_working_hours_no_engine_returns_to_spot(clean: Provisioner):
    clean.offer(DRY)
    clean.pools(returns_to_spot=True, budgets=[{"nodes": "1"}, {"nodes": "0", **ALWAYS}])
    engines(clean, replicas=2, spot_share=100)
    clean.until("2 engines run", lambda: len(clean.placed()) == 2)
    clean.offer(NORMAL)
    claims = "/apis/karpenter.sh/v1/nodeclaims"

    def consolidatable() -> bool:
        found = [
            condition["status"]
            for claim in clean.plane.call("GET", claims)["items"]
            for condition in claim["status"].get("conditions", ())
            if condition["type"] == "Consolidatable"
        ]
        return found == ["True", "True"]

    clean.until("both could go", consolidatable)
    events = "/api/v1/events?limit=500"
    clean.until(
        "Karpenter says that it may not",
        lambda: any("DisruptionBlocked" in event["reason"] for event in clean.plane.call("GET", events)["items"]),
    )
    assert clean.capacities() == ["on-demand"] * 2


def test_a_floor_stays_on_demand_and_the_rest_comes_to_spot(clean: Provisioner):
    """Nodes on demand that come up first may be taken by pods that prefer spot: these are moved when it is quiet."""
    clean.offer(NORMAL)
    clean.pools(returns_to_spot=True, budgets=[{"nodes": "1"}])
    engines(clean, replicas=4, spot_share=50)

    def kinds(part: str) -> list[str]:
        return [kind for name, kind in clean.placed().items() if f"-{part}-" in name]

    clean.until("4 engines run", lambda: len(clean.placed()) == 4)
    clean.until("the rest is on spot", lambda: kinds("spot") == ["spot"] * 2 and len(kinds("floor")) == 2, 400)
    assert kinds("floor") == ["on-demand"] * 2


def test_pools_grow_to_their_limit_of_gpus_and_then_on_demand_takes_over(clean: Provisioner):
    clean.offer(NORMAL)
    clean.pools(max_gpus=2)
    engines(clean, replicas=5)
    clean.until("what the limits allow runs", lambda: len(clean.placed()) == 4)
    assert clean.capacities() == ["on-demand", "on-demand", "spot", "spot"]
    pools = clean.plane.call("GET", "/apis/karpenter.sh/v1/nodepools")["items"]
    clean.until(
        "each pool says how much it has",
        lambda: {
            pool["status"].get("resources", {}).get("nvidia.com/gpu")
            for pool in clean.plane.call("GET", "/apis/karpenter.sh/v1/nodepools")["items"]
        } == {"2"},
    )  # fmt: skip
    assert {pool["spec"]["limits"]["nvidia.com/gpu"] for pool in pools} == {"2"}
    assert len(clean.placed()) == 4, "the fifth engine waits"
