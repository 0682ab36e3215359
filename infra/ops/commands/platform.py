"""`penstock up`, `down`, `preview`: the local platform and the stack on it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import ExitCode

DEPLOYMENT_SECONDS = {"simulated": 45.0, "vllm": 400.0}
"""Measured on two cores for the stack `local`: about 280 resources, and the pods' start. Of vLLM's eight engines each
takes a minute of CPU."""


@click.command()
@click.option(
    "--engine",
    type=click.Choice(["simulated", "vllm"]),
    help="What engine pods run: the simulated engine, or the real vLLM on the CPU (6 GB, several minutes).",
)
@json_option
@pass_context
def up(context: Context, engine: Literal["simulated", "vllm"] | None, as_json: bool) -> None:
    """Start the local platform and deploy the stack `local` on it.

    Starts the servers that are not running, runs `pulumi up`, and prints the gateway's URL and an API key.
    Run again after a change: it updates what has changed.
    """
    from infra.local import cloud
    from infra.ops import endpoint, platform
    from infra.ops.stacks import LOCAL

    context.require_checkout()
    progress = context.progress()
    layout = cloud.up(context.checkout, progress, engine=engine)
    access = context.open(LOCAL)
    with progress.step("Deploying the stack local", DEPLOYMENT_SECONDS[cloud.engine_of(layout)]):
        platform.deploy_local(access, layout, progress)
    found = endpoint.from_outputs(access.outputs())
    with progress.step("Waiting for the first answer", 5):
        endpoint.wait_until_ready(found)
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo(platform.welcome(found))


@click.command()
@json_option
@pass_context
def down(context: Context, as_json: bool) -> None:
    """Stop the local platform and remove all that it wrote.

    Databases, objects and the stack's state go with it; stack files and the tools' cache stay.

    \b
    JSON: {stopped}; false where none was running.
    """
    from infra.local import cloud

    context.require_checkout()
    ran = cloud.running(context.checkout) is not None
    cloud.down(context.checkout, context.progress())
    if as_json:
        echo_json({"stopped": ran})


@click.command()
@stack_option
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A policy pack beside infra/policy.",
)
@click.option("--expect-no-changes", is_flag=True, help="Exit with 4 where anything would change.")
@json_option
@click.pass_context
def preview(
    click_context: click.Context, stack: str, policies: tuple[Path, ...], expect_no_changes: bool, as_json: bool
) -> None:
    """Show what an update of a stack would change.

    \b
    JSON: a list of {operation, type, name, properties: [{path, old, new}]}.
    """
    from infra.ops import changes, deploy
    from infra.policy.held import PACK

    context = click_context.find_object(Context) or Context()
    access = context.open(stack)
    progress = context.progress()
    with progress.step(f"Preview of the stack {stack}", 8):
        found = deploy.preview(
            access.automation(), progress, policy_packs=[path for path in map(Path.resolve, policies) if path != PACK]
        )
    if as_json:
        echo_json([change.as_dict() for change in found])
    else:
        click.echo("\n".join(changes.summary(found)))
    if expect_no_changes and found:
        click_context.exit(ExitCode.REFUSED)
