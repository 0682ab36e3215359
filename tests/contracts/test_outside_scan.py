"""An outside scanner finds nothing in what dev and prod make that is not named with its reason."""

from pathlib import Path

import pytest

from infra.policy.scan import STACK_FILES, Scan, judge, scan, scanner
from infra.rehearsal import rehearse_stack

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.toolchain


def test_checkov_finds_nothing_unexplained():
    checkov = scanner()
    paths = {name.split(".")[1]: ROOT / name for name in STACK_FILES}
    scans: dict[str, Scan] = {stack: scan(rehearse_stack(path), stack, checkov) for stack, path in paths.items()}

    verdict = judge(scans)

    assert verdict.unexplained == ()
    assert verdict.unneeded == ()
    assert verdict.passed > 1000, "the scanner saw less than it should"
