"""The release gate reads the evaluation records: which let a version carry traffic, and which do not."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace as Box

import pytest

from infra.ops.errors import RefusedError
from infra.ops.evaluate.suite import read_suite
from infra.ops.registry import pointers, records
from infra.ops.registry.records import Carried, carried_by, objection
from infra.ops.registry.validate import Running, check_running
from infra.ops.release import versions
from infra.ops.release.journal import Journal
from infra.settings import Settings
from tests.unit.ops.registry_cases import PlayedS3, model_folder, registry_on
from tests.unit.ops.test_release_operating import ENGINE, played  # noqa: F401 - a fixture
from tests.unit.settings_cases import CHECKOUT

SUITE = read_suite(CHECKOUT / "infra" / "evaluation" / "smoke.yaml")
NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
DIGEST = "sha256-" + "a" * 64
WANTED = Carried("tiny", f"weights://tiny/{DIGEST}", "local", "none", "infra/evaluation/smoke.yaml")


def record(version: str = DIGEST, days: float = 1, **more: object) -> dict:
    ended = (NOW - dt.timedelta(days=days)).isoformat()
    engine = {"image": more.pop("image", "local"), "quantisation": more.pop("quantisation", "none")}
    return {
        "schema": 1, "model": "tiny", "version": version, "bound": True, "verdict": "passed", "ended_at": ended,
        "suite": {"digest": SUITE.digest}, "engine": engine, "reasons": [], **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([record()], ""),
        ([], "has no evaluation record"),
        ([record(image="other")], "no evaluation record with the image local, none and this suite"),
        ([record(quantisation="fp8")], "no evaluation record with"),
        ([record(suite={"digest": "another"})], "no evaluation record with"),
        ([record(version="sha256-" + "b" * 64)], "no evaluation record with"),
        ([record(bound=False)], "no evaluation record with"),
        ([record(verdict="failed", reasons=["facts: 0.2"])], "did not pass its evaluation of 2026-11-20"),
        ([record(verdict="incomplete")], "incomplete"),
        ([record(days=31)], "was evaluated 31 days ago; allowed: 30"),
        ([record(days=2), record(verdict="failed")], "did not pass"),
        ([record(days=2, verdict="failed"), record()], ""),
        ([record(days=2), record(verdict="failed", image="other")], ""),
    ],
)
def test_the_newest_record_of_exactly_this_version_engine_and_suite_counts(found: list[dict], words: str):
    said = objection(found, WANTED, SUITE.digest, 30, NOW)
    assert words in said
    assert bool(words) is bool(said)


def test_a_colour_carries_its_own_sources_and_the_others_of_the_models(tmp_path: Path):
    text = (CHECKOUT / "Pulumi.local.yaml").read_text()
    values = Settings.from_stack_file(written(tmp_path, text, DIGEST))
    blue = {each.name: each for each in carried_by(values, "blue")}
    green = {each.name: each for each in carried_by(values, "green")}
    assert (blue["tiny"].source, blue["tiny"].version) == ("tiny", None)
    assert green["tiny"].version == ("tiny", DIGEST)
    assert {name for name in green if green[name] != blue[name]} == {"tiny"}


def written(folder: Path, text: str, digest: str) -> Path:
    """The stack file with a version in green."""
    blue, green, rest = text.partition("    green:")
    lines = [
        f"      sources: {{tiny: weights://tiny/{digest}}}" if line.startswith("      sources:") else line
        for line in rest.splitlines()
    ]
    file = folder / "Pulumi.local.yaml"
    file.write_text(blue + green + "\n".join(lines) + "\n")
    return file


@pytest.fixture
def carrying(played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    """A played stack whose idle colour carries a version that is in the registry, and has no record."""
    s3 = PlayedS3()
    registry = registry_on(s3)
    manifest, _ = registry.add("tiny", model_folder(tmp_path / "m"), None, "", "")
    written(tmp_path, played.text, manifest.digest)
    (tmp_path / "infra").symlink_to(CHECKOUT / "infra")
    monkeypatch.setattr(versions, "weights_bucket", lambda access: registry.bucket)
    monkeypatch.setattr(versions, "caller", lambda access: "arn:ann")
    played.registry, played.digest, played.s3, played.changes = registry, manifest.digest, s3, None

    def passed(verdict: str = "passed") -> None:
        now = dt.datetime.now(dt.UTC)
        found = record(manifest.digest, verdict=verdict) | {"ended_at": now.isoformat(timespec="microseconds")}
        records.write(registry.bucket, found)

    played.passed = passed
    return played


def test_a_version_without_a_record_gets_no_traffic_and_with_a_good_one_it_does(carrying):
    with pytest.raises(RefusedError, match="has no evaluation record"):
        carrying.operator().promote("green")
    assert (carrying.updates, carrying.balancer.weights.green) == (0, 0)
    carrying.passed("failed")
    with pytest.raises(RefusedError, match="did not pass its evaluation"):
        carrying.operator().promote("green")
    carrying.passed()
    assert carrying.operator().promote("green")["outcome"] == "promoted"
    found = pointers.read(carrying.registry.bucket, "tiny")
    assert found["production"]["digest"] == carrying.digest
    assert found["history"][-1]["by"] == "arn:ann"


def test_a_version_is_let_through_by_a_reason_that_journal_and_history_keep(carrying):
    done = carrying.operator(unvalidated="outage of the old model").promote("green")
    assert done["outcome"] == "promoted"
    line = next(entry for entry in carrying.operator().journal.entries() if entry["event"] == "unvalidated")
    assert (line["reason"], line["by"]) == ("outage of the old model", "arn:ann")
    assert "has no evaluation record" in line["objections"][0]
    event = pointers.read(carrying.registry.bucket, "tiny")["history"][0]
    assert (event["event"], event["digest"], event["why"]) == ("let through", carrying.digest, line["reason"])


def test_a_rollback_asks_for_no_record_and_says_what_is_in_production_again(carrying):
    carrying.passed()
    carrying.operator().promote("green")
    assert carrying.operator().rollback("by hand")["outcome"] == "rolled back"
    assert carrying.balancer.weights.blue == 100
    found = pointers.read(carrying.registry.bucket, "tiny")
    assert "production" not in found, "blue has the image's own weights"
    assert found["history"][-1]["before"] == carrying.digest


def test_a_colour_whose_version_is_not_there_is_not_staged(carrying):
    carrying.changes = [ENGINE]
    carrying.s3.objects.clear()
    with pytest.raises(RefusedError, match="is not in the registry of this stack"):
        carrying.operator().stage(None, None)
    assert carrying.updates == 0


def test_without_the_rule_and_for_weights_of_the_image_nothing_is_asked_of_the_registry(carrying, tmp_path: Path):
    asked: list[object] = []
    access = Box(stack_file=carrying.file, checkout=tmp_path)

    def look(colours: list[str]) -> None:
        settings = Settings.from_stack_file(carrying.file)
        versions.check_validated(access, settings, colours, Journal(tmp_path), "")  # ty: ignore[invalid-argument-type]

    carrying.s3.get_object = lambda **named: asked.append(named)
    look(["blue"])
    carrying.file.write_text(carrying.file.read_text().replace("      required: true", "      required: false"))
    look(["green"])
    assert asked == []


def test_weights_that_are_no_version_get_no_traffic_where_validation_is_required(carrying, tmp_path: Path):
    text = carrying.file.read_text().replace(f"weights://tiny/{carrying.digest}", "weights://tiny/2026-10-01")
    carrying.file.write_text(text)
    with pytest.raises(RefusedError, match="weights://tiny/2026-10-01 is no version of the registry"):
        carrying.operator().promote("green")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([Running("engine:local", f"s3://b/tiny/{DIGEST}", True)], ""),
        ([], "No engine of tiny is ready"),
        ([Running("engine:local", f"s3://b/tiny/{DIGEST}", False)], "No engine of tiny is ready"),
        ([Running("engine:other", f"s3://b/tiny/{DIGEST}", True)], "run the image engine:other"),
        (
            [Running("engine:local", f"s3://b/tiny/{DIGEST}", True), Running("engine:local", "s3://b/tiny/x", False)],
            "run another version",
        ),
    ],
)
def test_only_engines_that_run_the_version_are_evaluated(found: list[Running], words: str):
    if not words:
        check_running(found, WANTED, "green")
        return
    with pytest.raises(RefusedError, match=words):
        check_running(found, WANTED, "green")
