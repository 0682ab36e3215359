"""When each workflow runs, and all that it must do: a step that is taken out is missed here."""

from typing import Any

import pytest

from tests.unit.ops.test_ci_workflows import WORKFLOWS


def targets(file: str, *jobs: str) -> list[str]:
    """The make targets of a workflow's jobs, or of those named, in their order."""
    found = WORKFLOWS[file]["jobs"]
    return [step["run"].split()[1] for name in jobs or found for step in found[name]["steps"] if "run" in step]


def attested(job: str) -> list[dict[str, Any]]:
    steps = WORKFLOWS["release.yml"]["jobs"][job]["steps"]
    return [step["with"] for step in steps if step.get("uses", "").startswith("actions/attest@")]


@pytest.mark.parametrize(
    ("file", "occasions"),
    [
        ("checks.yml", {"pull_request": None, "push": {"branches": ["main"]}}),
        ("review.yml", {"pull_request": None}),
        ("deploy.yml", {"push": {"branches": ["main"]}}),
        ("release.yml", {"push": {"tags": ["v*"]}}),
    ],
)
def test_a_workflow_runs_on_its_occasions_alone(file: str, occasions: dict[str, Any]):
    assert WORKFLOWS[file]["on"] == occasions


@pytest.mark.parametrize(("file", "fields"), [("drift.yml", (True, False)), ("rehearsal.yml", (True, True))])
def test_drift_is_looked_for_each_night_and_all_is_rehearsed_each_week(file: str, fields: tuple[bool, bool]):
    (row,) = WORKFLOWS[file]["on"]["schedule"]
    minute, hour, day, month, weekday = row["cron"].split()
    assert minute.isdigit()
    assert hour.isdigit()
    assert (day, month) == ("*", "*")
    assert (True, weekday.isdigit()) == fields


def test_the_checks_are_lint_types_tests_golden_files_policies_image_and_scan():
    assert set(targets("checks.yml")) == {
        "setup", "lint", "types", "lint-workflows", "test", "golden-check", "scan", "image-scan", "image",
    }  # fmt: skip
    assert not [name for name, job in WORKFLOWS["checks.yml"]["jobs"].items() if "if" in job], (
        "every one, for forks too"
    )


def test_dev_is_deployed_on_merge_and_prod_after_its_preview_by_approval():
    jobs = WORKFLOWS["deploy.yml"]["jobs"]
    assert list(jobs) == ["dev", "prod-preview", "prod"]
    assert (jobs["prod-preview"]["needs"], jobs["prod"]["needs"]) == ("dev", "prod-preview")
    assert targets("deploy.yml", "dev") == ["setup", "preview", "validated", "deploy"]
    assert targets("deploy.yml", "prod-preview") == ["setup", "preview"]
    assert targets("deploy.yml", "prod") == ["setup", "validated", "deploy"]
    assert jobs["prod"]["environment"] == "prod", "whose reviewers are asked"


def test_a_preview_has_the_environment_of_the_role_that_reads():
    for job in (WORKFLOWS["review.yml"]["jobs"]["preview"], WORKFLOWS["drift.yml"]["jobs"]["look"]):
        assert job["environment"] == "preview-${{ matrix.stack }}"
    assert WORKFLOWS["deploy.yml"]["jobs"]["prod-preview"]["environment"] == "preview-prod"


def test_drift_opens_an_issue_also_where_the_look_has_failed():
    jobs = WORKFLOWS["drift.yml"]["jobs"]
    assert targets("drift.yml") == ["setup", "drift", "drift-issue"]
    assert "always()" in jobs["issue"]["if"]


def test_the_weekly_rehearsal_is_the_whole_of_it():
    assert set(targets("rehearsal.yml")) == {"up", "e2e", "down", "test-operators", "test-vllm", "test-rehearsals"}
    assert WORKFLOWS["rehearsal.yml"]["jobs"]["stacks"]["strategy"]["matrix"]["life"] == [
        "local",
        "dev",
        "prod",
        "moves",
    ]


def test_a_release_has_provenance_and_a_bill_of_materials_for_package_and_image():
    assert targets("release.yml", "package") == ["test", "package", "sbom", "release-publish"]
    assert targets("release.yml", "image") == ["image-scan", "image", "sbom", "image-push"]
    for job, bill in (("package", "dist/penstock.cdx.json"), ("image", "dist/penstock-gateway.cdx.json")):
        provenance, made_of = attested(job)
        assert "sbom-path" not in provenance
        assert made_of["sbom-path"] == bill
    provenance, _ = attested("package")
    assert provenance["subject-path"].split() == ["dist/*.whl", "dist/*.tar.gz", "dist/*.cdx.json"]
    for each in attested("image"):
        assert each["subject-digest"] == "${{ steps.push.outputs.digest }}", "what was pushed, and not a tag"
