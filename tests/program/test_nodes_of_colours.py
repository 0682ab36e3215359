"""Nodes of a colour's own: pools, tags, engines and budgets that belong together. Without the setting: none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.rehearsal import Rehearsal
from infra.settings import Settings, capacity
from tests.unit.settings_cases import problems, put, settled

COLOURS = ("blue", "green")


def apart(values: dict[str, Any], colour_usd: int | None = 9000) -> None:
    """Prod's values with nodes of a colour's own. 18 GPUs of each colour may exist."""
    values["controllers"]["karpenter"].update(perColour=True, maxGpus=9)
    values["nodeGroups"]["gpu"].update(minNodes=0, desiredNodes=0, maxNodes=0)
    values["nodeGroups"]["gpuSpot"].update(minNodesPerZone=0, desiredNodesPerZone=0, maxNodesPerZone=0)
    values["budget"]["colourUsd"] = colour_usd


@pytest.fixture(scope="module")
def prod(rehearsed_with: Callable[..., Rehearsal]) -> Rehearsal:
    def edit(config: dict[str, Any]) -> None:
        values = {key.removeprefix("penstock:"): value for key, value in config.items()}
        apart(values)

    return rehearsed_with("prod", edit)


def custom(rehearsal: Rehearsal, kind: str) -> dict[str, dict[str, Any]]:
    token = {
        "NodePool": "kubernetes:karpenter.sh/v1:NodePool",
        "EC2NodeClass": "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",
    }
    return {each.inputs["metadata"]["name"]: each.inputs["spec"] for each in rehearsal.of_type(token[kind])}


def test_each_colour_has_pools_whose_nodes_carry_its_tag(prod: Rehearsal):
    classes = custom(prod, "EC2NodeClass")
    assert {name: spec["tags"]["penstock-colour"] for name, spec in classes.items()} == {
        f"gpu-{colour}": f"prod-{colour}" for colour in COLOURS
    }
    assert {spec["tags"]["penstock-part"] for spec in classes.values()} == {"prod-gpu"}
    pools = custom(prod, "NodePool")
    assert {
        name: (
            spec["template"]["metadata"]["labels"]["penstock.dev/node-colour"],
            spec["template"]["spec"]["nodeClassRef"]["name"],
        )
        for name, spec in pools.items()
    } == {f"{kind}-{colour}": (colour, f"gpu-{colour}") for kind in ("gpu", "gpu-spot") for colour in COLOURS}


def test_engines_are_held_to_the_nodes_of_their_colour(prod: Rehearsal):
    engines = [each for each in prod.of_type("kubernetes:apps/v1:Deployment") if each.name.startswith("engine-")]
    assert len(engines) == 6, "of two models in two colours, one of them with a share on spot"
    for each in engines:
        affinity = each.inputs["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
        (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        colour = each.name.rsplit("-", 1)[-1]
        assert {"key": "penstock.dev/node-colour", "operator": "In", "values": [colour]} in term["matchExpressions"]


def test_a_colours_budget_counts_what_carries_its_tag(prod: Rehearsal):
    for colour in COLOURS:
        budget = prod.one("aws:budgets/budget:Budget", f"budget-{colour}").inputs
        assert budget["limitAmount"] == "9000"
        assert budget["costFilters"] == [{"name": "TagKeyValue", "values": [f"user:penstock-colour$prod-{colour}"]}]
    tagged = {spec["tags"]["penstock-colour"] for spec in custom(prod, "EC2NodeClass").values()}
    assert tagged == {f"prod-{colour}" for colour in COLOURS}, "a budget for a tag that nothing carries stays at 0"


def test_no_managed_group_has_gpus_then(prod: Rehearsal):
    assert [each.name for each in prod.of_type("aws:eks/nodeGroup:NodeGroup")] == ["nodes-system"]


def test_without_the_setting_there_is_neither_pool_nor_budget_of_a_colour(rehearsed: Callable[..., Rehearsal]):
    usual = rehearsed("prod")
    assert set(custom(usual, "NodePool")) == {"gpu", "gpu-spot"}
    assert {each.name for each in usual.of_type("aws:budgets/budget:Budget")} == {
        "budget",
        "budget-system",
        "budget-gpu",
    }
    (only,) = custom(usual, "EC2NodeClass").values()
    assert only["tags"]["penstock-part"] == "prod-gpu"
    assert "penstock-colour" not in only["tags"]


def test_a_colours_room_is_its_own():
    values = settled("prod")
    apart(values)
    _, release, lost = capacity.situations(Settings.parse(values))
    assert release.nodes == {
        "gpu": 0,
        "gpuSpot": 0,
        "karpenter-blue": 0,
        "karpenter-green": 0,
        "karpenterSpot-blue": 9,
        "karpenterSpot-green": 9,
    }
    assert (release.left, lost.left) == (0, 0), "Karpenter starts nodes in the zones that are left"


@pytest.mark.parametrize(
    ("path", "value", "where", "said"),
    [
        ("nodeGroups.gpu.maxNodes", 3, "nodeGroups.gpu.maxNodes", "engines of both colours would share these nodes"),
        (
            "nodeGroups.gpuSpot.maxNodesPerZone",
            1,
            "nodeGroups.gpuSpot.maxNodesPerZone",
            "allowed with controllers.karp",
        ),
        (
            "controllers.karpenter.maxGpus",
            4,
            "controllers.karpenter.maxGpus",
            "wanted are blue 9, green 0 GPUs, and 1 eng",
        ),
        ("controllers.karpenter.perColour", False, "budget.colourUsd", "AWS bills nodes, and both colours share them"),
        ("budget.colourUsd", 1_000_000, "budget.colourUsd", "1000000 is too large; allowed: budget.monthlyUsd"),
    ],
)
def test_what_would_mix_the_colours_is_refused(path: str, value: Any, where: str, said: str):
    def edit(values: dict[str, Any]) -> None:
        apart(values)
        values["protected"] = False
        put(path, value)(values)

    assert said in problems(edit, "prod")[where]


def test_a_budget_for_colours_needs_nodes_of_their_own():
    said = problems(put("budget.colourUsd", 100), "dev")
    assert said == {
        "budget.colourUsd": "100: AWS bills nodes, and both colours share them; allowed: null, or engines with "
        "controllers.karpenter.perColour: true"
    }
