"""The plan of an upgrade: its order, what is done already, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from infra.ops import stacks
from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.errors import UsageError
from infra.ops.stacks import State
from infra.ops.upgrade.plan import Plan, Running, plan
from infra.rehearsal import rehearse_stack
from infra.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[3]
PROD = Settings.from_stack_file(CHECKOUT / "Pulumi.prod.yaml")
PROXY = "v{}.0-eksbuild.1"


def running(kubernetes: str = "1.35", proxy: str = "1.35", nodes: str = "1.35", **groups: str) -> Running:
    found = {key: (groups.get(key, nodes),) * (3 if key == "gpuSpot" else 1) for key in ("system", "gpu", "gpuSpot")}
    return Running("state", kubernetes, {"kubeProxy": PROXY.format(proxy)}, found, "18.1")


def planned(found: Running, **options: str) -> Plan:
    return plan("prod", PROD, found, **options)


def open_steps(found: Plan) -> list[str]:
    return [step.title for step in found.steps if not step.done]


ORDER = ["control plane to 1.36", "add-ons for 1.36", "nodes of system to 1.36", "nodes of gpu to 1.36",
         "nodes of gpuSpot to 1.36"]  # fmt: skip


def test_the_control_plane_comes_first_and_nodes_with_gpus_last():
    assert open_steps(planned(running())) == ORDER


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (running("1.36"), ORDER[1:]),
        (running("1.36", "1.36"), ORDER[2:]),
        (running("1.36", "1.36", system="1.36"), ORDER[3:]),
        (running("1.36", "1.36", "1.36", gpuSpot="1.35"), ORDER[4:]),
        (running("1.36", "1.36", "1.36"), []),
    ],
)
def test_what_runs_already_is_done_and_the_first_open_step_is_next(found: Running, left: list[str]):
    made = planned(found)
    assert open_steps(made) == left
    assert made.next == (len(made.steps) - len(left) + 1 if left else None)


def test_a_zone_whose_spot_nodes_are_behind_keeps_its_step_open():
    half = Running("state", "1.36", {"kubeProxy": PROXY.format("1.36")}, {
        "system": ("1.36",), "gpu": ("1.36",), "gpuSpot": ("1.36", "1.35", "1.36"),
    }, "18")  # fmt: skip
    assert open_steps(planned(half)) == ["nodes of gpuSpot to 1.36"]


def test_eks_takes_one_minor_version_at_a_time():
    titles = open_steps(planned(running("1.34", "1.34", "1.34")))
    assert [title for title in titles if "control plane" in title] == ["control plane to 1.35", "control plane to 1.36"]
    assert titles.index("nodes of gpuSpot to 1.35") < titles.index("control plane to 1.36")


def test_each_step_says_what_it_disrupts_and_the_way_back_and_edits_keys_of_the_stack_file():
    for step in planned(running(), database="19").steps:
        assert step.disrupts
        assert step.back
        for path in step.edits:
            model = type(PROD)
            *parents, last = path.split(".")
            for part in [*parents, last]:
                fields = {field.alias: field for field in model.model_fields.values()}
                assert part in fields, path
                model = fields[part].annotation


def test_rounds_follow_from_the_nodes_and_how_many_go_at_a_time():
    system = next(step for step in planned(running()).steps if "system" in step.title)
    assert "3 nodes in 3 rounds of 1; a pod has 90 s" in system.disrupts
    spot = next(step for step in planned(running()).steps if "gpuSpot" in step.title)
    assert "3 nodes in 1 rounds of 1 in each zone" in spot.disrupts


def test_a_major_version_of_the_database_opens_a_door_and_closes_it():
    *_, jump, close = planned(running(), database="19").steps
    assert jump.edits == {"data.database.engineVersion": '"19"', "data.database.allowMajorUpgrade": "true"}
    assert "takes a snapshot before" in jump.checks[0]
    assert close.edits == {"data.database.allowMajorUpgrade": "false"}


def test_a_minor_version_of_the_database_needs_no_door():
    assert planned(running(), database="18.4").steps[-1].edits == {"data.database.engineVersion": '"18.4"'}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kubernetes": "1.99"}, "--to 1.99 is not allowed"),
        ({"database": "17"}, "--database 17 is older than 18.1, which runs"),
        ({"database": "new"}, "--database new is not allowed"),
    ],
)
def test_what_cannot_be_reached_is_refused(options: dict[str, str], said: str):
    with pytest.raises(UsageError, match=said):
        planned(running(), **options)


def test_an_older_kubernetes_is_not_planned_and_eks_own_way_back_is_named():
    with pytest.raises(UsageError, match=r"older than 1\.36, which runs") as caught:
        planned(running("1.36"), kubernetes="1.35")
    assert "within seven days" in str(caught.value)


def test_what_runs_is_read_from_the_state_of_the_program_itself(monkeypatch: pytest.MonkeyPatch):
    rows = []
    for each in rehearse_stack(CHECKOUT / "Pulumi.prod.yaml").registrations:
        version = {"version": "1.35"} if each.type == "aws:eks/nodeGroup:NodeGroup" else {}
        rows.append({"urn": each.urn, "type": each.type, "outputs": {**each.inputs, **version}})
    found = Running.of_state(State.parse({"deployment": {"resources": rows}}))
    file = Running.of_file(PROD)
    assert (found.kubernetes, dict(found.addons), found.database) == (file.kubernetes, dict(file.addons), file.database)
    assert {key: len(each) for key, each in found.nodes.items()} == {key: len(each) for key, each in file.nodes.items()}
    assert open_steps(planned(found)) == ORDER[2:]


def test_a_stack_without_a_cluster_is_told_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stacks, "open_stack", lambda *_: SimpleNamespace(state=lambda: State({}, ())))
    result = CliRunner().invoke(cli, ["upgrade", "plan", "-s", "prod"], obj=Context())
    assert isinstance(result.exception, UsageError)
    assert "--from-file" in str(result.exception)


def test_the_command_prints_text_and_json():
    told = CliRunner().invoke(cli, ["upgrade", "plan", "-s", "prod", "--from-file", "--database", "19"])
    assert "1. control plane to 1.36 (done)" in told.output
    assert "PostgreSQL 18 to 19 (next)" in told.output
    made = CliRunner().invoke(cli, ["upgrade", "plan", "-s", "prod", "--from-file", "--json"])
    assert json.loads(made.output)["to"] == {"kubernetes": "1.36", "database": "18"}
    nothing = CliRunner().invoke(cli, ["upgrade", "plan", "-s", "prod", "--from-file"])
    assert "Nothing to do: Kubernetes 1.36 is everywhere." in nothing.output
