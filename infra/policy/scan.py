"""An outside opinion: checkov over what the program makes, AWS resources and Kubernetes objects alike.

`make scan` (`python -m infra.policy.scan [--json] [STACK_FILE ...]`). Exits with 1 where something is found that
`scan_exceptions.py` does not name, or where an exception there is needed no more; with 2 where the scanner fails.
The scanner runs in an environment of its own in the cache folder, installed from `.ci/checkov.txt` by hash.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.local.toolchain.environments import InstallError, locked_environment
from infra.policy.scan_exceptions import EXCEPTIONS, Accepted
from infra.policy.terraform_plan import plan
from infra.rehearsal import Rehearsal, rehearse_stack

STACK_FILES = ("Pulumi.dev.yaml", "Pulumi.prod.yaml")
SCAN_SECONDS = 180
ROOT = Path(__file__).resolve().parents[2]


class ScanError(Exception):
    """The scanner could not be installed, or did not answer as it should."""


@dataclass(frozen=True)
class Finding:
    stack: str
    check: str
    resource: str
    what: str


@dataclass(frozen=True)
class Scan:
    passed: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Verdict:
    """Of all stacks together."""

    passed: int
    accepted: tuple[Finding, ...]
    unexplained: tuple[Finding, ...]
    unneeded: tuple[str, ...]
    """Exceptions (check and stack) that no finding needed."""

    @property
    def clean(self) -> bool:
        return not self.unexplained and not self.unneeded


def judge(scans: Mapping[str, Scan], exceptions: Sequence[Accepted] = EXCEPTIONS) -> Verdict:
    """Compares what was found with what is meant. Pure. The keys of `scans` are stack names."""
    used: set[tuple[str, str]] = set()
    accepted, unexplained = [], []
    for stack, scan in scans.items():
        for finding in scan.findings:
            covering = [each for each in exceptions if each.covers(finding.check, finding.resource, stack)]
            used |= {(each.check, stack) for each in covering}
            (accepted if covering else unexplained).append(finding)
    unneeded = [
        f"{each.check} in {stack}"
        for each in exceptions
        for stack in each.stacks
        if stack in scans and (each.check, stack) not in used
    ]
    passed = sum(scan.passed for scan in scans.values())
    return Verdict(passed, tuple(accepted), tuple(unexplained), tuple(unneeded))


def scan(rehearsal: Rehearsal, stack: str, checkov: Path) -> Scan:
    """Writes plan and objects into a folder that is removed at the end. Raises ScanError."""
    objects = [dict(each.inputs) for each in rehearsal.registrations if each.custom and "kubernetes:" in each.type[:11]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan.json").write_text(json.dumps(plan(rehearsal)))
        (folder / "objects.yaml").write_text(yaml.safe_dump_all(objects))
        frameworks = ["--framework", "terraform_plan", "kubernetes"]
        command = [checkov, "--directory", folder, *frameworks, "--output", "json", "--quiet", "--skip-download"]
        # Its home is the folder too: it writes a file of its own there.
        environment = {"PATH": str(checkov.parent), "HOME": name, "LOG_LEVEL": "ERROR"}
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=SCAN_SECONDS, env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise ScanError(f"checkov did not answer: {problem}") from problem
    return read(done.stdout, done.stderr, stack)


def read(answer: str, errors: str, stack: str) -> Scan:
    """Reads checkov's JSON, one report a framework. Raises ScanError where one is missing or could not be parsed."""
    try:
        reports: list[dict[str, Any]] = json.loads(answer)
        by_kind = {report["check_type"]: report for report in reports}
        summaries = [by_kind[kind]["summary"] for kind in ("terraform_plan", "kubernetes")]
        if any(summary["parsing_errors"] or not summary["resource_count"] for summary in summaries):
            raise ScanError(f"{stack}: checkov could not read what it was given: {summaries}")
        findings = [
            Finding(stack, each["check_id"], each["resource"], each["check_name"])
            for report in reports
            for each in report["results"]["failed_checks"]
        ]
        return Scan(sum(summary["passed"] for summary in summaries), tuple(findings))
    except (ValueError, KeyError, TypeError) as problem:
        raise ScanError(f"{stack}: checkov answered {answer[:200]!r} {errors[-500:]!r}") from problem


def scanner() -> Path:
    """checkov's program, installed first where it is missing. Raises ScanError."""
    try:
        return locked_environment("checkov", lambda text: print(text, file=sys.stderr)) / "bin" / "checkov"
    except InstallError as problem:
        raise ScanError(str(problem)) from problem


def told(verdict: Verdict) -> Iterable[str]:
    for finding in verdict.unexplained:
        yield f"{finding.stack}: {finding.resource}: {finding.check} {finding.what}"
    for each in verdict.unneeded:
        yield f"infra/policy/scan_exceptions.py: {each}: no finding needs it any more; remove it"
    yield (
        f"checkov: {verdict.passed} checks passed, {len(verdict.accepted)} findings accepted by name,"
        f" {len(verdict.unexplained)} unexplained"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make scan", description="Runs checkov over what the stack files make.")
    parser.add_argument("files", nargs="*", default=[str(ROOT / name) for name in STACK_FILES], metavar="STACK_FILE")
    parser.add_argument("--json", action="store_true", help="print the verdict for programs")
    asked = parser.parse_args()
    try:
        checkov = scanner()
        stacks = {Path(name).name.split(".")[1]: Path(name) for name in asked.files}
        verdict = judge({stack: scan(rehearse_stack(path), stack, checkov) for stack, path in stacks.items()})
    except ScanError as problem:
        print(f"make scan: {problem}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(verdict), indent=2) if asked.json else "\n".join(told(verdict)))
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
