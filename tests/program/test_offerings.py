"""Instance types that a zone does not offer are refused at preview, by the key that names them."""

from __future__ import annotations

from collections.abc import Callable

import pulumi
import pytest

from infra import inventions, rehearsal
from infra.offerings import not_offered
from infra.rehearsal import Rehearsal

ZONES = ("eu-central-1a", "eu-central-1b")
GROUPS = {"nodeGroups.gpuSpot.instanceTypes": ("g6.xlarge", "g5.xlarge")}
POOLS = {"controllers.karpenter.instanceTypes": ("g6e.xlarge",)}


def test_a_zone_may_offer_any_type_of_a_groups_list():
    offered = {("g6.xlarge", ZONES[0]), ("g5.xlarge", ZONES[1]), ("g6e.xlarge", ZONES[1])}
    assert not_offered(GROUPS, POOLS, ZONES, offered) == []


def test_a_zone_without_any_type_of_a_group_is_named():
    (said,) = not_offered(GROUPS, {}, ZONES, {("g6.xlarge", ZONES[0])})
    assert said.startswith("penstock:nodeGroups.gpuSpot.instanceTypes: EC2 offers none of g6.xlarge, g5.xlarge in ")
    assert "in eu-central-1b; allowed:" in said


def test_a_pool_needs_one_zone_that_offers_a_type():
    assert not_offered({}, POOLS, ZONES, {("g6e.xlarge", ZONES[1])}) == []
    (said,) = not_offered({}, POOLS, ZONES, set())
    assert said.startswith("penstock:controllers.karpenter.instanceTypes: EC2 offers none of g6e.xlarge in eu-central-")


def test_a_reservations_own_zone_must_offer_its_type():
    wanted = {"nodeGroups.reservations[0]": ("p5.48xlarge", ZONES[0])}
    assert not_offered({}, {}, ZONES, {("p5.48xlarge", ZONES[0])}, wanted) == []
    (said,) = not_offered({}, {}, ZONES, {("p5.48xlarge", ZONES[1])}, wanted)
    assert said.startswith("penstock:nodeGroups.reservations[0]: EC2 offers no p5.48xlarge in eu-central-1a, so ")


@pytest.mark.parametrize("preview", [True, False])
def test_a_gpu_that_no_zone_offers_stops_preview_and_update_alike(
    preview: bool, stack_file: Callable[..., object], monkeypatch: pytest.MonkeyPatch
):
    invented = inventions.invented_answer

    def without_g6e(token: str, arguments: inventions.Inputs) -> dict:
        answer = invented(token, arguments)
        if token != inventions.OFFERINGS:
            return answer
        kept = [at for at, kind in enumerate(answer["instanceTypes"]) if not kind.startswith("g6e.")]
        return {key: [each[at] for at in kept] if isinstance(each, list) else each for key, each in answer.items()}

    monkeypatch.setattr(rehearsal, "invented_answer", without_g6e)
    with pytest.raises(pulumi.RunError, match=r"penstock:nodeGroups\.gpu\.instanceTypes: EC2 offers none of g6e"):
        rehearsal.rehearse_stack(stack_file("prod"), preview=preview)  # ty: ignore[invalid-argument-type]


def test_groups_wait_for_the_answer(rehearsed: Callable[..., Rehearsal]):
    for each in rehearsed("prod").of_type("aws:eks/nodeGroup:NodeGroup"):
        assert each.inputs["instanceTypes"], each.name
