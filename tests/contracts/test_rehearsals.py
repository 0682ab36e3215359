"""The whole life of the stack files `local`, `dev` and `prod`, and a move, with the real engine and control plane."""

import io
import json
from pathlib import Path

import pytest

from infra.local.toolchain.find import ensure
from infra.ops import rehearsal_data
from infra.ops.progress import Progress
from infra.ops.rehearsal_move import MoveRehearsal
from infra.ops.rehearse import Rehearsal, Report

pytestmark = [pytest.mark.toolchain, pytest.mark.rehearsal, pytest.mark.timeout(3600)]

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="module")
def _toolchain() -> None:
    ensure(Progress())  # on a machine that has never run `make up`, a build of 20 minutes


@pytest.fixture(autouse=True)
def _bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # each program run would compile the SDKs anew


QUIET = Progress(io.StringIO(), live=False)
DAY_TWO = (
    "Kubernetes 1.35 -> 1.36", "add-ons", "system nodes -> 1.36", "GPU nodes -> 1.36", "PostgreSQL 16 -> 18",
    "node image", "rotate secrets",
)  # fmt: skip
CHANGES = (*DAY_TWO, "scale gpu", "add a model", "stage", "shift")
"""How each change's title begins, in their order: each brings the expected resources alone, or the rehearsal ends."""


def rehearsed(stack: str) -> Report:
    rehearsal = Rehearsal(CHECKOUT, stack, QUIET, upgrade_from="1.35")
    report = told(rehearsal)
    assert not rehearsal.state.exists(), "a rehearsal leaves no folder"
    return report


def told(rehearsal: Rehearsal) -> Report:
    try:
        return rehearsal.run()
    finally:
        print(json.dumps(rehearsal.report.as_dict(), indent=1))


@pytest.mark.parametrize(("stack", "resources"), [("local", 150), ("dev", 250), ("prod", 350)])
def test_a_stack_deploys_upgrades_changes_and_goes(stack: str, resources: int) -> None:
    report = rehearsed(stack)
    # The stack `local` keeps no backups, so its database may not take a major version.
    wanted = [each for each in CHANGES if stack != "local" or not each.startswith("PostgreSQL")]
    names = [step.name for step in report.steps]
    changed = [name.removesuffix(": up") for name in names if name.startswith(CHANGES) and name.endswith(": up")]
    assert [next(each for each in CHANGES if name.startswith(each)) for name in changed] == wanted
    for whole in ("preview", "up", "preview again", "refresh", "preview after the changes", "destroy"):
        assert whole in names
    assert names[-2:] == ["look for leftovers", "stop the platform"]
    assert ("protected: destroy is refused" in names) is (stack == "prod")
    assert report.resources > resources


MOVED = (
    "start a platform", "up", "start a platform", "local-moved: up in eu-south-2, beside the first",
    "fill database and buckets", "move the data: refused while pods write", "move the data: cut off before the restore",
    "move the data", "move the data again", "point the name there", "plant stuck finalizers and leftovers", "destroy",
    "look for leftovers", "local-moved: preview after the move", "compare what is there with what was",
    "plant stuck finalizers and leftovers", "destroy", "local-moved: look for leftovers", "stop the platform",
    "stop the platform",
)  # fmt: skip


def test_a_stack_moves_to_another_region_with_its_rows_objects_and_name_and_the_first_one_goes() -> None:
    rehearsal = MoveRehearsal(CHECKOUT, "local", QUIET, region="eu-south-2")
    report = told(rehearsal)
    assert tuple(step.name for step in report.steps) == MOVED
    carried = rehearsal.carried
    assert carried is not None
    assert not carried.already, "the run before was to be cut off, and has carried the rows"
    planted = rehearsal_data.PLANTED
    assert {table: carried.rows.get(table) for table in planted} == planted
    assert set(carried.buckets) == {"weights", "files"}
    assert all(bucket.objects >= len(rehearsal_data.OBJECTS) for bucket in carried.buckets.values())
    assert not rehearsal.state.exists(), "a rehearsal leaves no folder"
    assert not rehearsal.state.with_name("rehearsal-local-moved").exists()
