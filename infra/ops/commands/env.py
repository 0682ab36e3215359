"""`penstock env`."""

from __future__ import annotations

import os
from typing import Any, cast

import click

from infra.ops.context import Context, echo_json, pass_context
from infra.ops.errors import NotRunningError


@click.command()
@click.option(
    "--shell", type=click.Choice(["sh", "fish"]), default="sh", show_default=True, help="sh suits bash and zsh."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object of variables instead.")
@pass_context
def env(context: Context, shell: str, as_json: bool) -> None:
    """Print a shell's variables for the local platform.

    \b
      eval "$(penstock env)"                  bash, zsh
      penstock env --shell fish | source      fish

    Then `pulumi preview -s local`, `kubectl get pods`, any AWS client, and any OpenAI client work
    in that shell. It sets PULUMI_*, AWS_*, KUBECONFIG and PATH, and for the deployed gateway
    PENSTOCK_GATEWAY_URL, PENSTOCK_API_KEY, OPENAI_BASE_URL and OPENAI_API_KEY.
    """
    from infra.ops import endpoint, stacks
    from infra.ops import shell as logic

    access = context.open(stacks.LOCAL)
    given = access.workspace().environment()
    variables = {**given, "PATH": without_repeats(given.get("PATH", os.environ.get("PATH", "")))}
    try:
        found = endpoint.from_outputs(access.outputs())
    except NotRunningError as error:
        click.echo(f"Note: {error} Until then the gateway's variables are missing.", err=True)
    else:
        variables |= {
            "PENSTOCK_GATEWAY_URL": found.url,
            "PENSTOCK_API_KEY": found.key,
            "OPENAI_BASE_URL": found.base_url,
            "OPENAI_API_KEY": found.key,
        }
    if as_json:
        echo_json(variables)
        return
    present = [name for name in stacks.UNWANTED if name in os.environ]
    click.echo(logic.script(variables, present, cast("Any", shell)))


def without_repeats(path: str) -> str:
    """PATH with each folder once, so that it does not grow when a shell takes it over again."""
    return os.pathsep.join(dict.fromkeys(path.split(os.pathsep)))
