"""The rules that span keys."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import model_slug
from infra.settings.accelerators import GPUS_BY_FAMILY, gpus_of
from tests.unit.settings_cases import VALUES, Values, problems, put


def edits(**changes: Any) -> Any:
    """Several puts; two underscores stand for the dot."""

    def edit(values: Values) -> None:
        for path, value in changes.items():
            put(path.replace("__", "."), value)(values)

    return edit


def test_weights_that_do_not_sum_to_a_hundred_are_refused():
    assert problems(put("release.green.weight", 5)) == {
        "release.green.weight": "blue 100 and green 5 make 105; allowed: 0 to 100 each, 100 together"
    }


@given(green=st.integers(0, 100))
def test_any_weights_that_sum_to_a_hundred_are_taken(green: int):
    assert problems(edits(release__blue__weight=100 - green, release__green__weight=green)) == {}


def test_a_colour_without_replicas_cannot_receive_traffic():
    found = problems(
        edits(
            release__blue__weight=95,
            release__green__weight=5,
            release__green__gatewayReplicas=0,
            release__green__engineReplicas={"tiny": 0},
        )
    )
    assert set(found) == {"release.green.gatewayReplicas", "release.green.engineReplicas.tiny"}
    assert all("takes 5 % of the traffic; allowed: 1 or more" in message for message in found.values())


def test_a_colour_without_traffic_may_be_empty():
    assert problems(edits(release__green__gatewayReplicas=0, release__green__engineReplicas={"tiny": 0})) == {}


def test_engine_replicas_are_given_for_exactly_the_models_there_are():
    found = problems(put("release.green.engineReplicas", {"tyni": 3}))
    assert found["release.green.engineReplicas.tyni"] == "no such model; allowed here: tiny"
    assert found["release.green.engineReplicas.tiny"] == "is missing"


def test_two_models_cannot_share_a_name_or_an_alias():
    def edit(values: Values) -> None:
        values["models"].append(values["models"][0] | {"name": "second", "aliases": ["tiny"]})
        for colour in ("blue", "green"):
            values["release"][colour]["engineReplicas"]["second"] = 1

    assert problems(edit) == {"models[1].aliases[0]": "'tiny' is taken by models[0].name; each name may stand once"}


def test_two_models_cannot_share_the_name_of_a_kubernetes_object():
    def edit(values: Values) -> None:
        values["models"] = [values["models"][0] | {"name": name} for name in ("a.b", "a-b")]
        for colour in ("blue", "green"):
            values["release"][colour]["engineReplicas"] = {"a.b": 1, "a-b": 1}

    assert set(problems(edit)) == {"models[1].name"}


def test_output_cannot_exceed_the_context():
    assert (
        "allowed: maxModelLen, 2048, or less"
        in problems(put("models.0.maxOutputTokens", 4096))["models[0].maxOutputTokens"]
    )


@pytest.mark.parametrize(("cidr", "word"), [("10.0.0.0/21", "too small"), ("10.0.0.0/15", "too large")])
def test_a_network_without_room_or_too_large_for_aws_is_refused(cidr: str, word: str):
    assert word in problems(put("network.cidr", cidr))["network.cidr"]


def test_zones_stand_once_and_in_order():
    assert "network.zones[1]" in problems(put("network.zones", ["a", "a"]))
    assert "network.zones" in problems(put("network.zones", ["b", "a", "c"]))
    assert problems(put("network.zones", ["a"])) == {"network.zones": "has 1 entries; allowed: 2 or more"}


def test_system_nodes_reach_every_zone():
    found = problems(edits(nodeGroups__system__minNodes=1, nodeGroups__system__desiredNodes=2))
    assert found == {"nodeGroups.system.desiredNodes": "2 leaves a zone empty; allowed: 3 or more, one for each zone"}


def test_node_counts_are_ordered():
    found = problems(put("nodeGroups.gpuSpot.desiredNodesPerZone", 3))
    assert found == {
        "nodeGroups.gpuSpot.desiredNodesPerZone": "3 is not allowed; allowed: minNodesPerZone 0 to maxNodesPerZone 2"
    }


def test_engines_that_find_no_gpu_are_refused():
    found = problems(put("release.green.engineReplicas", {"tiny": 10}))
    assert found == {
        "release": "the engines of both colours want 13 GPUs, gpu and gpuSpot have 12 at most; "
        "allowed: fewer engineReplicas or scaling.maxReplicas, or more maxNodes"
    }


@pytest.mark.parametrize(
    ("instance_type", "message"),
    [
        ("g7.xlarge", "needs NVIDIA driver 595"),
        ("m7i.large", "no known GPUs; allowed families"),
        ("g6.huge", "not an instance type; allowed sizes of g6"),
    ],
)
def test_a_node_that_cannot_carry_engines_is_refused(instance_type: str, message: str):
    found = problems(put("nodeGroups.gpu.instanceTypes", [instance_type]))
    assert message in found["nodeGroups.gpu.instanceTypes[0]"]


def test_every_known_gpu_node_has_gpus():
    for family, sizes in GPUS_BY_FAMILY.items():
        for size in sizes:
            assert gpus_of(f"{family}.{size}") in (1, 4, 8)


def test_storage_cannot_grow_downwards():
    assert set(problems(put("data.database.maxStorageGib", 20))) == set()
    found = problems(edits(data__database__storageGib=50, data__database__maxStorageGib=40))
    assert found == {"data.database.maxStorageGib": "40 is too small; allowed: storageGib = 50 or more, in GiB"}


def test_budget_alerts_rise():
    assert problems(put("budget.alertPercents", [80, 50])) == {"budget.alertPercents": "must rise, each once: 50, 80"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("network.natGateways", "one"),
        ("network.zones", ["a", "b"]),
        ("cluster.publicEndpointCidrs", ["0.0.0.0/0"]),
        ("data.cache.replicas", 0),
        ("data.cache.tls", False),
        ("data.database.multiZone", False),
        ("data.database.backupDays", 1),
        ("edge.certificateArn", None),
        ("release.blue.gatewayImage", "v1"),
        ("release.green.engineImage", "v1"),
        ("release.blue.gatewayReplicas", 2),
    ],
)
def test_protected_data_must_survive_the_loss_of_a_zone(path: str, value: Any):
    assert "does not fit protected: true; allowed: " in problems(put(path, value), "prod")[path]


def test_protection_asks_nothing_of_a_stack_that_is_not_protected():
    assert problems(lambda values: values.update(protected=False), "prod") == {}
    assert VALUES["dev"]["protected"] is False


@given(st.text(min_size=1, max_size=60))
def test_a_slug_may_stand_in_the_name_of_a_kubernetes_object(name: str):
    slug = model_slug(name)
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not slug.startswith("-")
    assert not slug.endswith("-")
