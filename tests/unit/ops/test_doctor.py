"""`penstock doctor`: each thing that can be wrong is named with its cause and the next step."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.doctor import account, machine
from infra.ops.doctor.findings import Level, Line, text, verdict
from infra.ops.doctor.machine import Machine
from infra.ops.errors import ExitCode, PenstockError
from infra.ops.preflight.findings import Finding, Status
from infra.ops.setup.plan import Cloud
from infra.policy import held
from tests.unit.ops.test_init import ACCOUNT, CHECKOUT, REGION, SITE, aws, make, planned

__all__ = ["aws"]


def sound(tmp_path: Path, **more: Any) -> Machine:
    defaults: dict[str, Any] = {
        "environment": {},
        "system": "Linux",
        "python": (3, 12),
        "which": lambda name: f"/usr/bin/{name}",
        "free_gib": lambda path: 100.0,
        "memory_mib": lambda: 8000,
        "bind": lambda address, port: None,
    }
    return Machine(tmp_path, **(defaults | more))


def found(lines: list[Line]) -> dict[str, Line]:
    return {line.check: line for line in lines}


def taken(address: str, port: int) -> None:
    if port == 6443:
        raise OSError(errno.EADDRINUSE, "in use")


def no_addresses(address: str, port: int) -> None:
    raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")


PROXY = {"https_proxy": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("more", "check", "level", "words"),
    [
        ({"system": "Darwin"}, "System", "fail", "only Linux has"),
        ({"python": (3, 10)}, "Python", "fail", "too old"),
        ({"which": lambda name: None}, "git", "fail", "not on PATH"),
        ({"which": lambda name: None}, "docker", "warn", "not on PATH"),
        ({"free_gib": lambda path: 0.5}, "Disk, checkout", "fail", "1 GiB are needed"),
        ({"memory_mib": lambda: 900}, "Memory", "fail", "900 MiB are free"),
        ({"memory_mib": lambda: None}, "Memory", "warn", "cannot be read"),
        ({"bind": no_addresses}, "Addresses", "fail", "cannot be used"),
        ({"bind": taken}, "Ports", "fail", "6443 (the Kubernetes API server)"),
        ({"environment": PROXY}, "Proxies", "warn", "go astray"),
        ({"environment": {"PYTHONDONTWRITEBYTECODE": "1"}}, "Bytecode", "warn", "seconds more"),
    ],
)
def test_what_a_machine_lacks_is_named_with_a_next_step(
    tmp_path: Path, more: dict[str, Any], check: str, level: str, words: str
):
    line = found(list(machine.checks(sound(tmp_path, **more))))[check]
    assert (line.level, words in line.found) == (level, True), line
    assert line.next_step


def test_a_sound_machine_has_no_failure_and_a_proxy_that_spares_it_is_well(tmp_path: Path):
    lines = list(machine.checks(sound(tmp_path, environment={**PROXY, "NO_PROXY": "localhost,127.0.0.0/8"})))
    assert verdict(lines) is ExitCode.OK
    assert {line.level for line in lines} <= {Level.OK, Level.WARN}
    assert all(line.next_step for line in lines if line.level is not Level.OK)


def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "SECONDS", 0.05)
    assert machine.run(["sleep", "30"], {"PATH": "/usr/bin:/bin"})[0] == 124
    assert machine.run(["no-such-program"], {"PATH": ""})[0] == 127


def no_kubectl(command: list[str], environment: Any) -> tuple[int, str]:
    return 1, "connection refused"


def asked(cloud: Cloud, **more: Any) -> dict[str, Line]:
    environment = {"PULUMI_BACKEND_URL": SITE.backend, held.VARIABLE: str(held.PACK)}
    arguments: dict[str, Any] = {"preflight": list, "execute": no_kubectl} | more
    return found(list(account.checks(cloud, more.pop("site", SITE), environment, **arguments)))


def test_an_account_after_init_is_sound(aws: Cloud):
    make(planned(aws))
    lines = asked(aws)
    assert {name for name, line in lines.items() if line.level is not Level.OK} == {"Kubernetes"}
    assert lines["Role penstock-deploy-dev"].found == "repo:acme/llm:environment:dev"


@pytest.mark.parametrize(
    ("environment", "level", "next_step"),
    [
        ({held.VARIABLE: str(held.PACK)}, Level.OK, ""),
        ({}, Level.WARN, f"export {held.VARIABLE}=infra/policy"),
        ({held.WITHOUT: "an experiment"}, Level.WARN, f"unset {held.WITHOUT}"),
    ],
)
def test_a_shell_whose_previews_nobody_looks_at_is_told(environment: dict[str, str], level: Level, next_step: str):
    line = account._policies(environment)
    assert (line.level, line.next_step or "") == (level, next_step)


def test_an_account_before_init_is_told_the_command(aws: Cloud):
    lines = asked(aws)
    assert lines["S3 bucket"].level is Level.FAIL
    assert lines["KMS key"].next_step == "penstock init state --stack dev"
    assert lines["GitHub OIDC"].level is Level.WARN


def test_a_bucket_without_versions_and_a_role_that_trusts_all_branches_fail(aws: Cloud):
    make(planned(aws))
    aws.client("s3").put_bucket_versioning(Bucket=SITE.bucket, VersioningConfiguration={"Status": "Suspended"})
    trust = aws.client("iam").get_role(RoleName="penstock-deploy-dev")["Role"]["AssumeRolePolicyDocument"]
    loose = json.dumps(trust).replace("environment:dev", "*")
    aws.client("iam").update_assume_role_policy(RoleName="penstock-deploy-dev", PolicyDocument=loose)
    lines = asked(aws)
    assert "every version is kept" in lines["S3 bucket"].found
    assert lines["Role penstock-deploy-dev"].level is Level.FAIL


@pytest.mark.parametrize(("minutes", "level"), [(0, Level.OK), (7, Level.FAIL), (-7, Level.FAIL)])
def test_a_clock_that_is_off_is_told(minutes: int, level: Level):
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    caller = {"ResponseMetadata": {"HTTPHeaders": {"date": "Sat, 21 Nov 2026 12:00:00 GMT"}}}
    (line,) = account._clock(caller, now + timedelta(minutes=minutes))
    assert line.level is level


def test_another_account_ends_the_questions(aws: Cloud):
    from dataclasses import replace

    lines = list(account.checks(aws, replace(SITE, account="999999999999"), {}, list, execute=no_kubectl))
    assert [line.check for line in lines] == ["Caller", "Pulumi backend", "Policies"]
    assert lines[0].level is Level.FAIL


def test_without_credentials_the_next_step_is_to_log_in():
    def client(service: str) -> Any:
        from botocore.exceptions import NoCredentialsError

        class Client:
            def get_caller_identity(self) -> None:
                raise NoCredentialsError

        return Client()

    first = next(account.checks(Cloud(client), SITE, {}, list))
    assert (first.level, "aws sso login" in first.next_step) == (Level.FAIL, True)


def failing() -> list[Finding]:
    raise PenstockError("It broke.")


@pytest.mark.parametrize(
    ("preflight", "level"),
    [
        (lambda: [Finding("Quota", "8", "4", Status.LACKS, "request more")], Level.FAIL),
        (lambda: [Finding("Quota", "8", "?", Status.UNKNOWN)], Level.WARN),
        (lambda: [Finding("Quota", "8", "9", Status.FITS)], Level.OK),
        (failing, None),
    ],
)
def test_what_preflight_finds_is_told_in_the_same_words(preflight: Callable[[], list[Finding]], level: Level | None):
    lines = found(list(account._fits(preflight)))
    assert lines["Quota" if level else "Quotas"].level is (level or Level.WARN)


def test_the_text_has_levels_causes_and_next_steps():
    lines = [Line("Memory", Level.FAIL, "little", "End programs."), Line("Python", Level.OK, "3.12")]
    assert text(lines).splitlines()[-1] == "1 ok, 1 fail"
    assert "End programs." in text(lines)


def test_the_command_ends_with_one_where_a_line_failed(aws: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("infra.ops.preflight.run.preflight", lambda asked: [])
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(path.read_text().replace("111122223333", ACCOUNT).replace("eu-central-1", REGION))
    result = CliRunner().invoke(
        cli, ["doctor", "--stack", "dev", "--json"], obj=Context(checkout=tmp_path), standalone_mode=False
    )
    told = json.loads(result.stdout)
    assert (result.return_value, told["ok"]) == (1, False)
    assert {"Caller", "S3 bucket", "System"} <= {line["check"] for line in told["lines"]}
