"""Capacity that was reserved beforehand: what a stack file may name, and what the sums make of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from components import controller_policies
from components.karpenter_manifests import PoolShape, node_class, node_pools
from infra.ops.cost.estimate import estimate
from infra.ops.cost.prices import Price, Table
from infra.policy.evaluate import Decision, Request, evaluate
from infra.settings import Settings, capacity
from tests.unit.karpenter_cases import POOL
from tests.unit.settings_cases import VALUES, problems

BLOCK: dict[str, Any] = {
    "name": "october",
    "kind": "capacityBlock",
    "id": "cr-0123456789abcdef0",
    "zone": "b",
    "instanceType": "p5.48xlarge",
    "nodes": 2,
    "usedBy": "nodeGroup",
}
OPEN = BLOCK | {"name": "floor", "kind": "onDemand", "id": "cr-fedcba98", "zone": "a", "instanceType": "g6e.12xlarge"}

Edit = Callable[[dict[str, Any]], None]


def reserved(*reservations: dict[str, Any], **karpenter: Any) -> Edit:
    def edit(values: dict[str, Any]) -> None:
        values["nodeGroups"]["reservations"] = list(reservations)
        values["controllers"]["karpenter"] |= karpenter

    return edit


def settings(*reservations: dict[str, Any]) -> Settings:
    values = copy.deepcopy(VALUES["prod"])
    reserved(*reservations)(values)
    return Settings.parse(values)


def test_a_type_that_is_had_by_reservation_alone_is_taken_with_one():
    assert problems(reserved(BLOCK, OPEN), "prod") == {}


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_every_stack_file_has_the_key(stack: str):
    assert VALUES[stack]["nodeGroups"]["reservations"] == []


@pytest.mark.parametrize("path", ["gpu", "gpuSpot"])
def test_a_list_of_types_names_no_reservation(path: str):
    def edit(values: dict[str, Any]) -> None:
        reserved(BLOCK)(values)
        values["nodeGroups"][path]["instanceTypes"] = ["p5.48xlarge"]

    assert (
        "allowed: a type without one here, and the reservation in nodeGroups.reservations"
        in (problems(edit, "prod")[f"nodeGroups.{path}.instanceTypes[0]"])
    )


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"id": "r-0123456789abcdef0"}, "id", "must match"),
        ({"id": "cr-0123"}, "id", "must match"),
        ({"id": "cr-0123456789ABCDEF0"}, "id", "must match"),
        ({"zone": "d"}, "zone", "'d' is no zone of the stack; allowed: a, b, c"),
        ({"zone": "eu-central-1b"}, "zone", "allowed"),
        ({"instanceType": "m7i.xlarge"}, "instanceType", "has no known GPUs"),
        ({"instanceType": "g7.xlarge"}, "instanceType", "needs NVIDIA driver 595"),
        ({"instanceType": "g6e.12xlarge"}, "kind", "EC2 sells no Capacity Blocks of g6e.12xlarge; allowed: onDemand"),
        ({"kind": "spot"}, "kind", "allowed"),
        ({"nodes": -1}, "nodes", "0"),
        ({"name": "October 1"}, "name", "must match"),
        ({"usedBy": "somebody"}, "usedBy", "allowed"),
    ],
)
def test_a_reservation_that_cannot_be_meant_is_refused_by_its_key(changes: dict[str, Any], key: str, said: str):
    found = problems(reserved(BLOCK | changes), "prod")
    assert said in found[f"nodeGroups.reservations[0].{key}"]


@pytest.mark.parametrize("key", ["name", "id"])
def test_a_reservation_stands_once(key: str):
    found = problems(reserved(BLOCK, OPEN | {key: BLOCK[key]}), "prod")
    assert found == {
        f"nodeGroups.reservations[1].{key}": (
            f"{BLOCK[key]!r} is taken by nodeGroups.reservations[0].{key}; each may stand once"
        )
    }


def test_an_image_of_another_processor_is_refused():
    def edit(values: dict[str, Any]) -> None:
        reserved(BLOCK)(values)
        values["nodeGroups"]["gpu"]["amiType"] = "BOTTLEROCKET_ARM_64_NVIDIA"

    assert problems(edit, "prod")["nodeGroups.reservations[0].instanceType"] == (
        "p5.48xlarge does not run nodeGroups.gpu.amiType BOTTLEROCKET_ARM_64_NVIDIA"
    )


def test_karpenter_must_be_there_to_use_one():
    found = problems(reserved(BLOCK | {"usedBy": "karpenter"}, enabled=False), "prod")
    assert "needs controllers.karpenter.enabled: true" in found["nodeGroups.reservations[0].usedBy"]


def test_colours_with_nodes_of_their_own_share_no_reservation():
    assert (
        "engines of both colours would share"
        in (problems(reserved(BLOCK, perColour=True), "prod")["nodeGroups.reservations[0]"])
    )


def test_reserved_nodes_are_room_until_their_zone_is_lost():
    plain, more = capacity.situations(settings()), capacity.situations(settings(OPEN))
    assert [each.room for each in more[:2]] == [each.room + 2 * 4 for each in plain[:2]]
    assert more[2].zone == "a", "of all zones the one whose loss is worst"
    assert more[2].room == plain[2].room


def test_of_reservations_in_several_zones_one_is_lost():
    spread = [OPEN, OPEN | {"name": "other", "id": "cr-0000000b", "zone": "b", "nodes": 5}]
    plain, more = capacity.situations(settings())[2], capacity.situations(settings(*spread))[2]
    assert (more.zone, more.room) == ("b", plain.room + 2 * 4)


def test_what_is_reserved_asks_for_no_quota():
    assert capacity.vcpus_at_most(settings(BLOCK, OPEN)) == capacity.vcpus_at_most(settings())


def test_a_block_is_paid_in_advance_and_a_reservation_by_the_hour():
    prices = {f"ec2:{kind}": Price(10.0, "a test", "2026-11-01") for kind in ("p5.48xlarge", "g6e.12xlarge")}
    found = estimate(settings(BLOCK, OPEN), Table("eu-central-1", prices), endpoints=0, keys=0)
    told = {line.item: (line.usd, line.remark) for line in found.lines if line.part == "nodes reserved"}
    assert told == {
        "reserved-october: 2 x p5.48xlarge": (0.0, "paid in advance"),
        "reserved-floor: 2 x g6e.12xlarge": (2 * 730 * 10.0, "runs or not"),
    }


POOLS: PoolShape = {
    **POOL,
    "reserved": [
        {
            "name": "october",
            "reservation_id": BLOCK["id"],
            "zone": "eu-central-1b",
            "instance_type": "p5.48xlarge",
            "gpus": 16,
        }
    ],
}


def test_karpenter_tries_the_reservation_first_and_starts_nothing_beside_it():
    pools = node_pools(POOLS)
    assert [*pools] == ["gpu-reserved-october", "gpu-spot", "gpu"]
    spec = pools["gpu-reserved-october"][1]
    assert spec["weight"] > max(pools[name][1]["weight"] for name in ("gpu-spot", "gpu"))
    assert spec["limits"] == {"nvidia.com/gpu": "16"}
    wanted = {each["key"]: each["values"] for each in spec["template"]["spec"]["requirements"]}
    assert wanted["karpenter.sh/capacity-type"] == ["reserved"]
    assert wanted["node.kubernetes.io/instance-type"] == ["p5.48xlarge"]
    assert wanted["topology.kubernetes.io/zone"] == ["eu-central-1b"]


def test_a_node_class_selects_reservations_by_id_and_only_where_there_are_some():
    def made(*ids: str) -> dict[str, Any]:
        return node_class(
            ami_alias="bottlerocket@v1.50.0", instance_profile="p", subnet_ids=[], security_group_ids=[],
            volumes_key_arn="k", volume_gib=20, tags={}, reservation_ids=ids,
        )  # fmt: skip

    assert made(BLOCK["id"])["capacityReservationSelectorTerms"] == [{"id": BLOCK["id"]}]
    assert "capacityReservationSelectorTerms" not in made()


def test_karpenter_may_launch_into_the_reservations_of_the_stack_file_alone():
    policy = controller_policies.karpenter(
        partition="aws", region="eu-central-1", account="123456789012", cluster="penstock-prod", node_role_arn="r",
        instance_profile_arn="p", queue_arn="q", queue_key_arn="k", subnet_ids=["subnet-a"],
        security_group_ids=["sg-nodes"], reservation_ids=[BLOCK["id"]],
    )  # fmt: skip

    def decided(reservation: str) -> Decision:
        arn = f"arn:aws:ec2:eu-central-1:999999999999:capacity-reservation/{reservation}"
        return evaluate([policy], Request("ec2:RunInstances", arn, context={}))

    assert decided(BLOCK["id"]) is Decision.ALLOWED
    assert decided("cr-other") is not Decision.ALLOWED
