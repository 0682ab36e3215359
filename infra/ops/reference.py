"""The reference page of the command, written from its own help: `python -m infra.ops.reference`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import click

from infra.ops.cli import cli
from infra.ops.errors import MEANINGS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
WIDTH = 100
HEAD = """# The `penstock` command

Written by `make docs` from the command itself. Data goes to standard output, progress and questions to standard error.
Colours are on where a terminal reads, and off in a pipe and with `NO_COLOR`.

- `--json` prints JSON for programs, on every command that prints data. Its shape stands in the command's help.
- Whatever asks before it changes something takes `--yes`. Where nobody can be asked, and without `--yes`, it changes
  nothing and ends with 4.
- An error is one sentence with the cause and one with the next step, behind `Error:` on standard error.
- `penstock completion bash` (`zsh`, `fish`) prints a script for the shell.

## Exit codes

| code | meaning |
|---|---|
"""
OWN_CODES = """
`penstock preflight` and `penstock doctor` give 2 a meaning of their own as well (cannot tell), and `penstock diff
--exit-code`, `preview --expect-no-changes` end with 4 where what they look for is there. An end that is not in this
table, such as a traceback, is a fault of Penstock: please report it.
"""


def commands(command: click.Command = cli, path: tuple[str, ...] = ("penstock",)) -> Iterator[tuple[str, ...]]:
    """The path of each command and group, depth first."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from commands(child, (*path, name))


def help_of(path: tuple[str, ...]) -> str:
    """The help as a terminal of 100 columns shows it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        cli.main(
            [*path[1:], "--help"], prog_name="penstock", standalone_mode=False, terminal_width=WIDTH,
        )  # fmt: skip
    return said.getvalue()


def page() -> str:
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    parts = [HEAD + codes + OWN_CODES]
    parts += [f"## `{' '.join(path)}`\n\n```text\n{help_of(path)}```\n" for path in commands()]
    return "\n".join(parts)


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
