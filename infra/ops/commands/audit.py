"""`penstock audit`: whether the audit of admins is as it was written."""

from __future__ import annotations

import click

from infra.ops.commands.key import url_option
from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import PenstockError


@click.group()
def audit() -> None:
    """Check what admins did."""


@audit.command()
@click.option("--head", metavar="ID:HASH", help="A head that a log told of (`audit_head`): its row must still bear it.")
@stack_option
@url_option
@json_option
@pass_context
def check(context: Context, head: str | None, stack: str, url: str | None, as_json: bool) -> None:
    """Reckon the audit's hash chain anew, and name the first row that was changed or is gone.

    Ends with 1 where there is one.

    \b
    JSON: {object, rows, head, broken}; broken: null, or {id, reason}.
    """
    from infra.ops import keys as logic

    query = "" if head is None else f"?head={logic.part(head)}"
    found = logic.call(logic.admin_endpoint(context, stack, url), "GET", f"audit/check{query}")
    broken = found["broken"]
    if as_json:
        echo_json(found)
    elif broken is None:
        click.echo(f"{found['rows']} rows, none changed or gone; the head is {found['head']}")
    if broken is not None:
        raise PenstockError(
            f"The audit is broken at row {broken['id']} of {found['rows']}: {broken['reason']}.",
            "Compare it with a backup of the database; docs/data.md says what heads prove.",
        )
