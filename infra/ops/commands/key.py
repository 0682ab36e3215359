"""`penstock key`: who may ask the gateway."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option

ROUTES = (
    "chat", "completions", "responses", "embeddings", "tokenize", "detokenize", "files", "batches", "jobs", "retrieval"
)  # fmt: skip
LONGEST_OVERLAP_SECONDS = 30 * 86_400


def url_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--url",
        help="The gateway whose admin key is in PENSTOCK_ADMIN_KEY; with such a key PENSTOCK_GATEWAY_URL counts too. "
        "Without it: the stack's.",
    )(function)


def limit_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=NUMBER",
        help="Such as tokens_per_minute=100000 or usd_per_day=5; may be given several times.",
    )(function)


@click.group()
def key() -> None:
    """Make, list, rotate and revoke API keys."""


@key.command()
@click.argument("name")
@stack_option
@url_option
@click.option("--tenant", default="default", show_default=True, help="Whose requests these are.")
@click.option("--model", "models", multiple=True, help="A model that may be asked; without any: all.")
@click.option("--route", "routes", multiple=True, type=click.Choice(ROUTES), help="A route; without any: all.")
@click.option("--priority", type=click.Choice(["interactive", "batch"]), default="interactive", show_default=True,
              help="Batch is shed first.")  # fmt: skip
@click.option("--expires", metavar="TIME", help="30d, 12h, 2027-01-31 or a time with its zone. Without it: never.")
@click.option("--max-output-tokens", type=click.IntRange(min=1), help="Ceiling of each answer, on every model.")
@limit_option
@json_option
@pass_context
def create(
    context: Context,
    name: str,
    stack: str,
    url: str | None,
    tenant: str,
    models: tuple[str, ...],
    routes: tuple[str, ...],
    priority: str,
    expires: str | None,
    max_output_tokens: int | None,
    limits: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a key. It is printed now, and never again; NAME says for people what it is for.

    \b
    JSON: the key as the admin API shows it, with `key` and `warnings`.
    """
    from infra.ops import keys as logic

    body: dict[str, Any] = {"name": name, "tenant": tenant, "priority": priority}
    given = {
        "models": list(models) or None,
        "routes": list(routes) or None,
        "expires_at": logic.moment(expires, dt.datetime.now(dt.UTC)) if expires else None,
        "max_output_tokens": max_output_tokens,
        "limits": logic.pairs(limits, "--limit", logic.LIMITS) or None,
    }
    body |= {field: value for field, value in given.items() if value is not None}
    _show_new(logic.call(logic.admin_endpoint(context, stack, url), "POST", "keys", body), as_json)


@key.command("list")
@stack_option
@url_option
@click.option("--tenant", help="Of this tenant alone.")
@json_option
@pass_context
def list_keys(context: Context, stack: str, url: str | None, tenant: str | None, as_json: bool) -> None:
    """List the keys in the database.

    \b
    JSON: a list of keys as the admin API shows them.
    """
    from infra.ops import keys as logic

    found = logic.every(logic.admin_endpoint(context, stack, url), "keys", tenant=tenant)
    if as_json:
        echo_json(found)
    else:
        click.echo(logic.keys_text(found, dt.datetime.now(dt.UTC)))


@key.command()
@click.argument("identity", metavar="ID")
@stack_option
@url_option
@json_option
@pass_context
def show(context: Context, identity: str, stack: str, url: str | None, as_json: bool) -> None:
    """Show one key: all but the key itself, which nobody has.

    \b
    JSON: the key as the admin API shows it.
    """
    from infra.ops import keys as logic

    found = logic.call(logic.admin_endpoint(context, stack, url), "GET", f"keys/{logic.part(identity)}")
    if as_json:
        echo_json(found)
    else:
        click.echo(logic.facts_text(found))


@key.command()
@click.argument("identity", metavar="ID")
@stack_option
@url_option
@click.option(
    "--overlap-seconds",
    type=click.IntRange(0, LONGEST_OVERLAP_SECONDS),
    default=0,
    show_default=True,
    help="How long the key before is still taken.",
)
@json_option
@pass_context
def rotate(context: Context, identity: str, stack: str, url: str | None, overlap_seconds: int, as_json: bool) -> None:
    """Replace a key. The new one is printed now, and never again.

    \b
    JSON: the key as the admin API shows it, with `key`.
    """
    from infra.ops import keys as logic

    endpoint = logic.admin_endpoint(context, stack, url)
    body = {"overlap_seconds": overlap_seconds}
    _show_new(logic.call(endpoint, "POST", f"keys/{logic.part(identity)}/rotate", body), as_json)


@key.command()
@click.argument("identity", metavar="ID")
@stack_option
@url_option
@json_option
@pass_context
def revoke(context: Context, identity: str, stack: str, url: str | None, as_json: bool) -> None:
    """Refuse a key from now on, for good: everywhere within a second. Answers under way go on.

    \b
    JSON: the key as the admin API shows it.
    """
    from infra.ops import keys as logic

    endpoint = logic.admin_endpoint(context, stack, url)
    found = logic.call(endpoint, "POST", f"keys/{logic.part(identity)}/revoke", {})
    if as_json:
        echo_json(found)
    else:
        click.echo(f"The key {found['id']} ({found['name']}) is revoked.")


def _show_new(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json(made)
        return
    click.echo(made["key"])
    click.echo(
        f"{made['id']} ({made['name']}), tenant {made['tenant']}. Keep the key: it is not shown again.", err=True
    )
    for warning in made.get("warnings", []):
        click.echo(f"Warning: {warning}.", err=True)
