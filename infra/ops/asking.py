"""Questions before a change: asked on a terminal, answered by --yes elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click

from infra.ops.errors import RefusedError

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def asking(yes: bool, question: str = "Apply?") -> Callable[[Sequence[str]], bool]:
    """Shows the lines, then asks. Raises RefusedError where nobody can be asked."""

    def confirm(lines: Sequence[str]) -> bool:
        if lines:
            click.echo("\n".join(lines), err=True)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise RefusedError("Nobody can be asked: standard input is not a terminal.", "Pass --yes.")
        return click.confirm(question, err=True)

    return confirm
