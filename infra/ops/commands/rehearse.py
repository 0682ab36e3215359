"""`penstock rehearse`: a stack file's whole life on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from infra.ops.context import Context, echo_json, json_option, pass_context
from infra.ops.errors import UsageError

if TYPE_CHECKING:
    from infra.ops.rehearse import Report


@click.command()
@click.argument("stack")
@click.option(
    "--upgrade-from", metavar="VERSION", help="Begin with this Kubernetes version, and upgrade to the file's."
)
@click.option("--move-to", metavar="REGION", help="Move the stack there and its data with it, in place of the changes.")
@click.option("--keep", is_flag=True, help="Leave the deployed stack and its platform running.")
@click.option("--end", is_flag=True, help="Stop and remove what --keep left, and do nothing else.")
@json_option
@pass_context
def rehearse(
    context: Context,
    stack: str,
    upgrade_from: str | None,
    move_to: str | None,
    keep: bool,
    end: bool,
    as_json: bool,
) -> None:
    """Deploy any stack file on this machine, change it, destroy it.

    STACK is the NAME of Pulumi.NAME.yaml. It goes to a platform of its own, beside the one of
    `penstock up`, with Pulumi's engine, a Kubernetes control plane and the embedded AWS. Pods are
    objects only: they are placed and reported as ready, and no process is started for them.

    The steps: preview, update, an empty preview, a clean refresh; then one change at a time (nodes,
    a model, a colour, a weight, the logs' retention), each with the changes that it must bring
    and no other; then destroy, with nothing left. The platform is removed at the end, whatever
    happens, unless --keep is given.

    It deploys a copy of the file, in which two values differ: the account, wherever it stands, and
    the certificate. They are the embedded AWS's, where the certificate and the administrators' roles
    are made first. With --upgrade-from the Kubernetes version differs, too.

    With --move-to a second stack comes up on a platform of its own, as that region's, rows and objects
    are carried over and counted, the name follows, and the first stack is destroyed.

    \b
    JSON: {stack, resources, seconds, steps: [{name, seconds, resources}]}.
    """
    from infra.ops.rehearse import Rehearsal

    context.require_checkout()
    if end and (keep or upgrade_from or move_to):
        raise UsageError("--end goes without --keep, --upgrade-from and --move-to.")
    if move_to and (keep or upgrade_from):
        raise UsageError("--move-to goes without --keep and --upgrade-from.")
    rehearsal = Rehearsal(context.checkout, stack, context.progress(), upgrade_from=upgrade_from, keep=keep)
    if move_to:
        from infra.ops.rehearsal_move import MoveRehearsal

        rehearsal = MoveRehearsal(context.checkout, stack, context.progress(), region=move_to)
    if end:
        rehearsal.end()
        return
    try:
        rehearsal.run()
    finally:
        if rehearsal.report.steps:
            _print(rehearsal.report, as_json)
    if keep:
        where = rehearsal.state.relative_to(context.checkout)
        click.echo(
            f"\nIt runs on. Look: KUBECONFIG={where / 'pki' / 'admin.kubeconfig'} kubectl get pods -A -o wide\n"
            f"Logs: {where / 'logs'}. End it: penstock rehearse {stack} --end",
            err=True,
        )


def _print(report: Report, as_json: bool) -> None:
    from infra.ops.tables import table

    if as_json:
        echo_json(report.as_dict())
        return
    rows = [
        (step.name, f"{step.seconds:6.1f}", "" if step.resources is None else f"{step.resources:9}")
        for step in report.steps
    ]
    click.echo("\n".join(table(("step", "seconds", "resources"), rows)))
    click.echo(f"\n  {report.stack}: {report.resources} resources, {report.as_dict()['seconds']} s in all")
