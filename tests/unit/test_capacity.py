"""The sums of a stack file."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import Settings, capacity
from infra.settings.accelerators import GPUS_BY_FAMILY
from infra.settings.capacity import Demand, Pool
from infra.settings.instances import quota_class, vcpus_of
from tests.unit.settings_cases import VALUES, Values, problems, put


def settings(stack: str = "prod", **changes: object) -> Settings:
    values: Values = copy.deepcopy(VALUES[stack])
    for path, value in changes.items():
        put(path.replace("__", "."), value)(values)
    return Settings.parse(values)


def pool(gpus: int, nodes: int) -> tuple[Pool, int]:
    return Pool(f"of-{gpus}", "on demand", ("g6.xlarge",), gpus, 4, ("G and VT",), 0, nodes, nodes), nodes


POWERS = st.sampled_from([1, 2, 4, 8])
DEMANDS = st.lists(st.builds(Demand, st.just("blue"), st.just("m"), POWERS, st.integers(0, 6), st.none()), max_size=6)
NODES = st.integers(0, 12)


def test_the_sizes_of_gpu_nodes_have_the_vcpus_that_aws_lists():
    sizes = {"xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64, "48xlarge": 192}
    for size, vcpus in sizes.items():
        assert vcpus_of(f"g6.{size}") == vcpus
    assert (vcpus_of("m7i.large"), vcpus_of("m7g.medium"), vcpus_of("t4g.medium")) == (2, 1, 2)


@pytest.mark.parametrize("instance_type", ["m7i.metal-24xl", "m7i", "m7i.huge"])
def test_a_size_that_does_not_tell_its_vcpus_is_not_guessed(instance_type: str):
    with pytest.raises(ValueError, match="no known vCPUs"):
        vcpus_of(instance_type)


def test_every_gpu_family_has_the_class_of_its_letter():
    for family in GPUS_BY_FAMILY:
        assert quota_class(f"{family}.48xlarge") == ("P" if family.startswith("p") else "G and VT")
    assert quota_class("m7i.large") == "standard"
    with pytest.raises(ValueError, match="no quota that is known"):
        quota_class("trn2.48xlarge")


@given(wanted=DEMANDS, gpus=POWERS, nodes=NODES)
def test_no_node_holds_more_than_it_has_and_no_pod_is_lost(wanted: list[Demand], gpus: int, nodes: int):
    used, left = capacity.place(wanted, [pool(gpus, nodes)])
    fitting = [demand.gpus for demand in wanted if demand.gpus <= gpus for _ in range(demand.pods)]
    pods = sum(demand.pods for demand in wanted)
    assert used[f"of-{gpus}"] <= nodes
    assert pods - len(fitting) <= left <= pods
    # GPUs in powers of two leave no gap, so the sum alone decides.
    assert (left == pods - len(fitting)) == (sum(fitting) <= gpus * nodes)
    if sum(fitting) <= gpus * nodes:
        assert used[f"of-{gpus}"] == -(-sum(fitting) // gpus)


@given(wanted=DEMANDS, small=NODES, more=NODES)
def test_more_nodes_never_leave_more_pods_without_one(wanted: list[Demand], small: int, more: int):
    spot = pool(4, 3)
    before = capacity.place(wanted, [pool(8, small), spot])[1]
    assert capacity.place(wanted, [pool(8, small + more), spot])[1] <= before


@given(replicas=st.integers(0, 500), zones=st.integers(2, 6))
def test_from_two_replicas_on_one_is_left_after_a_zone(replicas: int, zones: int):
    left = capacity.pods_after_a_zone(replicas, zones)
    assert 0 <= left <= replicas
    assert (left >= 1) == (replicas >= 2)


@given(
    blue=st.integers(3, 30),
    green=st.integers(0, 30),
    gpu=st.integers(6, 60),
    spot=st.integers(1, 20),
    karpenter=st.integers(0, 20),
)
def test_what_is_said_to_survive_has_room_for_both_colours_with_a_zone_less(
    blue: int, green: int, gpu: int, spot: int, karpenter: int
):
    values = copy.deepcopy(VALUES["prod"])
    values["protected"] = False
    values["release"]["blue"]["engineReplicas"] = {"qwen3-8b": blue, "qwen3-0.6b": 3}
    values["release"]["green"]["engineReplicas"] = {"qwen3-8b": green, "qwen3-0.6b": 0}
    values["nodeGroups"]["gpu"].update(minNodes=0, desiredNodes=0, maxNodes=gpu)
    values["nodeGroups"]["gpuSpot"].update(minNodesPerZone=0, desiredNodesPerZone=0, maxNodesPerZone=spot)
    values["controllers"]["karpenter"].update(enabled=karpenter > 0, maxGpus=karpenter)
    shape = Settings.model_validate(values)
    wanted = 2 * (max(blue, green) + 3)
    assert (not list(capacity.shortfalls(shape))) == (wanted <= gpu + 2 * spot + 2 * karpenter)
    as_is, release, lost = capacity.situations(shape)
    assert as_is.gpus <= release.gpus == lost.gpus == wanted
    assert lost.room == release.room - spot
    most = capacity.vcpus_at_most(shape)
    for situation in (as_is, release, lost):
        for key, vcpus in capacity.vcpus_needed(shape, situation).items():
            assert vcpus <= most[key]


def test_the_sum_of_prod_is_the_one_that_a_person_would_make():
    shape = settings()
    _, release, lost = capacity.situations(shape)
    assert release.of_colour("blue") == release.of_colour("green") == {"pods": 9, "gpus": 9}
    assert release.nodes == {"gpu": 12, "gpuSpot": 6, "karpenterSpot": 0, "karpenter": 0}
    assert lost.room == 12 + 4 * 2 + 8 + 8
    # g6e.2xlarge has 8 vCPUs; on spot the largest of the list, g6e.8xlarge, has 32.
    assert capacity.vcpus_at_most(shape) == {
        ("G and VT", "on demand"): 12 * 8 + 8 * 32,
        ("G and VT", "spot"): 12 * 32 + 8 * 32,
        ("standard", "on demand"): 9 * 4,
    }
    assert capacity.summary(shape)["survives_a_zone"] is True


def test_a_protected_stack_that_does_not_survive_a_zone_is_refused_with_the_sum():
    def too_few(values: Values) -> None:
        put("nodeGroups.gpuSpot.maxNodesPerZone", 1)(values)
        put("controllers.karpenter.maxGpus", 1)(values)

    found = problems(too_few, "prod")
    assert found == {
        "nodeGroups": "after the loss of one of 3 zones a release with both colours up wants 6 x 1 (blue qwen3-8b) + "
        "3 x 1 (blue qwen3-0.6b) + 6 x 1 (green qwen3-8b) + 3 x 1 (green qwen3-0.6b) = 18 GPUs; left are "
        "gpu.maxNodes 12 x 1 + gpuSpot.maxNodesPerZone 1 x 2 zones x 1 + karpenterSpot 1 x 1 + karpenter 1 x 1 = 16 "
        "GPUs, and 2 engine pods find none; "
        "allowed: more maxNodes or maxNodesPerZone, or fewer engineReplicas or scaling.maxReplicas; "
        "protected: true needs it"
    }


def test_a_protected_stack_needs_a_pod_of_each_model_in_each_zone():
    found = problems(put("release.blue.engineReplicas.qwen3-8b", 2), "prod")
    assert list(found) == ["release.blue.engineReplicas.qwen3-8b"]
    assert "2 over 3 zones may all be in the zone that is lost" in found["release.blue.engineReplicas.qwen3-8b"]


def test_a_protected_stack_needs_room_for_the_gateways_of_both_colours():
    found = problems(put("gateway.cpuMillicores", 3000), "prod")
    assert found["nodeGroups.system.maxNodes"].endswith("allowed: 12 nodes or more; protected: true needs it")
    found = problems(put("gateway.cpuMillicores", 4000), "prod")
    assert "allowed: larger nodes" in found["nodeGroups.system.maxNodes"]


def test_a_stack_that_is_not_protected_may_be_small():
    assert problems(put("protected", False), "dev") == {}
    assert capacity.summary(settings("dev"))["survives_a_zone"] is False


def test_a_pod_that_is_larger_than_every_node_is_refused_in_any_stack():
    found = problems(put("models.0.gpus", 4), "dev")
    assert found["models[0].gpus"].startswith(
        "4 is too large, no node of gpu, gpuSpot, karpenterSpot and karpenter is sure to have more than 1"
    )


def test_an_unknown_type_is_named_once_and_by_its_own_rule():
    found = problems(put("nodeGroups.gpu.instanceTypes", ["g9.xlarge"]), "prod")
    assert list(found) == ["nodeGroups.gpu.instanceTypes[0]"]


def test_karpenters_pools_bear_what_the_groups_do_not_and_count_against_the_quotas():
    shape = settings(nodeGroups__gpu__maxNodes=6, controllers__karpenter__maxGpus=4)
    _, release, lost = capacity.situations(shape)
    assert release.nodes == {"gpu": 6, "gpuSpot": 12, "karpenterSpot": 0, "karpenter": 0}
    assert lost.nodes == {"gpu": 6, "gpuSpot": 8, "karpenterSpot": 4, "karpenter": 0}
    assert capacity.vcpus_needed(shape, lost)["G and VT", "spot"] == (8 + 4) * 32


def test_the_ceiling_of_a_pool_bounds_every_mix_of_its_types():
    # 8 GPUs are eight g6e.16xlarge of 64 vCPUs, or one g6e.48xlarge of 192.
    shape = settings(controllers__karpenter__instanceTypes=["g6e.16xlarge", "g6e.48xlarge"])
    pool = next(pool for pool in capacity.gpu_pools(shape) if pool.name == "karpenter")
    assert (pool.most, pool.gpus, pool.most * pool.vcpus) == (8, 1, 8 * 64)


def typed(*instance_types: str, gpus: int, nodes: int, chosen: bool = False) -> tuple[Pool, int]:
    found = Pool("of", "on demand", instance_types, gpus, 4, ("G and VT",), 0, nodes, nodes, chosen)
    return found, nodes


@pytest.mark.parametrize(
    ("pool_of", "left"),
    [
        (typed("g6e.xlarge", gpus=1, nodes=4), 0),
        (typed("g6.xlarge", gpus=1, nodes=4), 2),
        (typed("g6.xlarge", "g6e.xlarge", gpus=1, nodes=4), 2),
        (typed("g6.xlarge", "g6e.xlarge", gpus=1, nodes=4, chosen=True), 0),
        (typed("unknown.xlarge", gpus=1, nodes=4), 2),
    ],
)
def test_a_model_with_a_gpu_type_counts_only_on_nodes_that_are_sure_to_have_it(pool_of: tuple[Pool, int], left: int):
    assert capacity.place([Demand("blue", "m", 1, 2, "L40S")], [pool_of])[1] == left
    assert capacity.place([Demand("blue", "m", 1, 2)], [pool_of])[1] == 0, "any GPU will do without a type"


def test_models_that_take_any_gpu_leave_the_scarce_ones_to_those_that_need_them():
    pools = [typed("g6e.xlarge", gpus=1, nodes=2), typed("g6.xlarge", gpus=1, nodes=2)]
    wanted = [Demand("blue", "any", 1, 2), Demand("blue", "picky", 1, 2, "L40S")]
    assert capacity.place(wanted, pools)[1] == 0
    assert capacity.place([*wanted, Demand("green", "picky", 1, 1, "L40S")], pools)[1] == 1


def test_a_stack_whose_gpus_are_of_the_wrong_type_does_not_survive_a_zone():
    values = copy.deepcopy(VALUES["prod"])
    put("protected", False)(values)
    put("nodeGroups.gpu.instanceTypes", ["g6e.2xlarge"])(values)
    put("nodeGroups.gpuSpot.instanceTypes", ["g6.2xlarge", "g6e.2xlarge"])(values)
    put("controllers.karpenter.enabled", False)(values)
    put("nodeGroups.gpu.maxNodes", 12)(values)
    shape = Settings.model_validate(values)
    assert not [each for each in capacity.shortfalls(shape) if each.path == "nodeGroups"]
    for model in values["models"]:
        model["gpuType"] = "L40S"
    (short,) = [each for each in capacity.shortfalls(Settings.model_validate(values)) if each.path == "nodeGroups"]
    assert "L40S alone" in short.message
