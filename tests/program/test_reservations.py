"""A reservation of the stack file becomes a node group, or a node pool, that starts in it alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.rehearsal import Rehearsal
from tests.unit.test_reservations import BLOCK, OPEN

Rehearsed = Callable[..., Rehearsal]


@pytest.fixture(scope="module")
def prod(rehearsed_with: Rehearsed) -> Rehearsal:
    def edit(config: dict[str, Any]) -> None:
        pool = OPEN | {"name": "pool", "id": "cr-0000000c", "usedBy": "karpenter", "nodes": 3}
        config["penstock:nodeGroups"]["reservations"] = [BLOCK, OPEN, pool]

    return rehearsed_with("prod", edit)


def of(rehearsal: Rehearsal, token: str, name: str) -> dict[str, Any]:
    return next(each.inputs for each in rehearsal.of_type(token) if each.name == name)


def group(prod: Rehearsal, name: str) -> dict[str, Any]:
    return of(prod, "aws:eks/nodeGroup:NodeGroup", f"nodes-reserved-{name}")


def template(prod: Rehearsal, name: str) -> dict[str, Any]:
    return of(prod, "aws:ec2/launchTemplate:LaunchTemplate", f"nodes-reserved-{name}")


def test_a_capacity_block_is_asked_for_as_eks_wants_it(prod: Rehearsal):
    """The template names market, reservation and type, the group its capacity type and the one subnet (EKS guide)."""
    found = template(prod, "october")
    assert found["instanceMarketOptions"] == {"marketType": "capacity-block"}
    assert found["capacityReservationSpecification"] == {
        "capacityReservationTarget": {"capacityReservationId": BLOCK["id"]}
    }
    assert found["instanceType"] == "p5.48xlarge"
    made = group(prod, "october")
    assert made["capacityType"] == "CAPACITY_BLOCK"
    assert "instanceTypes" not in made
    assert made["scalingConfig"] == {"minSize": 0, "desiredSize": 2, "maxSize": 2}


def test_a_reservation_on_demand_is_a_target_and_no_market(prod: Rehearsal):
    found = template(prod, "floor")
    assert found["capacityReservationSpecification"]["capacityReservationTarget"]["capacityReservationId"] == OPEN["id"]
    assert "instanceMarketOptions" not in found
    assert group(prod, "floor")["capacityType"] == "ON_DEMAND"


def test_a_group_is_in_the_one_subnet_of_its_reservations_zone(prod: Rehearsal):
    spot = {zone: of(prod, "aws:eks/nodeGroup:NodeGroup", f"nodes-gpu-spot-{zone}")["subnetIds"] for zone in "abc"}
    assert group(prod, "october")["subnetIds"] == spot["b"]
    assert group(prod, "floor")["subnetIds"] == spot["a"]


def test_reserved_nodes_are_guarded_and_marked_as_those_of_the_floor(prod: Rehearsal):
    floor, mine = of(prod, "aws:eks/nodeGroup:NodeGroup", "nodes-gpu"), group(prod, "october")
    for key in ("amiType", "labels", "taints", "nodeRoleArn", "nodeRepairConfig"):
        assert mine[key] == floor[key], key
    guarded = of(prod, "aws:ec2/launchTemplate:LaunchTemplate", "nodes-gpu")
    for key in ("metadataOptions", "blockDeviceMappings", "vpcSecurityGroupIds"):
        assert template(prod, "october")[key] == guarded[key], key


def test_karpenters_reservation_is_a_pool_and_no_group(prod: Rehearsal):
    pools = {
        each.inputs["metadata"]["name"]: each.inputs["spec"]
        for each in prod.of_type("kubernetes:karpenter.sh/v1:NodePool")
    }
    assert pools["gpu-reserved-pool"]["limits"] == {"nvidia.com/gpu": "12"}
    (nodes,) = prod.of_type("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass")
    assert nodes.inputs["spec"]["capacityReservationSelectorTerms"] == [{"id": "cr-0000000c"}]
    assert not [each for each in prod.of_type("aws:eks/nodeGroup:NodeGroup") if "pool" in each.name]
