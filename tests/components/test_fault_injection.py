"""Experiment templates: what each may break, and what ends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from components.fault_injection import plans
from infra.ops.drill import cloud
from infra.rehearsal import Rehearsal

Registered = Callable[[Callable[[], object]], Rehearsal]
ARGS: dict[str, Any] = {
    "partition": "aws",
    "region": "eu-central-1",
    "account_id": "111122223333",
    "stack": "prod",
    "zones": ["eu-central-1a", "eu-central-1b", "eu-central-1c"],
    "longest_seconds": 300,
    "stop_errors": 50,
    "load_balancer_dimension": "app/edge/1",
    "volumes_key_arn": "arn:aws:kms:eu-central-1:111122223333:key/1",
    "database_arn": "arn:aws:rds:eu-central-1:111122223333:db:ledger",
    "cache_arn": "arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:cache",
}


def drills(**changes: Any) -> Callable[[], object]:
    def program() -> object:
        from components.fault_injection import FaultInjection

        return FaultInjection("drills", cast("Any", ARGS | changes))

    return program


def made(rehearsal: Rehearsal) -> dict[str, dict[str, Any]]:
    return {each.name: each.inputs for each in rehearsal.of_type("aws:fis/experimentTemplate:ExperimentTemplate")}


def test_a_stack_with_standbys_has_a_template_for_each_drill_and_zone(registered: Registered):
    zones = "abc"
    assert set(made(registered(drills()))) == {
        "drills-spot-reclaim",
        "drills-database-failover",
        *(f"drills-zone-loss-{zone}" for zone in zones),
        *(f"drills-cache-primary-{zone}" for zone in zones),
    }


def test_without_a_standby_there_is_nothing_to_fail_over_to_and_no_right_to_it(registered: Registered):
    found = registered(drills(database_arn=None, cache_arn=None))
    assert {name.removeprefix("drills-") for name in made(found)} == {
        "spot-reclaim",
        "zone-loss-a",
        "zone-loss-b",
        "zone-loss-c",
    }
    (policy,) = found.of_type("aws:iam/rolePolicy:RolePolicy")
    actions = json.dumps(json.loads(policy.inputs["policy"]))
    assert "rds:" not in actions
    assert "elasticache:" not in actions


def test_every_experiment_ends_with_the_alarm_and_fails_where_it_finds_nothing(registered: Registered):
    for name, inputs in made(registered(drills())).items():
        (stop,) = inputs["stopConditions"]
        assert stop["source"] == "aws:cloudwatch:alarm", name
        assert "alarm" in stop["value"].lower()
        assert inputs["experimentOptions"]["emptyTargetResolutionMode"] == "fail"


@pytest.mark.parametrize("plan", plans(cast("Any", ARGS)), ids=lambda plan: plan["name"])
def test_every_target_is_of_this_stack_alone(plan: dict[str, Any]):
    for target in plan["targets"]:
        by_tag = {"key": "stack", "value": "prod"} in target.get("resource_tags", [])
        assert by_tag or target["resource_arns"] in ([ARGS["database_arn"]], [ARGS["cache_arn"]])
        assert not (by_tag and target.get("resource_arns"))
    assert {action["target"]["value"] for action in plan["actions"]} == {target["name"] for target in plan["targets"]}


def test_a_zone_stays_without_power_no_longer_than_the_budget_and_not_below_the_least():
    def powers(seconds: int) -> set[str]:
        return {
            parameter["value"]
            for plan in plans(cast("Any", ARGS | {"longest_seconds": seconds}))
            for action in plan["actions"]
            for parameter in action["parameters"]
            if parameter["key"] in ("startInstancesAfterDuration", "duration")
        }

    assert powers(300) == {"PT300S"}
    assert powers(10) == {"PT60S"}


def test_the_command_finds_templates_by_the_tags_that_they_are_given(registered: Registered):
    for inputs in made(registered(drills())).values():
        found = cloud.Template.parse({"id": "t", "description": inputs["description"], "tags": inputs["tags"]})
        assert found.drill in {"zone-loss", "spot-reclaim", "database-failover", "cache-primary"}
        assert found.budget_seconds == 300
        assert bool(found.zone) == (found.drill in {"zone-loss", "cache-primary"})
