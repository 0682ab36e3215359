"""A resource that leaves a stack's state and stays in the cloud."""

import copy
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from infra.ops.stacks import StackAccess

RECORD, GUARD, NODE = (f"urn:pulumi:prod::penstock::{name}" for name in ("record", "guard", "node"))
STATE: dict[str, Any] = {
    "version": 3,
    "deployment": {
        "manifest": {"magic": "m"},
        "resources": [
            {"urn": RECORD, "type": "aws:route53/record:Record", "protect": True},
            {
                "urn": GUARD, "type": "penstock:index:Guard", "protect": True, "dependencies": [NODE, RECORD],
                "propertyDependencies": {"name": [RECORD], "zone": [NODE]}, "deletedWith": RECORD,
            },
            {"urn": NODE, "type": "aws:ec2/instance:Instance"},
        ],
    },
}  # fmt: skip


class Recorded(StackAccess):
    """Keeps a state as Pulumi's backend would."""

    held: dict[str, Any]
    imports: int

    def _pulumi(self, *arguments: str) -> str:
        if arguments == ("stack", "export"):
            return json.dumps(self.held)
        assert arguments[:3] == ("stack", "import", "--file")
        path = Path(arguments[3])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        object.__setattr__(self, "held", json.loads(path.read_text()))
        object.__setattr__(self, "imports", self.imports + 1)
        return ""


@pytest.fixture
def access(tmp_path: Path) -> Recorded:
    made = Recorded("prod", tmp_path, tmp_path, {})
    object.__setattr__(made, "held", copy.deepcopy(STATE))
    object.__setattr__(made, "imports", 0)
    return made


def test_what_depends_on_it_stays_guarded(access: Recorded):
    access.forget(RECORD)
    guard, node = access.held["deployment"]["resources"]
    assert guard == {
        "urn": GUARD, "type": "penstock:index:Guard", "protect": True, "dependencies": [NODE],
        "propertyDependencies": {"name": [], "zone": [NODE]},
    }  # fmt: skip
    assert node == STATE["deployment"]["resources"][2], "all else is as it was"
    assert access.held["deployment"]["manifest"] == {"magic": "m"}


def test_forgetting_twice_changes_nothing(access: Recorded):
    access.forget(RECORD)
    access.forget(RECORD)
    assert access.imports == 1
