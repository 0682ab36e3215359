"""`penstock logs`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from infra.ops.context import Context, echo_json, json_option, pass_context

if TYPE_CHECKING:
    from infra.ops.logfiles import LogFile


@click.command()
@click.argument("name", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--tail", "-n", type=click.IntRange(min=0), default=50, show_default=True, help="Lines from the end.")
@click.option("--list", "only_list", is_flag=True, help="Print the names of all logs and stop.")
@json_option
@pass_context
def logs(context: Context, name: str | None, follow: bool, tail: int, only_list: bool, as_json: bool) -> None:
    """Show logs of the local platform.

    NAME is `gateway`, `engine`, a pod, or one of the platform's servers; the start of a name is enough.
    Without it: everything. Works after a crash too: the files stay until `penstock down`.

    \b
    JSON: one object a line, {log, line}; with --list one list of names.
    """
    from infra.local.layout import Layout
    from infra.ops import logfiles
    from infra.ops.errors import NotRunningError

    folder = Layout.default_state(context.checkout) / "logs"
    if not folder.is_dir():
        raise NotRunningError("There are no logs: no local platform was started here.", "Start it with `penstock up`.")
    files = logfiles.find(folder)
    if only_list:
        names = [file.name for file in files]
        if as_json:
            echo_json(names)
        else:
            click.echo("\n".join(names))
        return
    chosen = logfiles.select(files, name)
    positions = {}
    for file in chosen:
        lines, positions[file.path] = logfiles.tail(file.path, tail)
        for line in lines:
            _print(file.name, line, len(chosen) > 1, as_json)
    if follow:
        for file, line in logfiles.follow(lambda: _still(logfiles.find(folder), name), positions):
            _print(file.name, line, len(chosen) > 1, as_json)


def _still(files: Sequence[LogFile], name: str | None) -> Sequence[LogFile]:
    """The wanted logs that exist now: pods come and go while one watches."""
    from infra.ops import logfiles
    from infra.ops.errors import UsageError

    try:
        return logfiles.select(files, name)
    except UsageError:
        return []


def _print(name: str, line: str, with_name: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"log": name, "line": line}))
        return
    click.echo(f"{click.style(name, dim=True)} | {line}" if with_name else line)
