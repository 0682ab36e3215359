"""`penstock policy`: IAM policies for who deploys a stack, and for who previews it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from infra.policy.deployer import Kind

REHEARSAL_SECONDS = 4
"""Measured for prod; half of it is the import of the SDK."""


@click.group()
def policy() -> None:
    """Print IAM policies that fit a stack.

    They are made from the resources that the program would register under the stack's file: no
    platform and no AWS account is needed.
    """


@policy.command()
@stack_option
@click.option("--boundary", metavar="ARN", help="Let roles be made with this permissions boundary only.")
@json_option
@pass_context
def deployer(context: Context, stack: str, boundary: str | None, as_json: bool) -> None:
    """Print the policies of the role that deploys the stack.

    Each document fits a managed policy. Where AWS allows it, actions are limited to the names that
    the stack gives; roles can be passed only to the services that the stack uses.
    """
    show(made(context, stack, "deployer", boundary), as_json)


@policy.command()
@stack_option
@json_option
@pass_context
def preview(context: Context, stack: str, as_json: bool) -> None:
    """Print the policies of a role that may preview and refresh, and change nothing.

    It may not read the values of secrets.
    """
    show(made(context, stack, "preview", None), as_json)


@policy.command()
@stack_option
@click.option(
    "--role",
    type=click.Choice(["registrar", "validator", "reader"]),
    required=True,
    help="registrar adds, promotes and removes versions; validator writes evaluation records; reader checks.",
)
@json_option
@pass_context
def models(context: Context, stack: str, role: str, as_json: bool) -> None:
    """Print the policy of who works on the registry of models.

    Who adds a version cannot write that it is good, and who evaluates cannot add one. The bucket's name ends
    at random, so the policy names its beginning; the key is any of the account that S3 uses for it.
    """
    from components import registry_policies
    from infra.settings import Settings
    from infra.settings.regions import partition_of

    file = context.stack_file(stack)
    aws = Settings.from_stack_file(file).aws
    partition = partition_of(aws.region)
    make = {
        "registrar": registry_policies.keep_models,
        "validator": registry_policies.validate_models,
        "reader": registry_policies.read_models,
    }[role]
    bucket, key = f"arn:{partition}:s3:::weights-*", f"arn:{partition}:kms:{aws.region}:{aws.account_id}:key/*"
    document = make(bucket, key)
    for statement in document["Statement"]:
        if statement["Resource"] == key:
            statement["Condition"] = {"StringEquals": {"kms:ViaService": f"s3.{aws.region}.amazonaws.com"}}
    show([document], as_json)


def made(context: Context, stack: str, kind: Kind, boundary: str | None) -> list[dict[str, Any]]:
    from infra.policy.deployer import Place, PolicyError, policies
    from infra.rehearsal import rehearse_stack
    from infra.settings import Settings
    from infra.settings.regions import partition_of

    file = context.stack_file(stack)
    if boundary is not None and not boundary.startswith("arn:"):
        raise UsageError(
            f"--boundary {boundary} is not an ARN.", "Give a policy's ARN, arn:aws:iam::ACCOUNT:policy/NAME."
        )
    aws = Settings.from_stack_file(file).aws
    with context.progress().step(f"Running the program of {stack} without a cloud", REHEARSAL_SECONDS):
        registrations = rehearse_stack(file).registrations
    place = Place(partition_of(aws.region), aws.region, aws.account_id, stack)
    try:
        return policies(kind, registrations, place, boundary)
    except PolicyError as error:
        raise RefusedError(str(error)) from None


def show(documents: list[dict[str, Any]], as_json: bool) -> None:
    """For programs one list; for people one document a paragraph, as the console takes it."""
    if as_json:
        echo_json(documents)
        return
    for number, document in enumerate(documents, 1):
        click.echo(f"Policy {number} of {len(documents)}:", err=True)
        click.echo(json.dumps(document, indent=2))
