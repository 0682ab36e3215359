"""`penstock budget`: how near the budget's end gateways act, and an admin's word over it."""

from __future__ import annotations

from typing import Any

import click

from infra.ops.commands.key import url_option
from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option

LEVELS = ("normal", "warn", "cheaper", "no_batch", "capped")


@click.group()
def budget() -> None:
    """See and set what the gateways do about spent budgets."""


@budget.command()
@stack_option
@url_option
@json_option
@pass_context
def status(context: Context, stack: str, url: str | None, as_json: bool) -> None:
    """Show the level, why it holds, and what it does.

    \b
    JSON: {object, level, automatic_level, reason, since, override, acts, thresholds, signals}.
    """
    from infra.ops import keys as logic

    _show(logic.call(logic.admin_endpoint(context, stack, url), "GET", "budget"), as_json)


@budget.command("set")
@click.argument("level", type=click.Choice(LEVELS))
@click.option(
    "--for", "span", required=True, metavar="TIME", help="How long: 30m, 12h or 7d. Then budgets count again."
)
@click.option("--reason", required=True, help="Why, for the audit.")
@stack_option
@url_option
@json_option
@pass_context
def set_level(context: Context, level: str, span: str, reason: str, stack: str, url: str | None, as_json: bool) -> None:
    """Set the level over what budgets say, up or down, for a time.

    \b
    JSON: as of `penstock budget status`.
    """
    from infra.ops import budget as spans
    from infra.ops import keys as logic

    body = {"level": level, "seconds": spans.seconds(span), "reason": reason}
    _show(logic.call(logic.admin_endpoint(context, stack, url), "PUT", "budget/override", body), as_json)


@budget.command()
@stack_option
@url_option
@json_option
@pass_context
def clear(context: Context, stack: str, url: str | None, as_json: bool) -> None:
    """End an override: budgets count again.

    \b
    JSON: as of `penstock budget status`.
    """
    from infra.ops import keys as logic

    _show(logic.call(logic.admin_endpoint(context, stack, url), "DELETE", "budget/override"), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    from infra.ops import budget as logic

    if as_json:
        echo_json(found)
    else:
        click.echo(logic.text(found))
