"""The entry point of `penstock`: finds a command, runs it, and turns its end into an exit code.

Commands are imported when they are named, and what they need when they run: `penstock --help` stays quick.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from infra.ops.context import Context
from infra.ops.errors import MEANINGS, ExitCode, PenstockError, Terminated

COMMANDS = {
    "init": "init:init",
    "doctor": "doctor:doctor",
    "up": "platform:up",
    "down": "platform:down",
    "preview": "platform:preview",
    "diff": "diff:diff",
    "rehearse": "rehearse:rehearse",
    "preflight": "preflight:preflight",
    "cost": "cost:cost",
    "status": "status:status",
    "chat": "chat:chat",
    "console": "console:console",
    "usage": "usage:usage",
    "key": "key:key",
    "tenant": "tenant:tenant",
    "provider": "provider:provider",
    "budget": "budget:budget",
    "audit": "audit:audit",
    "logs": "logs:logs",
    "env": "env:env",
    "release": "release:release",
    "model": "model:model",
    "load": "load:load",
    "drill": "drill:drill",
    "policy": "policy:policy",
    "destroy": "destroy:destroy",
    "upgrade": "upgrade:upgrade",
    "move": "move:move",
    "migrate": "migrate:migrate",
    "eks-token": "eks_token:eks_token",
    "completion": "completion:completion",
    "version": "version:version",
}
"""Name to `module:attribute` in `infra.ops.commands`, in the order of the help."""

EPILOG = (
    "\b\nExit codes:\n"
    + "".join(f"  {code:<4} {MEANINGS[code]}\n" for code in ExitCode)
    + """
Progress goes to standard error, data to standard output. NO_COLOR switches colours off, and a pipe does too.

Completion of commands, options and stacks: `penstock completion bash` (zsh, fish).
"""
)


class ReaderHasGoneError(Exception):
    """Standard output is closed. Not an OSError, which click would turn into the exit code 1."""


@contextmanager
def telling_of_a_closed_pipe() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderHasGoneError from None


class LazyGroup(click.Group):
    """A group whose commands are modules that are imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        return getattr(importlib.import_module(f"infra.ops.commands.{module}"), attribute)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with telling_of_a_closed_pipe():  # --help and --version print here
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> object:
        with telling_of_a_closed_pipe():
            return super().invoke(ctx)


@click.group(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="penstock", prog_name="penstock")
@click.pass_context
def cli(context: click.Context) -> None:
    """Run large language models on your own AWS account, or the whole platform on this machine.

    `penstock up` starts it here, `penstock chat` asks it, `penstock release shift` moves its traffic.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False  # else click looks only whether it writes to a terminal
    context.obj = context.obj or Context()


def run(arguments: Sequence[str] | None = None, context: Context | None = None) -> int:
    """Runs one command line and returns its exit code. Errors are printed to standard error."""
    try:
        result = cli.main(arguments, prog_name="penstock", standalone_mode=False, obj=context)
    except click.exceptions.Abort:
        click.echo("Interrupted.", err=True)
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PenstockError as error:
        return _failed(str(error), error.exit_code)
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        return ExitCode.INTERRUPTED
    except ReaderHasGoneError:
        return ExitCode.PIPE_CLOSED
    except Exception as error:
        if not expected(error):
            raise
        return _failed(str(error), ExitCode.FAILURE)
    return result if isinstance(result, int) else ExitCode.OK


def main() -> None:
    os.environ.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # each program run would compile Pulumi's SDKs anew: 5 s on two cores
    signal.signal(signal.SIGTERM, _terminate)  # so that a shift that is told to end still puts its file in order
    code = run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.PIPE_CLOSED
    if code == ExitCode.PIPE_CLOSED:
        _leave_pipe()
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated  # imported before: a signal may come in the middle of any import


def _failed(message: str, code: ExitCode) -> int:
    click.echo(f"Error: {message[:1].upper()}{message[1:]}", err=True)
    return code


SENTENCES = {
    "infra.local.cloud": ("LocalError",),
    "infra.settings": ("SettingsError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
}
"""Errors whose text is for people. They are looked up only where their module was used: importing it here is slow."""


def expected(error: Exception) -> bool:
    kinds = (
        getattr(sys.modules[module], name)
        for module in SENTENCES
        if module in sys.modules
        for name in SENTENCES[module]
    )
    return isinstance(error, tuple(kinds))


def _leave_pipe() -> None:
    """The reader has gone; without this the interpreter complains when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
