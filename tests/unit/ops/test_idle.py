"""What a stack file pays for and hardly uses."""

from __future__ import annotations

from infra.ops.cost.idle import HOURS, idle
from infra.settings import Settings
from tests.unit.settings_cases import VALUES, copy

PRICES = {"ec2:g6e.2xlarge": 2.0, "ec2:g6.xlarge": 1.0, "vpc:nat-hour": 0.05, "rds:db.t4g.small": 0.04}


def found(stack: str, **changes: object) -> dict[str, float | None]:
    values = copy.deepcopy(VALUES[stack])
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = values
        for each in parents:
            part = part[each]
        part[last] = value
    return {each.key: each.usd for each in idle(Settings.parse(values), PRICES.get)}


def test_a_colour_without_traffic_that_has_pods_is_named_with_its_gpus_price():
    values = copy.deepcopy(VALUES["prod"])
    green = values["release"]["green"]
    green["gatewayReplicas"], green["engineReplicas"] = 3, dict(values["release"]["blue"]["engineReplicas"])
    gpus = sum(green["engineReplicas"].values())
    (mine,) = [each for each in idle(Settings.parse(values), PRICES.get) if each.key == "release.green"]
    assert mine.usd == 2.0 * gpus * HOURS
    assert f"3 gateways with {gpus} GPUs" in mine.why


def test_the_live_colour_and_an_empty_one_are_not_idle():
    assert not {"release.blue", "release.green"} & set(found("prod"))


def test_a_protected_stack_may_have_standbys_and_another_hardly():
    assert not [key for key in found("prod") if key.startswith(("data.", "network."))]
    assert found("local", network__natGateways="perZone")["network.natGateways"] == 0.05 * 2 * HOURS


def test_what_has_no_price_is_named_and_stands_last():
    made = found("dev", data__cache__replicas=1)
    assert made["data.cache.replicas"] is None
    assert list(made)[-1] == "data.cache.replicas"


def test_nodes_beyond_the_engines_are_named_but_not_below_the_least():
    few = VALUES["prod"]["nodeGroups"]["gpu"]
    assert few["desiredNodes"] == few["minNodes"]
    assert "nodeGroups.gpu.desiredNodes" not in found("prod")
    more = found("prod", nodeGroups__gpu__desiredNodes=9)
    assert more["nodeGroups.gpu.desiredNodes"] == 2.0 * HOURS * 3
