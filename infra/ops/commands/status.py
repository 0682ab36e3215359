"""`penstock status`."""

from __future__ import annotations

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option


@click.command()
@stack_option
@json_option
@pass_context
def status(context: Context, stack: str, as_json: bool) -> None:
    """Show colours and weights, models, pods per zone, engines, cost.

    Everything is asked at once. A part that does not answer is named and the rest is shown.

    \b
    JSON:
      stack, state, region   which stack, and what it is
      urls                   gateway, kubernetes, database, cache
      models                 names that clients may send
      weights                {file, live, differ}: per cent, by colour
      targets                by colour: {healthy, total}
      pods                   [{name, app, colour, zone, ip, phase, ready, model, reason}]
      engines                by pod: {running, waiting, kv_cache_usage}
      gateways               by pod: {requests, failed, input_tokens, output_tokens, cost_usd}
      totals                 the gateways' sum, since they started
      missing                by part: why it could not be had
    """
    from infra.ops import status as logic
    from infra.ops.status_text import render

    found = logic.collect(context.open(stack))
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo(render(found))
