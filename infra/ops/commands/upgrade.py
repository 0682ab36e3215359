"""`penstock upgrade`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option

if TYPE_CHECKING:
    from infra.ops.upgrade.plan import Plan


@click.group()
def upgrade() -> None:
    """Move Kubernetes, nodes and the database to newer versions, a part at a time."""


@upgrade.command("plan")
@stack_option
@click.option(
    "--to", "kubernetes", metavar="VERSION", help="Kubernetes version; the newest that Penstock knows if left out."
)
@click.option("--database", metavar="VERSION", help="PostgreSQL version; left out, the database stays as it is.")
@click.option("--from-file", is_flag=True, help="Take the stack file for what runs, and ask for no state.")
@json_option
@pass_context
def plan_command(
    context: Context, stack: str, kubernetes: str | None, database: str | None, from_file: bool, as_json: bool
) -> None:
    """Print the steps in their order, with what each disrupts and the way back.

    Each step is one edit of the stack file, one review and one update. What has been done is known by
    the stack's state, so run it again after each step. Nothing is changed.

    \b
    JSON: {stack, read_from, running, to, next, steps: [{number, title, edits, disrupts, back, done, checks}]}.
    """
    from infra.ops.upgrade.plan import Running, plan
    from infra.settings import Settings

    settings = Settings.from_stack_file(context.stack_file(stack))
    running = Running.of_file(settings) if from_file else Running.of_state(context.open(stack).state())
    found = plan(stack, settings, running, kubernetes=kubernetes, database=database)
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo("\n".join(_text(found)))


def _text(found: Plan) -> list[str]:
    running = found.running
    nodes = ", ".join(f"{key} {'/'.join(sorted(set(each)))}" for key, each in running.nodes.items() if each)
    versions = f"Kubernetes {running.kubernetes}; nodes {nodes}; PostgreSQL {running.database or 'none'}"
    lines = [f"{found.stack}, by its {running.source}: {versions}"]
    if found.next is None:
        return [*lines, f"Nothing to do: Kubernetes {found.kubernetes} is everywhere."]
    for number, step in enumerate(found.steps, 1):
        mark = "done" if step.done else "next" if number == found.next else ""
        lines += ["", f"{number}. {step.title}{f' ({mark})' if mark else ''}"]
        if step.done:
            continue
        lines += [f"   penstock:{path}: {value}" for path, value in step.edits.items()]
        lines += _wrapped("look first: ", "; ".join(step.checks)) if step.checks else []
        lines += [*_wrapped("disrupts: ", step.disrupts), *_wrapped("way back: ", step.back)]
    return lines


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent=f"   {head}", subsequent_indent="     ")
