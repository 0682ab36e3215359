"""What a release changes, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable

from app.gateway.config import GatewayConfig
from infra.rehearsal import Registration, Rehearsal

RULE = "aws:lb/listenerRule:ListenerRule"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
BINDING = "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding"
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"

Rehearsed = Callable[..., Rehearsal]
RehearsedWith = Callable[[str, Callable[[dict], None]], Rehearsal]


def changes(before: Rehearsal, after: Rehearsal) -> list[Registration]:
    """Resources whose inputs differ, those that came, and those that went."""
    old = {each.urn: each for each in before.registrations}
    new = {each.urn: each for each in after.registrations}
    return [
        new.get(urn, old.get(urn)) or old[urn]
        for urn in sorted(old.keys() | new.keys())
        if urn not in old or urn not in new or old[urn].inputs != new[urn].inputs
    ]


def weights_of(rehearsal: Rehearsal) -> list[tuple[str, int]]:
    groups = rehearsal.one(RULE, "traffic").inputs["actions"][0]["forward"]["targetGroups"]
    return [(group["arn"].rsplit("-", 1)[-1], group["weight"]) for group in groups]


def test_a_shift_of_weight_changes_one_resource(rehearsed: Rehearsed, rehearsed_with: RehearsedWith):
    def halve(config: dict) -> None:
        config["penstock:release"]["blue"]["weight"] = 50
        config["penstock:release"]["green"]["weight"] = 50

    after = rehearsed_with("local", halve)
    assert [(each.type, each.name) for each in changes(rehearsed("local"), after)] == [(RULE, "traffic")]
    assert weights_of(rehearsed("local")) == [("blue", 100), ("green", 0)]
    assert weights_of(after) == [("blue", 50), ("green", 50)]


def test_a_new_model_touches_no_other_models_engines(rehearsed: Rehearsed, rehearsed_with: RehearsedWith):
    def add_a_model(config: dict) -> None:
        config["penstock:models"].append(config["penstock:models"][0] | {"name": "second"})
        for colour in ("blue", "green"):
            config["penstock:release"][colour]["engineReplicas"]["second"] = 1

    touched = changes(rehearsed("local"), rehearsed_with("local", add_a_model))
    assert {each.name for each in touched} == {
        "gateway-blue",  # the ConfigMaps, which name the models
        "gateway-green",
        "engine-second-blue",
        "engine-second-green",
    }
    assert {each.type for each in touched if each.name.startswith("gateway")} == {CONFIG_MAP}


def test_an_image_of_the_idle_colour_leaves_the_live_colour_alone(rehearsed: Rehearsed, rehearsed_with: RehearsedWith):
    def new_engine(config: dict) -> None:
        config["penstock:release"]["green"]["engineImage"] = "next"

    touched = changes(rehearsed("local"), rehearsed_with("local", new_engine))
    assert sorted((each.type, each.name) for each in touched) == [
        (DEPLOYMENT, "engine-embed-green"),
        (DEPLOYMENT, "engine-tiny-green"),
        (CONFIG_MAP, "gateway-green"),  # kept answers are of one image
    ]


def test_traffic_waits_for_the_pods_and_bindings_of_both_colours(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    awaited = {
        each.urn
        for kind in (DEPLOYMENT, BINDING)
        for each in rehearsal.of_type(kind)
        if each.parent_name in ("blue", "green")
    }
    assert awaited <= rehearsal.one(RULE, "traffic").dependencies


def test_both_target_groups_are_named_with_their_weight(stack: str, rehearsed: Rehearsed):
    assert [colour for colour, _ in weights_of(rehearsed(stack))] == ["blue", "green"]


def test_the_gateway_reads_the_config_map_that_the_program_writes(stack: str, rehearsed: Rehearsed):
    for preview in (False, True):
        for colour in ("blue", "green"):
            written = rehearsed(stack, preview=preview).one(CONFIG_MAP, f"gateway-{colour}").inputs["data"]
            config = GatewayConfig.model_validate_json(written["gateway.json"])
            assert config.colour == colour


def test_the_gateway_selects_exactly_the_engines_of_its_colour_and_model(stack: str, rehearsed: Rehearsed):
    rehearsal = rehearsed(stack)
    labels = {
        each.name: each.inputs["spec"]["template"]["metadata"]["labels"]
        for each in rehearsal.of_type(DEPLOYMENT)
        if each.name.startswith("engine-")
    }
    for colour in ("blue", "green"):
        written = rehearsal.one(CONFIG_MAP, f"gateway-{colour}").inputs["data"]["gateway.json"]
        for model in GatewayConfig.model_validate_json(written).models:
            wanted = dict(part.split("=") for part in model.selector.split(","))
            selected = [name for name, marks in labels.items() if wanted.items() <= marks.items()]
            own = f"engine-{model.name.replace('.', '-')}"
            assert selected in ([f"{own}-{colour}"], [f"{own}-floor-{colour}", f"{own}-spot-{colour}"])
