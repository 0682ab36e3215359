import json
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from infra.local import cloud
from infra.ops import cli as entry
from infra.ops import reference
from infra.ops.cli import COMMANDS, cli, run
from infra.ops.context import Context
from infra.ops.errors import ExitCode, NotRunningError, PenstockError, RefusedError, UsageError
from infra.settings import SettingsError


def test_the_help_of_every_command_is_the_committed_page():
    assert reference.page() == reference.PAGE.read_text(), "run `make docs` and review the difference of docs/cli.md"


def test_every_command_says_what_it_does_and_every_option_has_a_help():
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def failing(error: BaseException) -> click.Command:
    @click.command()
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PenstockError("it broke.", "Do this."), 1, "Error: It broke. Do this.\n"),
        (UsageError("Wrong."), 2, "Error: Wrong.\n"),
        (NotRunningError("The platform is down."), 3, "Error: The platform is down.\n"),
        (RefusedError("No."), 4, "Error: No.\n"),
        (cloud.LocalError("the disk is full"), 1, "Error: The disk is full\n"),
        (SettingsError("Pulumi.local.yaml", "penstock", []), 1, "Error: Pulumi.local.yaml: 0 problem(s)"),
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
    ],
)
def test_each_end_has_its_exit_code_and_one_sentence(monkeypatch, capsys, error, code, words):
    monkeypatch.setattr(entry.LazyGroup, "get_command", lambda *_: failing(error))
    assert run(["fail"]) == code
    assert capsys.readouterr().err.startswith(words)


def test_a_fault_of_penstock_itself_is_not_dressed_up(monkeypatch):
    monkeypatch.setattr(entry.LazyGroup, "get_command", lambda *_: failing(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        run(["fail"])


def test_wrong_usage_is_two(capsys):
    assert run(["nonsense"]) == ExitCode.USAGE
    assert run(["release", "shift"]) == ExitCode.USAGE
    assert run(["chat", "x", "--max-tokens", "0"]) == ExitCode.USAGE
    assert run(["release", "shift", "green=fifty"]) == ExitCode.USAGE
    assert "Write COLOUR=PERCENT" in capsys.readouterr().err


def test_without_a_platform_the_exit_code_is_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "Pulumi.yaml").write_text("name: penstock\n")
    here = Context(checkout=tmp_path)
    for arguments in (["status"], ["env"], ["release", "status"], ["release", "shift", "green=5"], ["logs"]):
        assert run(arguments, here) == ExitCode.NOT_RUNNING, arguments
    assert "not running" in capsys.readouterr().err


def test_without_a_checkout_the_error_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["status"], Context(checkout=tmp_path)) == ExitCode.FAILURE
    assert "is not a Penstock checkout" in capsys.readouterr().err


def test_version_prints_json(tmp_path: Path):
    result = CliRunner().invoke(cli, ["version", "--json"], obj=Context(checkout=tmp_path))
    assert json.loads(result.stdout)["pulumi"] == "3.272.0"


def test_a_kubernetes_credential_needs_no_network(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_PROFILE": None}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(cli, ["eks-token", "--cluster", "penstock", "--region", "eu-central-1"])
    credential = json.loads(result.stdout)
    assert credential["kind"] == "ExecCredential"
    assert credential["status"]["token"].startswith("k8s-aws-v1.")


def test_help_imports_nothing_heavy():
    code = "import sys; from infra.ops.cli import run; run(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    for module in ("pulumi", "boto3", "botocore", "aiohttp", "pydantic", "yaml", "grpc", "asyncio"):
        assert f"'{module}'" not in done.stderr, f"`penstock --help` imports {module}"


def test_a_terminated_command_still_puts_things_in_order():
    with pytest.raises(KeyboardInterrupt):
        entry._terminate(signal.SIGTERM, None)


def test_the_page_has_no_path_of_a_machine():
    text = reference.page()
    assert str(Path.home()) not in text
    assert str(Context().checkout) not in text
