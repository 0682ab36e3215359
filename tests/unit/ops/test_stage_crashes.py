"""A stage is cut off at each of its effects: it is told where it stands, and goes on or back."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from infra.ops import deploy
from infra.ops.changes import Change
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.release import operate, staging
from infra.ops.release.journal import Journal
from infra.ops.weights import Weights, edit
from tests.unit.ops import test_release_operating as operating
from tests.unit.ops.test_release_operating import ENGINE

played = operating.played
EFFECTS = ("staging", "file", "half an update", "update", "ready", "validated", "staged")


class CutOff(BaseException):
    """Raised in place of, or after, an effect."""


@pytest.fixture
def cluster(played, monkeypatch: pytest.MonkeyPatch):
    """What the updates made of the stack file, and where the next stage dies: (effect, before or after it)."""
    played.running, played.dies = played.text, ()

    def around(effect: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def done(*given: Any, **named: Any) -> Any:
            if played.dies == (effect, "before"):
                raise CutOff
            found = work(*given, **named)
            if played.dies == (effect, "after"):
                raise CutOff
            return found

        return done

    def preview(stack: object, progress: object) -> list[Change]:
        return [] if played.file.read_text() == played.running else [ENGINE]

    def up(stack: object, progress: object) -> list[Change]:
        played.updates += 1
        if played.dies == ("half an update", "after"):
            played.running = "some of the objects are new"
            raise CutOff
        played.running = played.file.read_text()
        return [ENGINE]

    append = Journal.append
    lines = {event: around(event, append) for event in (staging.STAGING, staging.STAGED)}

    def write(journal: Journal, event: str, **details: Any) -> None:
        lines.get(event, append)(journal, event, **details)

    monkeypatch.setattr(Journal, "append", write)
    monkeypatch.setattr(deploy, "preview", preview)
    monkeypatch.setattr(deploy, "up", around("update", up))
    monkeypatch.setattr(operate, "replace_file", around("file", operate.replace_file))
    monkeypatch.setattr(operate, "validate", around("validated", operate.validate))
    monkeypatch.setattr(operate.StackWorld, "wait_until_ready", around("ready", operate.StackWorld.wait_until_ready))
    return played


def cut_off(cluster: Any, effect: str, moment: str) -> None:
    cluster.dies = (effect, moment)
    with pytest.raises(CutOff):
        cluster.operator().stage(None, "next")
    cluster.dies = ()


def told(cluster: Any) -> staging.Staging | None:
    return staging.under_way(cluster.operator().journal.entries())


CUTS = [("staging", "before"), *((effect, "after") for effect in EFFECTS)]
"""Before an effect is after the one ahead of it."""


@pytest.mark.parametrize(("effect", "moment"), CUTS)
def test_a_stage_that_is_cut_off_at_any_effect_goes_on(cluster, effect: str, moment: str):
    cut_off(cluster, effect, moment)
    unfinished = told(cluster)
    if (effect, moment) in (("staging", "before"), ("staged", "after")):
        assert unfinished is None, "nothing was done, or all"
    else:
        assert unfinished is not None
        assert "stage of green is not finished" in unfinished.advice
    assert cluster.operator().stage(None, "next")["colour"] == "green"
    assert cluster.running == cluster.file.read_text() != cluster.text
    assert cluster.file.read_text().count("engineImage: next") == 1
    assert told(cluster) is None
    assert cluster.balancer.weights == Weights(100, 0)


@pytest.mark.parametrize(("effect", "moment"), CUTS[1:-1])
def test_a_stage_that_is_cut_off_at_any_effect_can_be_taken_back(cluster, effect: str, moment: str):
    cut_off(cluster, effect, moment)
    done = cluster.operator().rollback("by hand")
    assert (done["colour"], done["outcome"], done["reason"]) == ("green", "unstaged", "by hand")
    assert cluster.running == cluster.file.read_text() == cluster.text
    assert told(cluster) is None
    with pytest.raises(RefusedError, match="no release to take back"):
        cluster.operator().rollback("by hand")


def test_a_stage_that_is_cut_off_twice_goes_back_to_what_was_before_the_first_time(cluster):
    cut_off(cluster, "file", "after")
    cut_off(cluster, "update", "after")
    cluster.operator().rollback("by hand")
    assert cluster.running == cluster.file.read_text() == cluster.text


def test_a_taken_back_stage_that_is_refused_leaves_the_file_as_it_was(cluster):
    cut_off(cluster, "update", "after")
    text = cluster.file.read_text()
    cluster.answer = False
    with pytest.raises(RefusedError, match="not confirmed"):
        cluster.operator().rollback("by hand")
    assert cluster.file.read_text() == text
    assert told(cluster) is not None


def test_a_refused_second_try_still_knows_the_way_back_of_the_first(cluster):
    cut_off(cluster, "update", "after")
    cluster.answer = False
    with pytest.raises(RefusedError, match="not confirmed"):
        cluster.operator().stage(None, "another")
    cluster.answer = True
    cluster.operator().rollback("by hand")
    assert cluster.running == cluster.file.read_text() == cluster.text


def test_a_refused_stage_is_not_told_as_unfinished(cluster):
    cluster.answer = False
    with pytest.raises(RefusedError, match="not confirmed"):
        cluster.operator().stage(None, "next")
    assert told(cluster) is None


def test_a_failed_update_of_a_stage_is_gone_on_with_or_taken_back(cluster, monkeypatch):
    def fails(stack: object, progress: object) -> list[Change]:
        raise PenstockError("The update failed.")

    with monkeypatch.context() as patched:
        patched.setattr(deploy, "up", fails)
        with pytest.raises(PenstockError, match="update failed"):
            cluster.operator().stage(None, "next")
    assert told(cluster) is not None
    cluster.operator().rollback("by hand")
    assert cluster.running == cluster.file.read_text() == cluster.text


def test_a_colour_that_was_given_traffic_by_hand_is_not_unstaged(cluster):
    cut_off(cluster, "update", "after")
    cluster.file.write_text(edit(cluster.file.read_text(), Weights(50, 50)))
    with pytest.raises(RefusedError, match="green has traffic"):
        cluster.operator().rollback("by hand")


def test_the_commands_say_what_is_unfinished_and_what_a_rollback_would_do(cluster, monkeypatch):
    from infra.ops.cli import cli
    from infra.ops.context import Context

    cut_off(cluster, "update", "after")
    access = cluster.operator().access
    monkeypatch.setattr(Context, "open", lambda self, stack: access)
    shown = CliRunner().invoke(cli, ["release", "status", "--stack", "local"])
    assert "The stage of green is not finished." in shown.output, shown.output
    asked = CliRunner().invoke(cli, ["release", "rollback", "--stack", "local"], input="n\n")
    assert "The stage of green did not end" in asked.output, asked.output
