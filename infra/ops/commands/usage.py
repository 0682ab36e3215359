"""`penstock usage`."""

from __future__ import annotations

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import UsageError

GROUPS = "day, tenant, key, feature, model, colour, zone, route, outcome, intent, pipeline, step"


@click.command()
@stack_option
@click.option("--since", metavar="DAY", help="First day (UTC): 2026-11-01, or 7d. Without it: the first of the month.")
@click.option("--until", metavar="DAY", help="Last day (UTC). Without it: today.")
@click.option("--by", default="tenant", show_default=True, help=f"Columns, with commas between: {GROUPS}.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Rows, dearest first.")
@click.option("--url", envvar="PENSTOCK_GATEWAY_URL", show_envvar=True, help="The gateway. Without it: the stack's.")
@click.option("--key", envvar="PENSTOCK_ADMIN_KEY", show_envvar=True, help="An admin key. Without it: the stack's.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for spreadsheets.")
@json_option
@pass_context
def usage(
    context: Context,
    stack: str,
    since: str | None,
    until: str | None,
    by: str,
    limit: int,
    url: str | None,
    key: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show who used how much: requests, tokens and money from the ledger.

    \b
    JSON: {since, until, by, rows: [{<columns>, requests, failed, estimated, input_tokens,
           output_tokens, cached_tokens, cost_usd, mean_ttft_ms}], truncated}.
    """
    import datetime as dt

    from infra.ops import usage as logic
    from infra.ops.endpoint import Endpoint, normalised

    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other.")
    today = dt.datetime.now(dt.UTC).date()
    first, last = (logic.day_of(text, today) if text else None for text in (since, until))
    groups = [part.strip() for part in by.split(",") if part.strip()]
    if key and url:
        endpoint = Endpoint(normalised(url), key)
    elif key:
        raise UsageError("An admin key needs its gateway's URL.", "Give --url as well.")
    else:
        endpoint = logic.admin_of(context.open(stack).outputs())
    report = logic.ask(endpoint, first, last, groups, limit)
    if as_json:
        echo_json(report.as_dict())
    elif as_csv:
        click.echo(logic.as_csv(report), nl=False)
    else:
        click.echo(logic.as_text(report))
