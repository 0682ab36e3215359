"""`penstock tenant`: what tenants may use."""

from __future__ import annotations

from typing import Any

import click

from infra.ops.commands.key import limit_option, url_option
from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import UsageError


@click.group()
def tenant() -> None:
    """Name tenants, and set their limits."""


@tenant.command()
@click.argument("name")
@stack_option
@url_option
@limit_option
@json_option
@pass_context
def create(context: Context, name: str, stack: str, url: str | None, limits: tuple[str, ...], as_json: bool) -> None:
    """Name a tenant. Keys may name one that does not exist; here it gets limits and can be disabled.

    \b
    JSON: {object, name, limits, enabled, keys, created_at, updated_at}.
    """
    from infra.ops import keys as logic

    body: dict[str, Any] = {"name": name}
    if found := logic.pairs(limits, "--limit", logic.LIMITS):
        body["limits"] = found
    _show(logic.call(logic.admin_endpoint(context, stack, url), "POST", "tenants", body), as_json)


@tenant.command("list")
@stack_option
@url_option
@json_option
@pass_context
def list_tenants(context: Context, stack: str, url: str | None, as_json: bool) -> None:
    """List the tenants in the database.

    \b
    JSON: a list of tenants.
    """
    from infra.ops import keys as logic

    found = logic.every(logic.admin_endpoint(context, stack, url), "tenants")
    if as_json:
        echo_json(found)
    else:
        click.echo(logic.tenants_text(found))


@tenant.command("set")
@click.argument("name")
@stack_option
@url_option
@limit_option
@click.option("--no-limits", is_flag=True, help="Take its own limits away: those of the configuration count.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether its keys and tokens are taken.")
@json_option
@pass_context
def change(
    context: Context,
    name: str,
    stack: str,
    url: str | None,
    limits: tuple[str, ...],
    no_limits: bool,
    enabled: bool | None,
    as_json: bool,
) -> None:
    """Set all limits of a tenant anew, or enable or disable it.

    \b
    JSON: {object, name, limits, enabled, keys, created_at, updated_at}.
    """
    from infra.ops import keys as logic

    if limits and no_limits:
        raise UsageError("--limit and --no-limits exclude each other.")
    body: dict[str, Any] = {}
    if limits or no_limits:
        body["limits"] = logic.pairs(limits, "--limit", logic.LIMITS) or None
    if enabled is not None:
        body["enabled"] = enabled
    if not body:
        raise UsageError("There is nothing to set.", "Give --limit, --no-limits, --enable or --disable.")
    endpoint = logic.admin_endpoint(context, stack, url)
    _show(logic.call(endpoint, "PATCH", f"tenants/{logic.part(name)}", body), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    from infra.ops import keys as logic

    if as_json:
        echo_json(found)
    else:
        click.echo(logic.tenants_text([found]))
