"""The workflows: every step is a call that a laptop has too, every action is pinned, every job may do little."""

import re
from pathlib import Path

import pytest
import yaml

from infra.ops.ci import workflows
from infra.ops.cli import COMMANDS
from infra.ops.progress import Progress

REPOSITORY = Path(__file__).parents[3]
FILES = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
WRITES = {
    ("review.yml", "comment"): {"pull-requests"},
    ("review.yml", "preview"): {"id-token"},
    ("review.yml", "preview-comment"): {"pull-requests"},
    ("deploy.yml", "dev"): {"id-token"},
    ("deploy.yml", "prod-preview"): {"id-token"},
    ("deploy.yml", "prod"): {"id-token"},
    ("drift.yml", "look"): {"id-token"},
    ("drift.yml", "issue"): {"issues"},
    ("release.yml", "package"): {"contents", "id-token", "attestations"},
    ("release.yml", "image"): {"id-token", "attestations"},
}
"""What a job may write, by file and job. Any other right must be argued for here."""
SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"


def read(file):
    content = yaml.safe_load(file.read_text())
    content["on"] = content.pop(True)  # YAML 1.1 takes the key for a truth value
    return content


WORKFLOWS = {file.name: read(file) for file in FILES}
JOBS = [(file, name, job) for file, content in WORKFLOWS.items() for name, job in content["jobs"].items()]
STEPS = [(file, name, step) for file, name, job in JOBS for step in job["steps"]]
every_job = pytest.mark.parametrize(("file", "name", "job"), JOBS, ids=[f"{file}-{name}" for file, name, _ in JOBS])


def test_the_workflows_are_those_that_the_documentation_names():
    assert set(WORKFLOWS) == {"checks.yml", "review.yml", "deploy.yml", "drift.yml", "rehearsal.yml", "release.yml"}
    text = (REPOSITORY / "docs" / "ci.md").read_text()
    assert all(name in text for name in WORKFLOWS)


def test_every_run_step_is_a_make_target_or_a_penstock_command_that_exists():
    runs = [step["run"] for _, _, step in STEPS if "run" in step]
    for line in (line for run in runs for line in run.strip().splitlines()):
        program, *words = line.split()
        assert program in ("make", "penstock"), line
        assert words, line
        assert words[0] in (TARGETS if program == "make" else COMMANDS), line
        assert "${{" not in line, f"{line}: GitHub writes that text into the shell; hand it over in env"


def test_every_target_that_is_called_says_in_the_help_what_it_does():
    called = {step["run"].split()[1] for _, _, step in STEPS if "run" in step}
    for target in called:
        assert re.search(rf"^{target}:.*## \S", MAKEFILE, re.MULTILINE), target


def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it():
    lines = [line for file in FILES for line in file.read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.fullmatch(rf"\s+uses: {PINNED.pattern} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_version_in_all_workflows():
    used = {step["uses"] for _, _, step in STEPS if "uses" in step}
    assert len({use.partition("@")[0] for use in used}) == len(used)


def test_no_checkout_leaves_its_token_behind():
    checkouts = [step for _, _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(JOBS)
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("file", WORKFLOWS)
def test_a_workflow_has_no_rights_of_its_own_and_one_run_at_a_time(file):
    assert WORKFLOWS[file]["permissions"] == {}
    assert WORKFLOWS[file]["concurrency"]["group"]
    assert "pull_request_target" not in WORKFLOWS[file]["on"]
    assert "workflow_run" not in WORKFLOWS[file]["on"]


@every_job
def test_a_job_may_write_only_what_is_listed(file, name, job):
    rights = job["permissions"]
    assert {right for right, level in rights.items() if level != "read"} == WRITES.get((file, name), set())
    assert set(rights.values()) <= {"read", "write"}
    assert job["timeout-minutes"] <= 120


def test_no_secret_is_used_at_all():
    for file in FILES:
        assert "secrets." not in file.read_text(), f"{file.name}: roles come by OIDC, the rest are variables"


def test_what_runs_for_a_pull_request_of_a_fork_has_no_right_to_write():
    for file, name, job in JOBS:
        if "pull_request" in WORKFLOWS[file]["on"] and (file, name) in WRITES:
            assert SAME_REPOSITORY in job["if"], f"{file} {name}"


@pytest.mark.parametrize("name", ["comment", "preview-comment"])
def test_a_job_that_may_write_a_comment_runs_the_bases_code(name):
    steps = WORKFLOWS["review.yml"]["jobs"][name]["steps"]
    (checkout,) = [step for step in steps if "checkout@" in step.get("uses", "")]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert [step["run"] for step in steps if "run" in step] == ["make review-comment"]


@pytest.mark.parametrize(("made", "shown"), [("diff", "comment"), ("preview", "preview-comment")])
def test_each_report_of_a_stack_is_handed_to_the_job_that_comments(made, shown):
    """By name and folder: GitHub's artifacts are the only way between the two."""
    jobs = WORKFLOWS["review.yml"]["jobs"]
    (up,) = [step["with"] for step in jobs[made]["steps"] if "upload-artifact@" in step.get("uses", "")]
    (down,) = [step["with"] for step in jobs[shown]["steps"] if "download-artifact@" in step.get("uses", "")]
    assert up["name"] == down["name"]
    assert "${{ matrix.stack }}" in up["name"]
    assert Path(up["path"]).parent == Path(down["path"])
    assert made in jobs[shown]["needs"]
    assert jobs[made]["strategy"] == jobs[shown]["strategy"]


@pytest.mark.parametrize(("made", "shown"), [("diff", "comment"), ("preview", "preview-comment")])
def test_the_report_of_one_stack_is_shown_where_the_others_failed(made, shown):
    """A matrix is one job to those that need it: without a word of their own they wait for all of its parts."""
    jobs = WORKFLOWS["review.yml"]["jobs"]
    assert "!cancelled()" in jobs[shown]["if"]
    assert jobs[made]["strategy"]["fail-fast"] is jobs[shown]["strategy"]["fail-fast"] is False


def test_the_real_preview_is_told_last_in_the_same_comment():
    """Both reports begin with the stack's marker, by which the comment is found: the later one stays."""
    assert WORKFLOWS["review.yml"]["jobs"]["preview-comment"]["needs"] == ["comment", "preview"]


def test_previews_of_a_stack_wait_for_each_other_within_a_pull_request_alone():
    """GitHub keeps one run waiting in a group: in one group for all, a third pull request would end the second's."""
    job = WORKFLOWS["review.yml"]["jobs"]["preview"]
    assert job["concurrency"] == {
        "group": "preview-${{ matrix.stack }}-${{ github.event.pull_request.number }}",
        "cancel-in-progress": True,
    }
    assert job["strategy"]["matrix"]["stack"] == ["dev", "prod"]


@every_job
def test_a_job_with_a_role_is_bound_to_an_environment_and_off_in_a_fresh_fork(file, name, job):
    roles = [step for step in job["steps"] if "configure-aws-credentials@" in step.get("uses", "")]
    if not roles:
        assert job["permissions"].get("id-token") != "write" or (file, name) == ("release.yml", "package")
        return
    assert job["environment"]
    needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
    gates = [job.get("if", ""), *(WORKFLOWS[file]["jobs"][each].get("if", "") for each in needs)]
    chained = any(gate for gate in gates if "vars.PENSTOCK_CLOUD == 'on'" in gate)
    behind = any(WORKFLOWS[file]["jobs"][each].get("needs") for each in needs)
    assert chained or behind
    first = [step.get("run") for step in job["steps"]].index("make setup") if file != "release.yml" else 0
    assert first < job["steps"].index(roles[0]), "packages are installed before there are credentials"


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_stack_is_deployed_by_one_run_at_a_time_that_is_never_cancelled(stack):
    job = WORKFLOWS["deploy.yml"]["jobs"][stack]
    assert job["concurrency"] == {"group": f"stack-{stack}", "cancel-in-progress": False}
    drift = WORKFLOWS["drift.yml"]["jobs"]["look"]["concurrency"]
    assert drift == {"group": "stack-${{ matrix.stack }}", "cancel-in-progress": False}
    assert job["environment"] == stack


def test_a_release_uses_no_cache():
    assert not [step for file, _, step in STEPS if file == "release.yml" and "cache" in str(step.get("uses"))]


@pytest.mark.toolchain
@pytest.mark.timeout(600)
def test_actionlint_and_zizmor_find_nothing():
    found = {name: workflows.lint(name, command) for name, command in workflows.commands(Progress(quiet=True)).items()}
    assert found == {"actionlint": "", "zizmor": ""}


BAD = """\
on: pull_request_target
jobs:
  bad:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
        with: {ref: "${{ github.event.pull_request.head.sha }}"}
      - run: echo ${{ github.event.pull_request.title }} ${{ nowhere.at_all }}
"""


@pytest.mark.toolchain
@pytest.mark.timeout(600)
def test_both_linters_find_what_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "bad.yml").write_text(BAD)
    monkeypatch.setattr(workflows, "WORKFLOWS", tmp_path)
    found = {name: workflows.lint(name, command) for name, command in workflows.commands(Progress(quiet=True)).items()}
    assert "nowhere" in found["actionlint"]
    assert "template-injection" in found["zizmor"]
    assert "dangerous-triggers" in found["zizmor"]
