"""The workflows run on this machine: each `run:` step of a job, in order, in a clone, with the environment it names.

The account is the record-only cloud of `penstock diff`, the state a folder, GitHub a server in this process.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infra.ops.diff.engine import Bench
from tests.unit.ops.test_ci_tools import TOKEN, hub, row  # noqa: F401 - the fixture

REPOSITORY = Path(__file__).parents[3]
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
STEP_SECONDS = 600

pytestmark = [pytest.mark.toolchain, pytest.mark.timeout(1800)]


class Runner:
    """Stands in for GitHub's: a clone, and values for the expressions that steps use."""

    def __init__(self, clone: Path, environment: dict[str, str], values: dict[str, str]) -> None:
        self.clone, self.environment, self.values = clone, environment, values
        self.ran: list[str] = []

    def job(self, file: str, name: str) -> None:
        """Every `run:` step. Raises AssertionError where one fails."""
        job = yaml.safe_load((self.clone / ".github" / "workflows" / file).read_text())["jobs"][name]
        for step in job["steps"]:
            if "run" in step:
                given = {**job.get("env", {}), **step.get("env", {})}
                self.run(step["run"], {key: self.filled(str(value)) for key, value in given.items()})

    def run(self, line: str, given: dict[str, str]) -> str:
        done = subprocess.run(
            ["bash", "-e", "-c", line], cwd=self.clone, env={**self.environment, **given}, capture_output=True,
            text=True, timeout=STEP_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        self.ran.append(line)
        return done.stdout

    def filled(self, text: str) -> str:
        return EXPRESSION.sub(lambda match: self.values[match.group(1)], text)


IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")


def as_it_stands(clone: Path) -> None:
    """Commits to the clone what the checkout has and has not committed."""
    listed = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
        source, target = REPOSITORY / name, clone / name
        if name and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        elif name:
            target.unlink(missing_ok=True)
    subprocess.run(["git", "-C", str(clone), "add", "-A"], check=True)
    commit = ["git", "-C", str(clone), *IDENTITY, "commit", "-q", "--allow-empty", "-m", "As it stands"]
    subprocess.run(commit, check=True)


@pytest.fixture
def runner(tmp_path, hub, monkeypatch):  # noqa: F811 - the fixture
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(REPOSITORY), str(clone)], check=True)
    as_it_stands(clone)
    virtual = Path(sys.executable).parents[1]
    (clone / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (clone / ".venv" / part).symlink_to(virtual / part)
    (clone / ".venv" / ".ready").touch()
    bench = Bench(tmp_path / "cloud", Path(), "")
    bench.prepare()
    summary = tmp_path / "summary.md"
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "XDG_CACHE_HOME") if name in os.environ},
        "GITHUB_API_URL": os.environ["GITHUB_API_URL"],
        "GITHUB_REPOSITORY": os.environ["GITHUB_REPOSITORY"],
        "GITHUB_STEP_SUMMARY": str(summary),
        "PYTHONPATH": str(clone),  # the editable install is this checkout's
        "PULUMI_HOME": str(bench.folder / "home"),
        "PULUMI_CONFIG_PASSPHRASE": "of a folder that is removed",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    values = {
        "matrix.stack": "dev",
        "vars.PULUMI_BACKEND_URL": (bench.folder / "backend").as_uri(),
        "github.token": TOKEN,
        "github.event.pull_request.number": "7",
    }
    return Runner(clone, environment, values)


def test_a_clone_is_deployed_reviewed_and_watched_by_its_workflow_files(runner, hub):  # noqa: F811 - the fixture
    backend = {"PULUMI_BACKEND_URL": runner.values["vars.PULUMI_BACKEND_URL"]}
    pulumi = ".venv/bin/python -m infra.ops.ci.run_pulumi"
    runner.run(f"{pulumi} stack init dev", backend)

    runner.job("deploy.yml", "dev")
    assert runner.ran[-4:] == ["make setup", "make preview", "make validated", "make deploy"]
    assert "created" in Path(runner.environment["GITHUB_STEP_SUMMARY"]).read_text()
    assert "gatewayUrl" in runner.run(f"{pulumi} stack output --stack dev --json", backend)

    runner.job("drift.yml", "look")
    runner.job("drift.yml", "issue")
    assert hub.written == [], "nothing has drifted, and there is no issue to close"

    runner.job("review.yml", "preview")
    runner.job("review.yml", "preview-comment")
    ((method, path, content),) = hub.written
    assert (method, path) == ("POST", "/issues/7/comments")
    assert "against the deployed stack" in content["body"].lower()
    hub.written.clear()
    hub.rows = [row(1, content["body"])]

    file = runner.clone / "Pulumi.dev.yaml"
    shutil.copy(REPOSITORY / "Pulumi.dev.yaml", file)  # without the salt that the deployment wrote
    file.write_text(file.read_text().replace("idleTimeoutSeconds: 600", "idleTimeoutSeconds: 900"))
    runner.run(f"git {' '.join(IDENTITY)} commit -q -a -m edit", {})
    runner.job("review.yml", "diff")
    runner.job("review.yml", "comment")
    ((method, path, content),) = hub.written
    assert (method, path) == ("PATCH", "/issues/comments/1"), "in place of the one before"
    assert "idleTimeout" in content["body"]
