"""`penstock release`: move traffic between the colours, and see where it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import RefusedError


@click.group()
def release() -> None:
    """Move traffic between blue and green, and see where it is."""


@release.command()
@click.argument("weights", nargs=-1, required=True, metavar="COLOUR=PERCENT...")
@stack_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--allow-other-changes", is_flag=True, help="Go on where the preview changes more than the weights.")
@click.option("--allow-unhealthy", is_flag=True, help="Go on where a colour without healthy targets would get traffic.")
@json_option
@pass_context
def shift(
    context: Context,
    weights: tuple[str, ...],
    stack: str,
    yes: bool,
    allow_other_changes: bool,
    allow_unhealthy: bool,
    as_json: bool,
) -> None:
    """Set the share of each colour: green=50 gives blue the other 50.

    Edits the two weight lines of Pulumi.STACK.yaml and nothing else, shows the preview, asks, applies,
    and waits until the load balancer reports the new weights. Where something refuses or fails, the
    file is put back. Commit the file afterwards: it is the record of the release.

    \b
    JSON: {before, after, changes, confirmed_seconds}.
    """
    from infra.ops import release as logic
    from infra.ops.weights import parse_shift

    wanted = parse_shift(weights)

    def confirm(lines: Sequence[str]) -> bool:
        click.echo("\n".join(lines), err=True)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise RefusedError("Nobody can be asked: standard input is not a terminal.", "Pass --yes.")
        return click.confirm("Apply?", err=True)

    shifter = logic.Shifter(
        access=context.open(stack),
        progress=context.progress(),
        confirm=confirm,
        validate=logic.validate_stack_file,
        allow_other_changes=allow_other_changes,
        allow_unhealthy=allow_unhealthy,
    )
    done = shifter.shift(wanted)
    if as_json:
        echo_json(done.as_dict())
    elif not done.changes:
        click.echo(f"Nothing to do: the traffic is at {done.after} already.")
    else:
        click.echo(f"Traffic is at {done.after} (was {done.before}).")


@release.command("status")
@stack_option
@json_option
@pass_context
def release_status(context: Context, stack: str, as_json: bool) -> None:
    """Show the weights in the stack file, in the last update and in the load balancer.

    \b
    JSON: {file, deployed, live, healthy_targets, settled, advice}.
    """
    from infra.ops import release as logic

    found = logic.position(context.open(stack))
    if as_json:
        echo_json(
            {
                "file": found.file.as_dict(),
                "deployed": found.deployed.as_dict() if found.deployed else None,
                "live": found.live.as_dict(),
                "healthy_targets": {c: {"healthy": h.healthy, "total": h.total} for c, h in found.health.items()},
                "settled": found.settled,
                "advice": found.advice(),
            }
        )
        return
    click.echo(f"stack file     {found.file}")
    click.echo(f"last update    {found.deployed or 'unknown'}")
    click.echo(f"load balancer  {found.live}")
    click.echo(f"targets        {', '.join(f'{c} {h} healthy' for c, h in found.health.items())}")
    click.echo(found.advice())
