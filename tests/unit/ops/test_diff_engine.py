"""The whole diff with Pulumi's engine: a base in record-only mode, a head with edits, and git beneath them.

With PENSTOCK_WRITE_GOLDEN the preview is recorded for the tests that run without the engine.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.local.toolchain.find import ensure
from infra.local.toolchain.tools import PULUMI
from infra.ops.changes import PARTS_OF_REPLACEMENT
from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.diff.engine import Bench
from infra.ops.diff.kinds import Risk
from infra.ops.diff.risk import judge
from infra.ops.diff.steps import parse
from infra.ops.progress import Progress
from tests.unit.ops import diff_edits

RECORDED = Path(__file__).with_name("diff_preview.json")
KEPT = ("id", "type", "custom", "inputs", "protect", "retainOnDelete")

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    toolchain = ensure(Progress(quiet=True), tools=(PULUMI,))
    folder = tmp_path_factory.mktemp("bench")
    made = Bench(folder, toolchain.path("pulumi"), toolchain.search_path(os.environ["PATH"]))
    made.prepare()
    return made


@pytest.fixture(scope="module")
def recorded(bench):
    """The base's stack file, whose state the bench now has."""
    file = diff_edits.REPOSITORY / f"Pulumi.{diff_edits.STACK}.yaml"
    text = diff_edits.edited(file.read_text(), diff_edits.BASE_STACK_FILE)
    bench.update(diff_edits.REPOSITORY, diff_edits.STACK, text)
    return text


@pytest.mark.timeout(900)
def test_the_same_program_changes_nothing(bench, recorded):
    assert parse(bench.preview(diff_edits.REPOSITORY, diff_edits.STACK, recorded)) == []


@pytest.mark.timeout(900)
def test_the_engine_says_what_each_edit_brings(bench, recorded, tmp_path):
    text = diff_edits.edited(recorded, diff_edits.STACK_FILE)
    preview = bench.preview(diff_edits.head(tmp_path), diff_edits.STACK, text)
    judged = {(each.step.kind, each.step.name): each for each in judge(parse(preview))}

    database = judged["Instance", "database"]
    assert (database.step.operation, database.step.replaced_by) == ("replace", ("username",))
    assert database.step.deleted_first, "its name is fixed, so the old one must go first"
    assert judged["Secret", "addresses"].step.operation == "replace", "it holds the address of the old database"
    assert judged["Bucket", "trail"].risk is Risk.DATA_LOSS
    assert judged["Cluster", "cluster"].step.operation == "update"
    assert [p.path for p in judged["NodeGroup", "nodes-gpu"].step.properties] == [
        "scalingConfig.desiredSize",
        "scalingConfig.maxSize",
        "version",
    ]
    assert judged["ListenerRule", "traffic"].risk is Risk.TRAFFIC
    assert judged["RolePolicy", "karpenter-controller"].access.opened
    if os.environ.get("PENSTOCK_WRITE_GOLDEN"):
        rows = ",\n".join(json.dumps(trimmed(row), sort_keys=True) for row in preview["steps"])
        RECORDED.write_text(f'{{"steps": [\n{rows}\n]}}\n')


def trimmed(row):
    """A step without what the report does not read, such as the paths of this machine."""
    slim = {key: row[key] for key in ("op", "urn", "detailedDiff", "replaceReasons") if row.get(key)}
    kept = ("type", "custom") if row["op"] in PARTS_OF_REPLACEMENT else KEPT
    for side in ("oldState", "newState"):
        if row.get(side):
            slim[side] = {key: row[side][key] for key in kept if key in row[side]}
    return slim


@pytest.mark.timeout(900)
def test_a_shallow_clone_of_a_fork_is_compared_with_its_tip(tmp_path):
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    diff_edits.head(origin)
    for name in ("pyproject.toml", "requirements.lock", "Pulumi.dev.yaml"):
        shutil.copy(diff_edits.REPOSITORY / name, origin)
    for folder in (origin / "infra", origin / "components", origin / "app"):
        shutil.rmtree(folder)
        shutil.copytree(diff_edits.REPOSITORY / folder.name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(origin, "init", "-q", "-b", "main")
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "base")
    subprocess.run(["git", "clone", "-q", "--depth=1", origin.as_uri(), str(clone)], check=True)
    file = clone / "Pulumi.dev.yaml"
    file.write_text(file.read_text().replace("idleTimeoutSeconds: 600", "idleTimeoutSeconds: 900"))

    options = ["diff", "--base", "main", "--stack", "dev", "--json"]
    done = CliRunner().invoke(cli, options, obj=Context(clone), catch_exceptions=False)

    assert done.exit_code == 0, done.output
    (report,) = json.loads(done.stdout)["reports"]
    assert report["counts"] == {"created": 0, "updated": 1, "replaced": 0, "deleted": 0}
    assert report["changes"][0]["risk"] == "traffic"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)
