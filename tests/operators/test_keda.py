"""Our scaled objects before the real KEDA and Kubernetes' own autoscaler: up, down, to zero and back.

Operator and adapter are real and have the rights and arguments that the program gives them; all times are a twentieth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from components import engine_manifests, jobs_manifests, scaling
from tests.operators.autoscaler import EXTERNAL, NAMESPACE, Autoscaler, Gateway
from tests.operators.plane import eventually
from tests.unit.engine_cases import scaling as rules
from tests.unit.engine_cases import shape

pytestmark = [pytest.mark.operators, pytest.mark.timeout(900)]

DEAD = "192.0.2.77"
"""Of a range that is nobody's: nothing answers there."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway()
    yield found
    found.close()


class Scaled:
    """A model's engines under the autoscaler."""

    def __init__(self, autoscaler: Autoscaler, gateway: Gateway, **changes: Any) -> None:
        engine = shape(**changes)
        (self.part,) = [part for part in engine_manifests.parts(engine, "blue") if part.scaled]
        found = scaling.scaled_object(engine, self.part, namespace=NAMESPACE, colour="blue")
        assert found is not None
        self.name = self.part.name
        self.autoscaler, self.gateway = autoscaler, gateway
        gateway.demand.setdefault("small", 0)
        autoscaler.expose("gateway-blue", gateway.port, gateway.address)
        autoscaler.deploy(self.name, self.part.replicas)
        autoscaler.scale(found, gateway.port)
        eventually(lambda: autoscaler.condition(self.name, "Ready") == "True", "KEDA takes the object")

    def until(self, wanted: int) -> None:
        self.autoscaler.until(self.name, wanted)


@pytest.fixture
def scaled(autoscaler: Autoscaler, gateway: Gateway) -> Iterator[Any]:
    made: list[Scaled] = []

    def make(**changes: Any) -> Scaled:
        made.append(Scaled(autoscaler, gateway, **changes))
        return made[-1]

    yield make
    for each in made:
        autoscaler.remove(each.name)


def test_the_api_of_external_metrics_is_kedas(autoscaler: Autoscaler):
    assert autoscaler.plane.call("GET", EXTERNAL)["groupVersion"] == "external.metrics.k8s.io/v1beta1"


def test_engines_follow_demand_up_to_the_ceiling_and_down_to_the_floor(scaled: Any, gateway: Gateway):
    engines = scaled(replicas=2, scaling=rules(max_replicas=8))
    for demand in (61, 140, 999, 30, 0):
        gateway.demand["small"] = demand
        engines.until(scaling.replicas_for(demand, 20, 2, 8))


def test_within_the_autoscalers_tolerance_nothing_is_scaled(scaled: Any, gateway: Gateway):
    """Ten per cent over the target is no reason (Kubernetes' --horizontal-pod-autoscaler-tolerance)."""
    engines = scaled(replicas=2, scaling=rules(max_replicas=8))
    gateway.demand["small"] = 100
    engines.until(5)
    gateway.demand["small"] = 108
    assert scaling.replicas_for(108, 20, 2, 8) == 6, "the formula has no tolerance"
    path = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/{engines.name}"

    def average() -> str:
        found = engines.autoscaler.plane.call("GET", path)["status"].get("currentMetrics") or [{}]
        return found[0].get("external", {}).get("current", {}).get("averageValue", "")

    eventually(lambda: average() == "21600m", "the autoscaler has seen 108 for 5")
    assert engines.autoscaler.replicas(engines.name) == 5
    gateway.demand["small"] = 112
    engines.until(6)


def test_a_model_goes_to_zero_and_its_first_request_brings_the_floor_back(scaled: Any, gateway: Gateway):
    engines = scaled(replicas=1, scaling=rules(max_replicas=4, to_zero=True, cooldown_seconds=60))
    engines.until(0)
    gateway.demand["small"] = 1
    engines.until(1)
    gateway.demand["small"] = 50
    engines.until(3)
    gateway.demand["small"] = 0
    engines.until(0)


def test_adapters_names_count_with_their_models(scaled: Any, gateway: Gateway):
    gateway.demand = {"small": 30, "law": 31}
    engines = scaled(
        replicas=1, scaling=rules(max_replicas=8), lora_adapters=[{"name": "law", "source": "/law", "rank": 8}]
    )
    engines.until(scaling.replicas_for(61, 20, 1, 8))


def test_a_floor_on_demand_takes_its_part_of_the_demand_first(scaled: Any, gateway: Gateway):
    engines = scaled(replicas=4, spot_share=50, scaling=rules(max_replicas=10))
    gateway.demand["small"] = 125
    expected = scaling.replicas_for(scaling.beyond_floor(125, 20, 2), 20, 2, 8)
    assert expected == 5
    engines.until(expected)
    gateway.demand["small"] = 10
    engines.until(2)


def test_a_colour_that_is_down_stays_down_and_comes_up_to_its_floor(
    scaled: Any, gateway: Gateway, autoscaler: Autoscaler
):
    gateway.demand["small"] = 100
    down = scaled(replicas=0, scaling=rules(max_replicas=8))
    down.until(0)
    assert autoscaler.condition(down.name, "Paused") == "True"
    up = scaled(replicas=3, scaling=rules(max_replicas=8))
    autoscaler.plane.kubectl("annotate", "-n", NAMESPACE, f"scaledobject.keda.sh/{up.name}", f"{scaling.PAUSED_AT}-")
    up.until(5)
    gateway.demand["small"] = 0
    up.until(3)


def test_a_gateway_that_does_not_answer_is_left_out_and_when_none_does_engines_stay(
    scaled: Any, gateway: Gateway, autoscaler: Autoscaler
):
    engines = scaled(replicas=2, scaling=rules(max_replicas=8))
    gateway.demand["small"] = 100
    engines.until(5)
    autoscaler.expose("gateway-blue", gateway.port, gateway.address, DEAD)
    gateway.demand["small"] = 140
    engines.until(7)
    autoscaler.expose("gateway-blue", gateway.port, DEAD)
    eventually(lambda: autoscaler.condition(engines.name, "Fallback") == "True", "KEDA falls back")
    assert autoscaler.replicas(engines.name) == 7, "no reason to take engines away"


def test_workers_of_jobs_follow_the_depth_that_they_tell(autoscaler: Autoscaler, gateway: Gateway):
    workers: Any = {"replicas": 2, "scaling": {"max_workers": 6, "rows_per_worker": 100}}
    found = jobs_manifests.scaled_object(workers, NAMESPACE)
    assert found is not None
    gateway.lines = ["penstock_jobs_demand 0"]
    autoscaler.expose("jobs", gateway.port, gateway.address)
    autoscaler.deploy("jobs", 2)
    autoscaler.scale(found, gateway.port)
    for depth, expected in ((450, 5), (100_000, 6), (0, 2)):
        gateway.lines = [f"penstock_jobs_demand {depth}"]
        autoscaler.until("jobs", expected)
    autoscaler.remove("jobs")
