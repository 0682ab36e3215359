"""A version of a model on the running platform: added, carried by the idle colour, evaluated there, and let through."""

import json
from pathlib import Path

import pytest
import yaml

from tests.local.conftest import Platform
from tests.unit.ops.registry_cases import model_folder

pytestmark = pytest.mark.local

KNOWLEDGE = {
    "name": "knowledge",
    "budget": {"requests": 50, "tokens": 20000, "seconds": 120, "usd": 1},
    "tasks": [{"name": "sums", "data": "sums.jsonl", "shape": "own", "metric": "includes", "atLeast": 0.6,
               "maxTokens": 8}],
}  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("stack_file_restored")
def test_a_version_gets_traffic_once_it_has_passed_its_evaluation_and_not_before(platform: Platform, tmp_path: Path):
    before = platform.stack_file.read_text()
    one = platform.penstock_json("model", "add", "tiny", str(model_folder(tmp_path / "one")))
    two = platform.penstock_json("model", "add", "tiny", str(model_folder(tmp_path / "two", fill=2)))
    assert platform.penstock_json("model", "show", "tiny", one["digest"], "--read")["faults"] == []
    platform.penstock("model", "promote", "tiny", one["digest"][:20])
    changed = [line for line in platform.stack_file.read_text().splitlines() if line not in before.splitlines()]
    assert changed == [f"      sources: {{tiny: {one['weights']}}}"]

    early = platform.penstock("model", "validate", "tiny", check=False)
    assert early.returncode == 4
    assert "run another version" in early.stderr
    platform.penstock("release", "stage", "--yes")
    refused = platform.penstock("release", "promote", "--yes", check=False)
    assert refused.returncode == 4
    assert "has no evaluation record" in refused.stderr

    (tmp_path / "sums.jsonl").write_text(
        "".join(json.dumps({"prompt": f"{n} + {n}?", "expected": f"{2 * n} exactly"}) + "\n" for n in range(20))
    )
    (tmp_path / "knowledge.yaml").write_text(yaml.safe_dump(KNOWLEDGE))
    failed = platform.penstock("model", "validate", "tiny", "--suite", str(tmp_path / "knowledge.yaml"), check=False)
    assert failed.returncode == 1
    assert "tiny: failed" in failed.stdout
    assert platform.penstock("model", "check", "--colour", "green", check=False).returncode == 4

    record = platform.penstock_json("model", "validate", "tiny", "--report", str(tmp_path / "report.html"))
    assert (record["verdict"], record["version"], record["bound"]) == ("passed", one["digest"], True)
    assert "tiny: passed" in (tmp_path / "report.html").read_text()
    platform.penstock("model", "check", "--colour", "green")
    assert platform.penstock_json("release", "shift", "green=10", "--yes")["after"]["green"] == 10

    used = platform.penstock("model", "remove", "tiny", one["digest"], "--yes", check=False)
    assert used.returncode == 4
    assert "in use: stage, Pulumi.local.yaml, deployed" in used.stderr
    platform.penstock("model", "remove", "tiny", two["digest"], "--yes")
    assert [row["digest"] for row in platform.penstock_json("model", "list", "tiny")] == [one["digest"]]
