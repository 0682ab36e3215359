"""What holds for every command: exit codes, JSON, --yes, colours, a closed pipe, completion."""

from __future__ import annotations

import ast
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from infra.ops import cli as entry
from infra.ops import reference
from infra.ops.cli import cli, run
from infra.ops.context import Context
from infra.ops.errors import MEANINGS, ExitCode

WITHOUT_JSON = {
    "eks-token": "its output is JSON, of Kubernetes' own shape",
    "completion": "its output is a script",
}
ASKS_FOR_A_SECRET = {"provider key"}
"""Where nobody is, it is read from standard input."""
ARGUMENTS = {
    "rehearse": ["dev"],
    "chat": ["hello"],
    "key create": ["somebody"],
    "key revoke": ["id"],
    "key rotate": ["id"],
    "key show": ["id"],
    "tenant create": ["somebody"],
    "tenant set": ["somebody", "--disable"],
    "move file": ["--stack", "prod", "--to-stack", "prod2", "--region", "eu-south-2"],
    "move data": ["--stack", "local", "--to-stack", "prod2"],
    "move name": ["--stack", "local", "--to-stack", "prod2"],
    "provider key": ["somebody"],
    "budget set": ["warn", "--for", "1h", "--reason", "test"],
    "release shift": ["green=5"],
    "policy models": ["--role", "reader"],
    "model add": ["tiny", "folder"],
    "model show": ["tiny", "stage"],
    "model promote": ["tiny", "stage"],
    "model rollback": ["tiny"],
    "model remove": ["tiny", "stage", "--yes"],
    "model validate": ["tiny"],
    "eks-token": ["--cluster", "penstock", "--region", "eu-central-1"],
    "completion": ["bash"],
}
"""What a command cannot do without."""
NEEDS_NOTHING = {"version", "completion", "drill list", "eks-token", "doctor"}
"""They answer without a platform, a stack or an account."""


def leaf(path: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for name in path[1:]:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


PATHS = {" ".join(path[1:]): path for path in reference.commands() if not isinstance(leaf(path), click.Group)}


def test_arguments_and_exceptions_are_of_commands_that_exist():
    assert set(ARGUMENTS) | set(WITHOUT_JSON) | LONG <= set(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_help_is_zero_and_an_unknown_option_is_two(name: str, capsys: pytest.CaptureFixture[str]):
    assert run([*PATHS[name][1:], "--help"]) == ExitCode.OK
    assert run([*PATHS[name][1:], "--no-such-option"]) == ExitCode.USAGE
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize("name", PATHS)
def test_json_is_for_programs_on_every_command(name: str):
    options = {option for parameter in leaf(PATHS[name]).params for option in parameter.opts}
    assert ("--json" in options) is (name not in WITHOUT_JSON)


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A checkout with a Pulumi.yaml and nothing else, no platform, no credentials, no network, nobody to ask."""
    (tmp_path / "Pulumi.yaml").write_text("name: penstock\n")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")
    for variable in ("AWS_PROFILE", "PENSTOCK_GATEWAY_URL", "PENSTOCK_API_KEY", "PENSTOCK_STACK", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    return Context(checkout=tmp_path)


SAFE = [name for name in PATHS if name != "up"]  # which would start a platform


@pytest.mark.parametrize("name", SAFE)
def test_where_there_is_nothing_the_end_is_a_documented_code_and_a_sentence(
    name: str, nothing: Context, capsys: pytest.CaptureFixture[str]
):
    code = run([*PATHS[name][1:], *ARGUMENTS.get(name, [])], nothing)
    said = capsys.readouterr()
    assert code in set(ExitCode)
    assert "Traceback" not in said.err + said.out
    assert "\x1b" not in said.err + said.out, "colours are off in a pipe"
    if name in NEEDS_NOTHING or code == ExitCode.OK:
        return
    assert "Usage:" not in said.err, "ARGUMENTS lack something: the command has not begun"
    (error,) = [line for line in said.err.splitlines() if line.startswith("Error: ")]
    assert re.fullmatch(r"Error: [A-Z].*\.", error), "the cause, in a sentence"
    assert re.search(r"`[^`]+`|--[a-z]", error), "the next step: a command, or an option"


@pytest.mark.parametrize("name", [name for name in SAFE if name not in WITHOUT_JSON])
def test_a_program_reads_json_or_nothing(name: str, nothing: Context, capsys: pytest.CaptureFixture[str]):
    """Sentences, progress and questions go to standard error."""
    code = run([*PATHS[name][1:], *ARGUMENTS.get(name, []), "--json"], nothing)
    out = capsys.readouterr().out
    assert out or code != ExitCode.OK
    if out:
        json.loads(out)


def test_every_exit_code_has_a_meaning_on_the_page_and_in_the_help():
    page = reference.PAGE.read_text()
    for code in ExitCode:
        assert f"| {code.value} | {MEANINGS[code]} |" in page
        assert MEANINGS[code] in entry.EPILOG


def calls_of(module: str) -> dict[str, set[str]]:
    """Function of a module -> what it calls, by the names in its text."""
    source = sys.modules[module].__file__
    assert source is not None
    return {
        each.name: {ast.unparse(node.func) for node in ast.walk(each) if isinstance(node, ast.Call)}
        for each in ast.walk(ast.parse(Path(source).read_text()))
        if isinstance(each, ast.FunctionDef)
    }


def called_by(command: click.Command) -> set[str]:
    """All that a command's function calls, by way of functions of its own module as well."""
    assert command.callback is not None
    function = inspect.unwrap(command.callback)
    calls = calls_of(function.__module__)
    found, left = set[str](), {function.__name__}
    while left:
        more = set().union(*(calls.get(name, set()) for name in left)) - found
        found, left = found | more, more
    return found


@pytest.mark.parametrize("name", PATHS)
def test_whatever_asks_takes_yes_and_nothing_else_does(name: str):
    """Commands ask by `asking`, or for the name of the stack that is to go."""
    command = leaf(PATHS[name])
    called = called_by(command)
    assert "click.confirm" not in called, "it asks by itself, and would hang where nobody is"
    options = {option for parameter in command.params for option in parameter.opts}
    asks = bool({"asking", "click.prompt"} & called) and name not in ASKS_FOR_A_SECRET
    assert ("--yes" in options) is asks


LONG = {
    "init", "doctor", "up", "down", "preview", "diff", "rehearse", "preflight", "destroy", "cost", "load", "move data",
    "release stage", "release promote", "release rollback", "release shift", "release attend", "model add",
    "model validate", "policy deployer", "policy preview",
}  # fmt: skip
"""They call AWS many times, run the program, or wait for something; drills do as well."""


@pytest.mark.parametrize("name", sorted(LONG | {name for name in PATHS if name.startswith("drill ")} - {"drill list"}))
def test_long_work_tells_how_far_it_is(name: str):
    assert any("progress" in called.lower() for called in called_by(leaf(PATHS[name])))


def test_colours_are_off_in_a_pipe_and_with_no_color(tmp_path: Path):
    logs = tmp_path / ".penstock" / "local" / "logs"
    logs.mkdir(parents=True)
    for name in ("aws", "etcd"):
        (logs / f"{name}.log").write_text("a line\n")
    context = Context(checkout=tmp_path)
    piped = CliRunner().invoke(cli, ["logs"], obj=context, color=False)
    terminal = CliRunner().invoke(cli, ["logs"], obj=context, color=True)
    refused = CliRunner().invoke(cli, ["logs"], obj=context, color=True, env={"NO_COLOR": "1"})
    assert "\x1b[" in terminal.stdout
    assert "\x1b[" not in piped.stdout + refused.stdout
    assert "aws" in refused.stdout


def piped(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A shell's pipeline; `penstock` is this checkout's."""
    script = f'penstock() {{ "{sys.executable}" -m infra.ops.cli "$@"; }}; {command}; exit "${{PIPESTATUS[0]}}"'
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_a_closed_pipe_ends_quietly():
    done = piped("penstock --help | true")
    assert (done.returncode, done.stderr) in ((ExitCode.PIPE_CLOSED, ""), (ExitCode.OK, ""))


def test_a_chat_whose_reader_goes_ends_quietly(gateway):
    text = "x" * 65536
    gateway.stream = lambda: [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % text.encode()] * 50
    done = piped("penstock chat hello | head -c 10", PENSTOCK_GATEWAY_URL=gateway.url, PENSTOCK_API_KEY="test-key")
    assert (done.stdout, done.stderr, done.returncode) == ("x" * 10, "", ExitCode.PIPE_CLOSED)


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_it_can_read(shell: str, tmp_path: Path):
    script = CliRunner().invoke(cli, ["completion", shell]).stdout
    assert "_PENSTOCK_COMPLETE" in script
    if program := shutil.which(shell):
        path = tmp_path / "script"
        path.write_text(script)
        done = subprocess.run([program, "-n", path], capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("penstock re", {"rehearse", "release"}),
        ("penstock release s", {"shift", "stage", "status"}),
        ("penstock cost --st", {"--stack"}),
        ("penstock cost --stack l", {"local"}),
    ],
)
def test_bash_completes_commands_options_and_stacks(words: str, found: set[str], tmp_path: Path):
    (tmp_path / "penstock").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m infra.ops.cli "$@"\n')
    (tmp_path / "penstock").chmod(0o755)
    script = f"""
        eval "$(penstock completion bash)"
        COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _penstock_completion penstock; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert set(done.stdout.split()) == found


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_what_zsh_and_fish_are_told_has_the_commands(shell: str):
    """The half of the protocol that is ours; the shells run the other half."""
    words = {"COMP_WORDS": "penstock re", "COMP_CWORD": "re" if shell == "fish" else "1"}
    done = CliRunner().invoke(cli, [], prog_name="penstock", env={"_PENSTOCK_COMPLETE": f"{shell}_complete", **words})
    assert "release" in done.stdout
    assert "rehearse" in done.stdout
