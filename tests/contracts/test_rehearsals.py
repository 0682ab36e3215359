"""The whole life of the stack files `dev` and `prod`, with the real engine and control plane."""

import io
import json
from pathlib import Path

import pytest

from infra.local.toolchain.find import cache_folder, cached, on_path
from infra.local.toolchain.tools import TOOLS
from infra.ops.progress import Progress
from infra.ops.rehearse import Rehearsal, Report

pytestmark = [pytest.mark.toolchain, pytest.mark.timeout(1800)]

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _toolchain() -> None:
    if not all(on_path(tool) or cached(tool, cache_folder()) for tool in TOOLS):
        pytest.skip("pulumi and the control plane are not set up: run `make up` once")


@pytest.fixture(autouse=True)
def _bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # each program run would compile the SDKs anew


def rehearsed(stack: str, upgrade_from: str | None = None) -> Report:
    rehearsal = Rehearsal(CHECKOUT, stack, Progress(io.StringIO(), live=False), upgrade_from=upgrade_from)
    try:
        report = rehearsal.run()
    finally:
        print(json.dumps(rehearsal.report.as_dict(), indent=1))
    assert not rehearsal.state.exists(), "a rehearsal leaves no folder"
    return report


def test_dev_deploys_upgrades_changes_and_goes() -> None:
    report = rehearsed("dev", upgrade_from="1.35")
    names = [step.name for step in report.steps]
    for done in ("Kubernetes 1.35 -> 1.36: up", "add a model: up", "shift green 0 -> 10 %: up", "look for leftovers"):
        assert done in names
    assert report.resources > 150


def test_prod_deploys_refuses_to_go_while_protected_changes_and_goes() -> None:
    report = rehearsed("prod")
    names = [step.name for step in report.steps]
    for done in ("protected: destroy is refused", "release the protection: up", "look for leftovers"):
        assert done in names
    assert report.resources > 170
