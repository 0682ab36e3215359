"""The rehearsal's order, its end and its reports, without a platform: the operations are stand-ins."""

import json
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from infra.local import cloud
from infra.ops import deploy, leftovers, rehearsal_plan, rehearse
from infra.ops.changes import Change, PropertyChange
from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.progress import Progress
from infra.policy import held

REPOSITORY = Path(__file__).parents[3]


RULE = "urn:pulumi:prod::penstock::penstock:index:Traffic$aws:lb/listenerRule:ListenerRule::traffic"


class World:
    """What a rehearsal does, in order, and what the stand-ins answer."""

    def __init__(self, folder: Path) -> None:
        self.stack = SimpleNamespace(workspace=SimpleNamespace(env_vars={held.VARIABLE: "infra/policy", "A": "b"}))
        self.checkout = folder
        self.calls: list[str] = []
        self.answers: dict[str, list[list[Change]]] = {}
        self.failing: dict[str, BaseException] = {}
        self.refusals: list[PenstockError] = []
        """Of destroys, each once."""
        self.left: set[str] = set()
        self.state = ["a", "b", RULE, "d", "e", "f", "g"]

    def operation(self, name: str):
        def run(*_, **__):
            self.calls.append(name)
            if name in self.failing:
                raise self.failing[name]
            if name == "destroy" and self.refusals:
                raise self.refusals.pop()
            given = self.answers.get(name)
            return given.pop(0) if given else []

        return run


class PlayedDestroy:
    region = "eu-central-1"

    def __init__(self, *_: object, **__: object) -> None: ...

    def run(self, table: object) -> SimpleNamespace:
        deploy.destroy("stack", Progress(quiet=True))
        return SimpleNamespace(done=[])


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: penstock\n")
    for stack in ("dev", "prod"):
        (tmp_path / f"Pulumi.{stack}.yaml").write_text((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())
    layout = SimpleNamespace(stack_file=tmp_path / "copy.yaml")
    access = SimpleNamespace(
        aws=lambda _: SimpleNamespace(
            create_role=lambda **_: None, request_certificate=lambda **_: {"CertificateArn": "arn:aws:acm:made"}
        ),
        state=lambda: SimpleNamespace(resources=[SimpleNamespace(urn=urn) for urn in made.state]),
        automation=lambda: made.stack,
        workspace=lambda: SimpleNamespace(copy_in=lambda: None),
    )

    def up(*_):
        made.calls.append("platform up")
        return layout

    monkeypatch.setattr(cloud, "up", up)
    monkeypatch.setattr(cloud, "down", made.operation("platform down"))
    monkeypatch.setattr(rehearse, "access_on", lambda _: access)
    monkeypatch.setattr(leftovers, "in_aws", lambda _: made.left if made.calls[-1] == "destroy" else set())
    monkeypatch.setattr(leftovers, "in_cluster", lambda _: set())
    monkeypatch.setattr(rehearse, "CLEARED_SECONDS", 0.0)
    # The destroy itself, and what is planted for it, are played: tests/unit/ops/test_destroy.py has their parts.
    monkeypatch.setattr(rehearse.Rehearsal, "_trouble", lambda *_: SimpleNamespace(missed=lambda *_: []))
    monkeypatch.setattr(rehearse.rehearsal_trouble, "clear", lambda *_: None)
    monkeypatch.setattr(rehearse, "Destroy", PlayedDestroy)
    monkeypatch.setattr(rehearsal_plan, "edits", lambda *_: [])
    for name in ("preview", "up", "refresh", "destroy"):
        monkeypatch.setattr(deploy, name, made.operation(name))
    return made


def rehearsal(world, stack="dev", **options):
    return rehearse.Rehearsal(world.checkout, stack, Progress(StringIO(), live=False), **options)


CHANGE = Change("update", "aws:sns/topic:Topic", "events", (PropertyChange("name", "a", "b"),))


def test_a_stack_is_deployed_looked_at_destroyed_and_its_platform_removed(world):
    report = rehearsal(world).run()
    assert world.calls == [
        "platform up", "preview", "up", "preview", "refresh", "preview", "destroy", "platform down",
    ]  # fmt: skip
    assert report.resources == 7
    assert [step.name for step in report.steps][-3:] == ["destroy", "look for leftovers", "stop the platform"]


def test_a_second_preview_with_a_change_fails_and_the_platform_goes(world):
    world.answers["preview"] = [[], [CHANGE]]
    with pytest.raises(PenstockError, match=r"The preview after the update is not empty: update aws:sns.*name: a -> b"):
        rehearsal(world).run()
    assert world.calls[-1] == "platform down"
    assert "refresh" not in world.calls


@pytest.mark.parametrize("error", [KeyboardInterrupt(), PenstockError("The update failed.")])
def test_the_platform_goes_also_after_an_interrupt_or_a_failure(world, error):
    world.failing["up"] = error
    with pytest.raises(type(error)):
        rehearsal(world).run()
    assert world.calls[-2:] == ["up", "platform down"]


def test_what_a_destroy_leaves_is_named(world):
    world.left = {"VPC vpc-1"}
    with pytest.raises(PenstockError, match=r"The destroy left something behind: VPC vpc-1\."):
        rehearsal(world).run()


def test_a_protected_stack_that_can_be_destroyed_is_a_failure(world):
    with pytest.raises(PenstockError, match="A destroy of the protected stack prod was not refused"):
        rehearsal(world, "prod").run()
    assert world.calls.count("destroy") == 1


def test_a_refused_destroy_that_deleted_something_is_a_failure(world):
    class LateError(PenstockError):
        def __str__(self):
            world.state.remove(RULE)
            return "the rule went, d is protected"

    world.refusals = [LateError("")]
    with pytest.raises(
        PenstockError, match=r"The refused destroy of prod deleted aws:lb/listenerRule:ListenerRule traffic\."
    ):
        rehearsal(world, "prod").run()


def test_a_protected_stack_goes_once_its_protection_is_released(world):
    world.refusals = [PenstockError("guard is protected")]
    world.answers = {"preview": [[], [], []], "up": [[]]}
    with pytest.raises(PenstockError, match="`release the protection` is not what that edit may bring"):
        rehearsal(world, "prod").run()
    assert world.calls.count("destroy") == 1, "the second one waits for the released protection"
    assert world.stack.workspace.env_vars == {"A": "b", held.WITHOUT: "the rehearsed stack goes"}


def test_keep_leaves_the_stack_and_the_platform(world):
    rehearsal(world, keep=True).run()
    assert not {"destroy", "platform down"} & set(world.calls)


def test_a_rehearsal_that_runs_is_not_disturbed(world, monkeypatch):
    monkeypatch.setattr(cloud, "supervised", lambda _: True)
    with pytest.raises(RefusedError, match="penstock rehearse dev --end"):
        rehearsal(world).run()
    assert world.calls == []


def test_the_report_is_printed_also_after_a_failure(world, monkeypatch):
    monkeypatch.setattr(rehearse, "to_its_end", lambda call, _: nullcontext(call()))
    world.failing["up"] = PenstockError("The update failed.")
    result = CliRunner().invoke(cli, ["rehearse", "dev", "--json"], obj=Context(world.checkout))
    assert isinstance(result.exception, PenstockError)
    found = json.loads(result.stdout)
    assert [step["name"] for step in found["steps"]] == ["start a platform", "preview", "up", "stop the platform"]


def test_an_unknown_stack_is_named(world):
    with pytest.raises(PenstockError, match=r"There is no Pulumi\.nowhere\.yaml\."):
        rehearsal(world, "nowhere").run()
    assert world.calls == []
