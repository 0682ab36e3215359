"""How many engines a demand needs, how long that takes, and the object that KEDA gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.balance.metrics import BalanceCollector
from components import engine_manifests, scaling
from components.keda_manifests import operator_policy
from components.manifests import labels
from components.network_policies import network_policies
from infra.settings import starting
from tests.unit.engine_cases import scaling as rules
from tests.unit.engine_cases import shape

if TYPE_CHECKING:
    from app.gateway.service import Service

DEMAND = st.integers(0, 1_000_000)
SMALL = st.integers(1, 50)


def objects(**changes: Any) -> list[dict[str, Any]]:
    engine = shape(**changes)
    found = [
        scaling.scaled_object(engine, part, namespace="penstock", colour="blue")
        for part in engine_manifests.parts(engine, "blue")
    ]
    return [each for each in found if each is not None]


@given(demand=DEMAND, target=SMALL, floor=st.integers(0, 20), more=st.integers(0, 20))
def test_engines_stay_between_floor_and_ceiling_and_never_fall_with_more_demand(
    demand: float, target: int, floor: int, more: int
):
    found = scaling.replicas_for(demand, target, floor, floor + more)
    assert floor <= found <= floor + more
    assert found <= scaling.replicas_for(demand + target, target, floor, floor + more)
    if found < floor + more:
        assert found * target >= demand, "room for all that is asked"


@pytest.mark.parametrize(("demand", "expected"), [(0, 0), (0.5, 3), (60, 3), (61, 4), (160, 8), (9999, 8)])
def test_a_model_that_may_goes_to_zero_and_comes_back_at_its_floor(demand: float, expected: int):
    assert scaling.replicas_for(demand, 20, 3, 8, to_zero=True) == expected


@given(demand=DEMAND, target=SMALL, floor=st.integers(0, 20), most=st.integers(1, 40))
def test_a_floor_on_demand_and_the_rest_on_spot_are_together_as_many_as_one_deployment(
    demand: float, target: int, floor: int, most: int
):
    beside = scaling.replicas_for(scaling.beyond_floor(demand, target, floor), target, 0, most)
    assert floor + beside == scaling.replicas_for(demand, target, floor, floor + most)


@given(replicas=st.integers(0, 100), share=st.integers(0, 100))
def test_no_more_than_the_share_is_on_spot(replicas: int, share: int):
    on_demand, on_spot = engine_manifests.split(replicas, share)
    assert on_demand + on_spot == replicas
    assert on_spot * 100 <= replicas * share
    assert on_demand >= 1 or share == 100 or replicas == 0


@given(start=st.integers(1, 10_000))
def test_idle_and_looking_back_last_longer_than_a_start(start: int):
    assert starting.cooldown_seconds(start) >= 2 * start
    assert min(2 * start, 3600) <= starting.stabilisation_seconds(start) <= 3600


def test_the_weights_time_follows_from_their_size_and_from_where_they_lie():
    assert starting.read_seconds(15.3, streamed=True) == 31
    assert starting.read_seconds(15.3, streamed=False) == 128
    assert starting.limit_seconds(900, 15.3, streamed=True) == 900 + 62
    assert starting.expected_seconds(140, streamed=True) == 90 + 280
    assert starting.limit_seconds(0, 140, streamed=True) > starting.read_seconds(140, streamed=True)


def test_a_model_without_scaling_has_no_object():
    assert objects() == []


def test_the_object_scales_the_deployment_between_floor_and_ceiling_on_the_colours_own_demand():
    (found,) = objects(scaling=rules())
    spec = found["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engine-small-blue"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (3, 8)
    assert "idleReplicaCount" not in spec
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["valueLocation"] == 'penstock_demand{model="small"}'
    assert trigger["metadata"]["aggregateFromKubeServiceEndpoints"] == "true"
    assert trigger["metadata"]["aggregationType"] == "sum"
    assert trigger["metricType"] == "AverageValue", "one engine more for each target, whatever is starting"
    assert spec["advanced"].keys() == {"restoreToOriginalReplicaCount", "horizontalPodAutoscalerConfig"}
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert found["metadata"]["labels"] == labels("engine", "blue", "small")


def test_keda_finds_service_and_namespace_in_the_address():
    (found,) = objects(scaling=rules())
    url = found["spec"]["triggers"][0]["metadata"]["url"]
    assert url == "http://gateway-blue.penstock.svc:8080/metrics"
    host = url.split("/")[2]
    assert host.split(".")[:2] == ["gateway-blue", "penstock"], "as KEDA takes the host apart"


def test_the_metric_is_one_that_gateways_have():
    without_models = cast("Service", SimpleNamespace(targets={}))
    names = {family.name for family in BalanceCollector(lambda: without_models).collect()}
    assert scaling.METRIC in names


def test_a_colour_that_is_down_is_held_at_zero():
    (found,) = objects(scaling=rules(), replicas=0)
    assert found["metadata"]["annotations"] == {"autoscaling.keda.sh/paused-replicas": "0"}
    assert found["spec"]["maxReplicaCount"] == 8
    (up,) = objects(scaling=rules())
    assert "annotations" not in up["metadata"]


def test_to_zero_is_below_the_floor_and_after_the_cooldown():
    (found,) = objects(scaling=rules(to_zero=True, cooldown_seconds=420))
    assert (found["spec"]["idleReplicaCount"], found["spec"]["minReplicaCount"]) == (0, 3)
    assert found["spec"]["cooldownPeriod"] == 420


def test_only_what_is_beyond_the_floor_on_demand_scales():
    (found,) = objects(scaling=rules(), replicas=4, spot_share=50)
    assert found["metadata"]["name"] == "engine-small-spot-blue"
    assert (found["spec"]["minReplicaCount"], found["spec"]["maxReplicaCount"]) == (2, 6)
    assert found["spec"]["advanced"]["scalingModifiers"] == {
        "formula": "(demand0) > 40 ? (demand0) - 40 : 0",
        "target": "20",
        "activationTarget": "0",
    }


def test_adapters_demand_counts_for_the_engines_that_serve_them():
    adapters = [{"name": "law", "source": "/law", "rank": 8}]
    (found,) = objects(scaling=rules(), lora_adapters=adapters)
    assert [each["name"] for each in found["spec"]["triggers"]] == ["demand0", "demand1"]
    assert found["spec"]["triggers"][1]["metadata"]["valueLocation"] == 'penstock_demand{model="law"}'
    assert found["spec"]["advanced"]["scalingModifiers"]["formula"] == "demand0 + demand1"


def test_keda_may_ask_gateways_and_gateways_let_it_only_where_models_scale():
    asked = [rule["to"] for rule in operator_policy()["egress"] if rule["ports"][0]["port"] == 8080]
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for (peer,) in asked] == ["gateway", "jobs"]

    def asks(scaled: bool) -> bool:
        rules = network_policies("10.0.0.0/16", [], scaled=scaled)["gateway"]["ingress"]
        return any("keda-operator" in str(rule["from"]) for rule in rules)

    assert asks(True)
    assert not asks(False)
