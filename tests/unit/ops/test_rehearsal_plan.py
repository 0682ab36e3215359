"""The stack files' copies, the edits of a rehearsal, and what each may change: no engine, no platform."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from infra.local.layout import ACCOUNT
from infra.ops import rehearsal_edit, rehearsal_plan
from infra.ops.changes import Change, PropertyChange, drift
from infra.ops.errors import PenstockError
from infra.ops.rehearsal_edit import Expected, breaches
from infra.ops.rehearsal_plan import edits, rehearsed, release_protection, settings_of, stack_file

CHECKOUT = Path(__file__).parents[3]
STACKS = ["local", "dev", "prod"]


def text_of(stack: str) -> str:
    return (CHECKOUT / f"Pulumi.{stack}.yaml").read_text()


def differing(before, after, path=""):
    """The paths of the leaves in which two configurations differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {*before, *after}:
            yield from differing(before.get(key), after.get(key), f"{path}/{key}")
    elif before != after:
        yield path


@pytest.mark.parametrize("stack", STACKS)
def test_only_the_account_differs_in_the_copy(stack):
    before, after = yaml.safe_load(text_of(stack))["config"], rehearsed(text_of(stack))
    changed = set(differing(before, after))
    holders = {"/penstock:aws/accountId", "/penstock:cluster/administrators", "/penstock:edge/certificateArn"}
    assert changed <= holders
    assert after["penstock:aws"]["accountId"] == ACCOUNT
    assert str(before["penstock:aws"]["accountId"]) == ACCOUNT or changed
    assert settings_of(after).models == settings_of(before).models


@pytest.mark.parametrize("stack", STACKS)
def test_each_copy_reads_back_as_the_same_settings(stack):
    config = rehearsed(text_of(stack))
    assert yaml.safe_load(stack_file(config)) == {"config": config}


@pytest.mark.parametrize("stack", STACKS)
def test_each_edit_is_allowed_by_the_settings_and_changes_one_thing(stack):
    config = rehearsed(text_of(stack))
    made = edits(config, rehearsed(text_of(stack)))
    titles = [edit.title for edit in made]
    assert titles[0].startswith("keep logs")
    assert titles[1:3] == ["node image", "rotate secrets"]
    assert titles[3].startswith("scale gpu")
    assert titles[4:6] == ["add a model", "stage green"]
    assert titles[6:] == ["shift green 0 -> 10 %"]
    for before, after in zip([config, *(edit.config for edit in made)], made, strict=False):
        sections = {path.split("/")[1] for path in differing(before, after.config)}
        assert len(sections) == (2 if after.title == "add a model" else 1)


UPGRADES = [
    "Kubernetes 1.35 -> 1.36", "add-ons", "system nodes -> 1.36", "GPU nodes -> 1.36", "PostgreSQL 16 -> 18",
]  # fmt: skip


@pytest.mark.parametrize("stack", STACKS)
def test_a_rehearsal_may_begin_with_older_versions_and_takes_one_part_at_a_time(stack):
    config = rehearsed(text_of(stack), version="1.35")
    made = edits(config, rehearsed(text_of(stack)))
    titles = [edit.title for edit in made]
    kept = bool(config["penstock:data"]["database"]["backupDays"])  # without backups there is no way back
    assert titles[: 4 + kept] == UPGRADES[: 4 + kept]
    assert titles[4 + kept : 6 + kept] == ["node image", "rotate secrets"]
    assert "keep logs" not in " ".join(titles)
    moved = [
        set(differing(before, after.config))
        for before, after in zip([config, *(e.config for e in made)], made, strict=False)
    ]
    assert moved[0] == {"/penstock:cluster/version"}
    assert moved[1] == {"/penstock:cluster/addonVersions/kubeProxy"}
    assert moved[2] == {"/penstock:nodeGroups/system/version"}
    assert moved[3] <= {"/penstock:nodeGroups/gpu/version", "/penstock:nodeGroups/gpuSpot/version"}
    assert not kept or moved[4] == {f"/penstock:data/database/{key}" for key in ("engineVersion", "allowMajorUpgrade")}
    end = {key: made[3].config[key] for key in ("penstock:cluster", "penstock:nodeGroups")}
    assert end == {key: rehearsed(text_of(stack))[key] for key in end}, "the upgrade ends with what the file says"


@pytest.mark.parametrize("stack", STACKS)
def test_there_are_gpus_for_every_engine_of_the_last_edit(stack):
    config = rehearsed(text_of(stack))
    last = settings_of(edits(config, config)[-1].config)
    groups, zones = last.node_groups, len(last.network.zones)
    nodes = groups.gpu.desired_nodes + groups.gpu_spot.desired_nodes_per_zone * zones
    engines = sum(sum(colour.engine_replicas.values()) for colour in (last.release.blue, last.release.green))
    assert engines <= nodes, "one GPU for each engine and node in these stack files"


def test_only_a_protected_stack_has_a_protection_to_release():
    assert release_protection(rehearsed(text_of("dev"))) is None
    edit = release_protection(rehearsed(text_of("prod")))
    assert edit is not None
    assert not settings_of(edit.config).protected


def test_a_text_that_is_no_stack_file_is_refused_in_a_sentence():
    with pytest.raises(PenstockError, match=r"no config\.penstock:aws\.accountId"):
        rehearsed("config: {}\n")


UPDATE = Expected("update", "aws:eks/nodeGroup:NodeGroup", "gpu", r"scalingConfig\..*")


def group(name="gpu", operation="update", path="scalingConfig.desiredSize"):
    return Change(operation, "aws:eks/nodeGroup:NodeGroup", name, (PropertyChange(path, 6, 7),))


def test_the_expected_change_alone_is_no_breach():
    assert breaches([UPDATE], [group()]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (group(name="system"), "update aws:eks/nodeGroup:NodeGroup system (scalingConfig.desiredSize)"),
        (group(operation="replace"), "replace aws:eks/nodeGroup:NodeGroup gpu (scalingConfig.desiredSize)"),
        (group(path="amiType"), "update aws:eks/nodeGroup:NodeGroup gpu (amiType)"),
    ],
)
def test_another_resource_operation_or_property_is_a_breach(change, said):
    assert breaches([UPDATE], [group(), change]) == [said]


def test_an_expected_change_that_does_not_come_is_a_breach():
    assert breaches([UPDATE], []) == ["no update aws:eks/nodeGroup:NodeGroup gpu"]
    optional = Expected("create", rehearsal_edit.BUDGET, "*", required=False)
    assert breaches([optional], []) == []


def refreshed(operation, old, new):
    side = lambda outputs: SimpleNamespace(custom=True, outputs=outputs)  # noqa: E731 - two uses
    urn = "urn:pulumi:prod::penstock::aws:sns/topic:Topic::events"
    step = SimpleNamespace(op=operation, type="aws:sns/topic:Topic", urn=urn, old=side(old), new=side(new))
    return SimpleNamespace(res_outputs_event=SimpleNamespace(metadata=step))


def test_a_refresh_tells_what_is_otherwise_than_the_state_had_it():
    same = refreshed("same", {"name": "a"}, {"name": "a"})
    changed = refreshed("update", {"name": "a"}, {"name": "b"})
    assert drift([same]) == []
    (change,) = drift([same, changed])
    assert (change.operation, change.name) == ("update", "events")
    assert change.properties == (PropertyChange("name", "a", "b"),)


@pytest.mark.parametrize(
    ("urn", "said"),
    [
        (
            "penstock:index:Traffic$aws:lb/listenerRule:ListenerRule::traffic",
            ["aws:lb/listenerRule:ListenerRule traffic"],
        ),
        ("penstock:index:Traffic$aws:lb/listenerRule:ListenerRule::traffic-probe-blue", []),
        ("penstock:index:NodeGroups$aws:eks/nodeGroup:NodeGroup::nodes-gpu", ["aws:eks/nodeGroup:NodeGroup nodes-gpu"]),
        (
            "penstock:index:Release$kubernetes:apps/v1:Deployment::gateway-blue",
            ["kubernetes:apps/v1:Deployment gateway-blue"],
        ),
        ("penstock:index:Collector$kubernetes:apps/v1:Deployment::collector", []),
        ("penstock:index:Collector::collector", []),
    ],
)
def test_a_refused_destroy_may_take_what_answers_nobody(urn, said):
    assert rehearsal_plan.wrongly_gone([f"urn:pulumi:prod::penstock::{urn}"]) == said
