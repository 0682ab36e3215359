import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from infra.local import cloud
from infra.ops import cli as entry
from infra.ops.cli import COMMANDS, cli, run
from infra.ops.context import Context
from infra.ops.errors import ExitCode, NotRunningError, PenstockError, RefusedError, UsageError
from infra.settings import SettingsError

GOLDEN = Path(__file__).with_name("help.txt")


def help_of_everything() -> str:
    """The help of each command, as a terminal of 100 columns shows it."""
    pages = []

    def walk(command: click.Command, path: list[str]) -> None:
        result = CliRunner().invoke(cli, [*path[1:], "--help"], prog_name="penstock", terminal_width=100)
        assert result.exit_code == 0
        pages.append(f"$ {' '.join(path)} --help\n{result.output}")
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(child, [*path, name])

    walk(cli, ["penstock"])
    return "\n".join(pages)


def test_the_help_is_the_committed_one():
    text = help_of_everything()
    if os.environ.get("PENSTOCK_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "run `make golden` and review the difference"


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


def test_a_closed_pipe_ends_quietly():
    command = f'"{sys.executable}" -m infra.ops.cli --help | true; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    assert "Traceback" not in done.stderr


def test_a_terminated_command_still_puts_things_in_order():
    with pytest.raises(KeyboardInterrupt):
        entry._terminate(signal.SIGTERM, None)


def test_the_golden_file_has_no_path_of_a_machine():
    text = GOLDEN.read_text()
    assert str(Path.home()) not in text
    assert str(Context().checkout) not in text
