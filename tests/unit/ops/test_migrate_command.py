"""`penstock migrate`: the difference first, old texts kept, nothing half written."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infra.ops.cli import cli, run
from infra.ops.context import Context
from infra.settings import Settings
from tests.unit.test_migrations import RECORDED

NAMES = ("dev", "prod")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: penstock\n")
    for name in NAMES:
        shutil.copy(RECORDED / "v1" / f"{name}.yaml", tmp_path / f"Pulumi.{name}.yaml")
    return tmp_path


def penstock(checkout: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), obj=Context(checkout=checkout))


def git(checkout: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", checkout, "-c", "user.name=x", "-c", "user.email=x@x", *arguments], check=True)


def test_a_dry_run_shows_the_difference_and_writes_nothing(checkout: Path):
    before = (checkout / "Pulumi.dev.yaml").read_bytes()
    result = penstock(checkout, "migrate", "--stack", "dev", "--dry-run")
    assert result.exit_code == 0
    assert "+  penstock:schemaVersion: 3" in result.stdout
    assert (checkout / "Pulumi.dev.yaml").read_bytes() == before


def test_all_files_are_migrated_and_a_second_run_has_nothing_to_do(checkout: Path):
    result = penstock(checkout, "migrate", "--yes", "--json")
    told = json.loads(result.stdout)
    assert [(each["file"], each["was"], each["action"]) for each in told["files"]] == [
        ("Pulumi.dev.yaml", 1, "change"),
        ("Pulumi.prod.yaml", 1, "change"),
    ]
    for name in NAMES:
        Settings.from_stack_file(checkout / f"Pulumi.{name}.yaml")
    again = json.loads(penstock(checkout, "migrate", "--yes", "--json").stdout)
    assert {each["action"] for each in again["files"]} == {"unchanged"}
    assert again["written"] is False


def test_a_text_that_git_does_not_have_is_kept(checkout: Path):
    git(checkout, "init", "-q")
    git(checkout, "add", "Pulumi.prod.yaml")
    git(checkout, "commit", "-qm", "x")
    before = (checkout / "Pulumi.dev.yaml").read_bytes()
    told = json.loads(penstock(checkout, "migrate", "--yes", "--json").stdout)
    assert told["backups"] == [".penstock/backup/Pulumi.dev.yaml.1"]
    assert (checkout / told["backups"][0]).read_bytes() == before


def test_without_a_terminal_and_without_yes_nothing_is_written(checkout: Path, capsys: pytest.CaptureFixture[str]):
    before = (checkout / "Pulumi.dev.yaml").read_bytes()
    assert run(["migrate"], Context(checkout=checkout)) == 4
    assert "Pass --yes" in capsys.readouterr().err
    assert (checkout / "Pulumi.dev.yaml").read_bytes() == before


def test_a_file_that_would_not_be_accepted_is_left_alone(checkout: Path, capsys: pytest.CaptureFixture[str]):
    path = checkout / "Pulumi.dev.yaml"
    path.write_text(path.read_text().replace("natGateways: one", "natGateways: two"))
    before = path.read_bytes()
    assert run(["migrate", "--yes"], Context(checkout=checkout)) == 4
    assert "network.natGateways" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert "schemaVersion" not in (checkout / "Pulumi.prod.yaml").read_text()


def test_a_stack_without_a_file_is_wrong_usage(checkout: Path):
    assert run(["migrate", "--stack", "none"], Context(checkout=checkout)) == 2
