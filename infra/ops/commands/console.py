"""`penstock console`: where the operator's page is, and the key that opens it."""

from __future__ import annotations

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option


@click.command()
@stack_option
@json_option
@pass_context
def console(context: Context, stack: str, as_json: bool) -> None:
    """Print the address of the operator's page, and the admin key to sign in with.

    The page is there for the networks in edge.adminCidrs alone. The key opens the admin API: keep it.

    \b
    JSON: {url, admin_key}.
    """
    from infra.ops.usage import admin_of

    endpoint = admin_of(context.open(stack).outputs())
    url = f"{endpoint.url}/console"
    if as_json:
        echo_json({"url": url, "admin_key": endpoint.key})
    else:
        click.echo(f"{url}\nadmin key: {endpoint.key}")
