"""`penstock provider`: keys of outside providers of models."""

from __future__ import annotations

import sys

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option


@click.group()
def provider() -> None:
    """Write the keys of outside providers."""


@provider.command("key")
@click.argument("name")
@stack_option
@json_option
@pass_context
def write(context: Context, name: str, stack: str, as_json: bool) -> None:
    """Write the key of the provider NAME into the stack's secret. It is typed, or comes by a pipe.

    Gateways take up a first key within seconds, and another one within five minutes or when the old one is refused.

    \b
    JSON: {name, written}.
    """
    from infra.ops import providers as logic

    # Never an argument: all processes of a machine can read those.
    text = click.prompt(f"Key of {name}", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    logic.write_key(context.open(stack), name, logic.checked(text))
    if as_json:
        echo_json({"name": name, "written": True})
    else:
        click.echo(f"The key of {name} is written.", err=True)


@provider.command("list")
@stack_option
@json_option
@pass_context
def list_providers(context: Context, stack: str, as_json: bool) -> None:
    """List the providers with a secret, and when a key was written.

    \b
    JSON: a list of {name, secret, written_at}.
    """
    from infra.ops import providers as logic
    from infra.ops.tables import table

    found = logic.listed(context.open(stack))
    if as_json:
        echo_json(found)
    elif not found:
        click.echo("No provider of this stack has a secret.")
    else:
        rows = [(row["name"], row["written_at"] or "no key yet", row["secret"]) for row in found]
        click.echo("\n".join(table(("provider", "written", "secret"), rows, indent="")))
