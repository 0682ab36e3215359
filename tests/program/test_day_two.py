"""Upgrades and rotation as the program makes them: what moves alone, what is refused, what is made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest
import yaml

from infra import inventions, rehearsal
from infra.running_version import refused_jump

NODE_GROUP, VERSION = "aws:eks/nodeGroup:NodeGroup", "aws:secretsmanager/secretVersion:SecretVersion"


@pytest.fixture
def edited(tmp_path: Path, stack_file: Callable[..., Path]) -> Callable[..., rehearsal.Rehearsal]:
    """The program under `prod` with other values, by key path."""

    def run(**values: object) -> rehearsal.Rehearsal:
        content = yaml.safe_load(stack_file("prod").read_text())
        for path, value in values.items():
            section, *parents, last = path.split("__")
            part = content["config"][f"penstock:{section}"]
            for each in parents:
                part = part[each]
            part[last] = value
        file = tmp_path / "Pulumi.prod.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return rehearsal.rehearse_stack(file, preview=True)

    return run


def test_control_plane_and_each_group_move_apart(edited: Callable[..., rehearsal.Rehearsal]):
    made = edited(nodeGroups__system__version="1.35", nodeGroups__gpu__releaseVersion="1.50.0-1a2b3c4d")
    assert made.one("aws:eks/cluster:Cluster", "cluster").inputs["version"] == "1.36"
    assert made.one(NODE_GROUP, "nodes-system").inputs["version"] == "1.35"
    assert made.one(NODE_GROUP, "nodes-gpu").inputs["version"] == "1.36"
    assert made.one(NODE_GROUP, "nodes-gpu").inputs["releaseVersion"] == "1.50.0-1a2b3c4d"
    assert "releaseVersion" not in made.one(NODE_GROUP, "nodes-system").inputs


def test_a_group_that_is_not_pinned_stays_as_it_is(edited: Callable[..., rehearsal.Rehearsal]):
    inputs = edited(nodeGroups__gpuSpot__version=None).one(NODE_GROUP, "nodes-gpu-spot-a").inputs
    assert "version" not in inputs


def test_as_many_nodes_go_at_a_time_as_the_file_says(edited: Callable[..., rehearsal.Rehearsal]):
    made = edited(nodeGroups__system__maxUnavailable=2)
    assert made.one(NODE_GROUP, "nodes-system").inputs["updateConfig"] == {"maxUnavailable": 2}
    assert made.one(NODE_GROUP, "nodes-gpu").inputs["updateConfig"] == {"maxUnavailable": 1}


def test_a_raised_number_makes_that_secret_anew_and_no_other(edited: Callable[..., rehearsal.Rehearsal]):
    before = {each.name for each in edited().of_type(VERSION)}
    after = {each.name for each in edited(rotation__cacheToken=2).of_type(VERSION)}
    assert (before - after, after - before) == ({"cache-token"}, {"cache-token-2"})
    both = {each.name for each in edited(rotation__databaseLogins=3).of_type(VERSION)}
    assert before - both <= {"gateway-login", "jobs-login"}
    assert {"gateway-login-3"} <= both - before


def test_a_new_token_is_taken_beside_the_old_one(edited: Callable[..., rehearsal.Rehearsal]):
    group = edited(rotation__cacheToken=2).one("aws:elasticache/replicationGroup:ReplicationGroup", "cache")
    assert group.inputs["authTokenUpdateStrategy"] == "ROTATE"


def test_a_major_upgrade_does_not_wait_for_a_window_in_which_its_parameters_would_be_in_use(
    edited: Callable[..., rehearsal.Rehearsal],
):
    closed = edited().one("aws:rds/instance:Instance", "database").inputs
    opened = edited(data__database__allowMajorUpgrade=True).one("aws:rds/instance:Instance", "database").inputs
    assert closed["applyImmediately"] is False
    assert "allowMajorVersionUpgrade" not in closed
    assert (opened["applyImmediately"], opened["allowMajorVersionUpgrade"]) == (True, True)


def database_runs(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    invented = inventions.invented_answer

    def answer(token: str, arguments: inventions.Inputs) -> dict:
        if token == inventions.DATABASES:
            (asked,) = arguments["filters"]
            return {"id": "one", "instanceArns": ["arn"], "instanceIdentifiers": list(asked["values"])}
        if token == "aws:rds/getInstance:getInstance":
            return {"id": "one", "dbInstanceIdentifier": arguments["dbInstanceIdentifier"], "engineVersion": version}
        return invented(token, arguments)

    monkeypatch.setattr(rehearsal, "invented_answer", answer)


def test_preview_refuses_a_jump_of_the_database_that_is_not_allowed(
    edited: Callable[..., rehearsal.Rehearsal], monkeypatch: pytest.MonkeyPatch
):
    database_runs(monkeypatch, "17.6")
    with pytest.raises(pulumi.RunError, match=r"18 is another major version than 17\.6, which runs"):
        edited()
    allowed = edited(data__database__allowMajorUpgrade=True)
    assert allowed.one("aws:rds/instance:Instance", "database").inputs["engineVersion"] == "18"
    assert allowed.one("aws:rds/parameterGroup:ParameterGroup", "database").inputs["family"] == "postgres18"


def test_the_version_that_runs_already_passes(
    edited: Callable[..., rehearsal.Rehearsal], monkeypatch: pytest.MonkeyPatch
):
    database_runs(monkeypatch, "18.4")
    assert edited().one("aws:rds/instance:Instance", "database").inputs["engineVersion"] == "18"


@pytest.mark.parametrize(
    ("running", "wanted", "allowed", "said"),
    [
        ("17.6", "18", False, "allowMajorUpgrade is false"),
        ("17.6", "18", True, None),
        ("18.1", "18.4", False, None),
        ("18.1", "17", True, "there is no way back in place"),
    ],
)
def test_what_a_change_of_version_may_be(running: str, wanted: str, allowed: bool, said: str | None):
    found = refused_jump(running, wanted, allowed=allowed)
    assert (found is None) if said is None else (said in str(found))
