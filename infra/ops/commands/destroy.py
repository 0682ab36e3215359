"""`penstock destroy`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from infra.ops.asking import yes_option
from infra.ops.context import Context, echo_json, json_option, stack_option
from infra.ops.errors import ExitCode, RefusedError

if TYPE_CHECKING:
    from infra.ops.destroy.run import Destroy, Report


@click.command()
@stack_option
@click.option(
    "--dry-run", is_flag=True, help="Show the phases, what is protected and what data would go; touch nothing."
)
@yes_option
@click.option(
    "--patience",
    "patience_seconds",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    help="Seconds that a controller has for its finalizers before Penstock keeps their promise itself.",
)
@json_option
@click.pass_context
def destroy(
    click_context: click.Context, stack: str, dry_run: bool, yes: bool, patience_seconds: float, as_json: bool
) -> None:
    """Take a whole stack away, in the order that leaves nothing behind.

    Traffic first, then what starts pods, the pods, Karpenter's nodes, bindings, controllers, nodes,
    the cluster, data, the network. Refused while anything is protected. Safe to repeat after a failure.
    Exits with 1 where something is left that bears the stack's tags.

    \b
    JSON: {stack, phases: [{name, resources, seconds}], finalizers: [{object, finalizer, why}],
           interfaces, left: [{arn, kind, usd_per_month}]}; with --dry-run
          {stack, phases: [{name, why, resources}], protected, data}.
    """
    from infra.ops.cost import prices
    from infra.ops.destroy.run import Destroy

    context = click_context.find_object(Context) or Context()
    work = Destroy(context.open(stack), context.progress(), patience_seconds)
    if dry_run:
        if as_json:
            echo_json(work.plan_as_dict())
        else:
            click.echo("\n".join(_planned(work)))
        return
    work.check()
    if not yes:
        click.echo("\n".join(_planned(work)), err=True)
        if not sys.stdin.isatty():
            raise RefusedError("Nobody can be asked: standard input is not a terminal.", "Pass --yes.")
        if click.prompt(f"Type the stack's name to destroy it ({stack})", err=True) != stack:
            raise RefusedError(f"That is not {stack}: nothing was deleted.")
    table, remarks = prices.load(work.region, prices.cache_file(work.region))
    report = work.run(table)
    if as_json:
        echo_json(report.as_dict())
    else:
        for remark in remarks:
            click.echo(remark, err=True)
        click.echo(_text(report))
    if report.left:
        click_context.exit(ExitCode.FAILURE)


def _planned(work: Destroy) -> list[str]:
    from infra.ops.destroy import phases

    lines = ["In this order:", *phases.described(work.plan())]
    if held := work.protected():
        lines += [f"Protected, so refused: {len(held)}", *(f"  {each}" for each in held)]
    if data := work.lost():
        lines += ["Data that goes with it:", *(f"  {each}" for each in data)]
    return lines


def _text(report: Report) -> str:
    lines = [f"{each.resources:4} {each.phase:18} {each.seconds:6.1f} s" for each in report.done]
    lines += [f"{each.object}: {each.finalizer} taken off, for {each.why}" for each in report.freed]
    lines += [f"{each} deleted: it was left in the network" for each in report.interfaces]
    if not report.left:
        return "\n".join([*lines, "Nothing bears the stack's tags any more."])
    lines.append("Left, by tag:")
    for each in report.left:
        price = "price unknown" if each.usd is None else f"{each.usd:.2f} USD a month"
        lines.append(f"  {each.arn}  {price}")
    known = sum(each.usd or 0 for each in report.left)
    return "\n".join([*lines, f"Known to cost {known:.2f} USD a month."])
