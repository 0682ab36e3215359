"""`penstock init`: the stack file of a fork, and what has to stand in its account before the first deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from infra.ops.asking import asking, yes_option
from infra.ops.context import Context, echo_json, json_option, pass_context
from infra.ops.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from infra.ops.setup.documents import Site
    from infra.ops.setup.plan import Change, Cloud
    from infra.ops.setup.stack_file import Answers

PARTS = ("files", "state", "roles", "release")
USUAL = ("files", "state", "roles")
"""Without a part: the images of all stacks are pushed to the repository of one."""
ANSWERS = ("models", "account", "region", "zones", "budget", "clients", "hostname", "hosted_zone", "copy_region")
"""Options that go into the stack file. With one of them a file that is there is written anew from its example."""
EXAMPLE_ACCOUNTS = ("111122223333", "444455556666")
MODELS = ("small", "production", "outside", "grow")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS), metavar="[files|state|roles|release]...")
@click.option("--stack", "-s", default="dev", show_default=True, help="The stack: the name in Pulumi.NAME.yaml.")
@click.option(
    "--models", type=click.Choice(MODELS), help="The example to begin with, by its models. Without it: small."
)
@click.option("--account", metavar="DIGITS", help="The AWS account. Without it: that of the credentials.")
@click.option("--region", help="The AWS region.")
@click.option("--zones", metavar="LETTERS", help="Zone letters, such as a,b,c.")
@click.option("--budget", metavar="USD", help="The whole account's, in US dollars a month.")
@click.option("--clients", metavar="RANGES", help="Who may open connections: IPv4 ranges, with commas.")
@click.option("--hostname", help="The name that clients use.")
@click.option("--hosted-zone", metavar="ID", help="The Route 53 zone of the name; with it the listener speaks TLS.")
@click.option("--administrator", "administrators", multiple=True, metavar="ARN", help="A role with cluster-admin.")
@click.option("--copy-region", metavar="REGION", help="Where production's data is copied to.")
@click.option("--boundary", metavar="ARN", help="A permissions boundary for every role that the program makes.")
@click.option(
    "--own-boundary",
    is_flag=True,
    help="Make a permissions boundary for the stack's roles and for the one that deploys.",
)
@click.option("--repository", metavar="OWNER/NAME", help="The repository at GitHub whose workflows deploy the stack.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--undo", is_flag=True, help="Take the account's part back: roles, and bucket and key where no stack is in them."
)
@yes_option
@json_option
@pass_context
def init(
    context: Context,
    parts: tuple[str, ...],
    own_boundary: bool,
    dry_run: bool,
    undo: bool,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Make a fork your own: its stack file, the state's bucket and key, the roles that GitHub takes.

    \b
      files  Pulumi.STACK.yaml from an example and your answers; what is there is shown beside it first
      state  a bucket (versions, TLS alone, encrypted, nothing public) and a key for Pulumi's state
      roles  GitHub's identity provider, a role that previews and one that deploys the stack, each for its
             own environment of the repository, with the policies that `penstock policy` makes; with
             --own-boundary the boundary that they and all roles of the stack stay within
      release  the role of the environment `release`, which pushes images to this stack's repository

    Without a part: the first three; roles only with --repository. On a terminal it asks for what no option
    gives. Every change is shown before it is made. It may be run again at any time, also after it was
    killed: what is there as wanted is left alone. With the credentials of the calling shell.

    \b
    JSON: {stack, file, changes: [{action, kind, name, detail}], applied, backups, next};
    action is create, change, delete or keep.
    """
    from infra.ops.errors import PenstockError
    from infra.ops.setup import account, documents

    context.require_checkout()
    chosen = parts or USUAL
    if own_boundary and given["boundary"]:
        raise UsageError("--own-boundary goes without --boundary.")
    cloud = connect(context, given["region"])
    path = context.checkout / f"Pulumi.{given['stack']}.yaml"
    text = path.read_text(encoding="utf-8") if path.is_file() else None
    edit = None
    if "files" in chosen and not undo and (text is None or not settled(text) or any(given[name] for name in ANSWERS)):
        edit, text = drafted(context, account.bounded(answered(context, given, cloud, yes), own_boundary))
    if text is None:
        raise UsageError(f"There is no {path.name}.", "Make it first: penstock init files.")
    from infra.settings import Settings
    from infra.settings.parse import values_of_text

    settings = Settings.parse(values_of_text(text, path.name), path.name)
    aws = settings.aws
    from infra.settings.regions import partition_of

    site = documents.Site(partition_of(aws.region), aws.account_id, aws.region, given["stack"], given["repository"])
    changes: list[Change] = []
    if set(chosen) & {"state", "roles", "release"}:
        cloud = connect(context, aws.region)
        # A run that brings policies up to date keeps the boundary that the file names.
        kept = settings.access.permissions_boundary_arn
        own = own_boundary or (kept == site.boundary_arn and not given["boundary"])
        made = site.boundary_arn if own else given["boundary"] or kept
        fence = account.fence_of(site, settings) if own else None
        changes = account.planned(context, cloud, site, chosen, undo, text if edit else None, made, fence)
    report = {
        "stack": given["stack"],
        "file": edit.as_dict() if edit else None,
        "changes": [each.as_dict() for each in changes],
        "applied": False,
        "backups": [],
        "next": [] if undo else next_steps(site, text, chosen, own=own_boundary),
    }
    show([edit] if edit else [], changes, as_json)
    pending = [each for each in changes if each.action != "keep"]
    if dry_run or not (pending or (edit and edit.action != "unchanged")):
        finish(report, as_json, "Nothing was changed." if dry_run else "Nothing to do: all is as wanted.")
        return
    if not asking(yes, "Change this?")([]):
        raise RefusedError("Nothing was changed: it was not confirmed.")
    if edit:
        from infra.ops import written

        report["backups"] = [
            str(copy.relative_to(context.checkout)) for copy in written.apply([edit], context.checkout)
        ]
    progress = context.progress()
    for number, each in enumerate(pending, 1):
        try:
            with progress.step(f"{number} of {len(pending)}: {each.action} {each.kind} {each.name} ({each.detail})"):
                each.make()
        except PenstockError as error:
            raise PenstockError(
                f"{number - 1} of {len(pending)} changes are made. {error.cause}", error.next_step
            ) from None
    report["applied"] = True
    finish(report, as_json, "Done.")


def settled(text: str) -> bool:
    """Whether somebody has put an account of their own into the file."""
    return not any(account in text for account in EXAMPLE_ACCOUNTS)


def connect(context: Context, region: str | None) -> Cloud:
    """Clients of the calling shell's account, made when they are first asked."""
    from infra.ops import aws
    from infra.ops.setup.plan import Cloud

    found: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in found:
            import os

            session = found.setdefault("", aws.session(os.environ))
            found[service] = session.client(service, region_name=region or "us-east-1")
        return found[service]

    return Cloud(client)


def answered(context: Context, given: dict[str, Any], cloud: Cloud, yes: bool) -> Answers:
    from infra.ops.errors import PenstockError
    from infra.ops.setup import answers
    from infra.ops.setup.stack_file import EXAMPLES
    from infra.settings.parse import stack_file_values

    if missing := [name for name, _ in EXAMPLES.values() if not (context.checkout / name).is_file()]:
        raise PenstockError(
            f"{', '.join(missing)}: there is no such example.", "Take it back from git: `git checkout v0.1.0 -- FILE`."
        )
    ask = answers.can_ask(yes)
    models = given["models"] or ("small" if not ask else None)
    example = stack_file_values(context.checkout / EXAMPLES[models or "small"][0])
    import os

    defaults: dict[str, Any] = {
        "models": "small",
        "region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        "zones": ",".join(example["network"]["zones"]),
        "budget": str(example["budget"]["monthlyUsd"]),
        "clients": "10.0.0.0/8",
    }
    if given["account"] is None:
        try:
            defaults["account"] = cloud.call("sts", "get_caller_identity")["Account"]
        except PenstockError:
            defaults["account"] = None  # then it has to be said
    found = answers.gather({**given, "models": models}, defaults, ask=ask)
    if found.models == "production" and found.copy_region is None:
        from dataclasses import replace

        found = replace(found, copy_region=answers.copies_of(found.region))
    return found


def drafted(context: Context, answers: Answers) -> tuple[Any, str]:
    """The file that would be written. Raises SettingsError where the answers do not fit."""
    from infra.ops.setup.stack_file import EXAMPLES, stack_file
    from infra.ops.written import Edit

    example = (context.checkout / EXAMPLES[answers.models][0]).read_text(encoding="utf-8")
    text = stack_file(example, answers)
    return Edit.of(context.checkout / answers.file_name, text), text


def show(edits: Sequence[Any], changes: Sequence[Change], as_json: bool) -> None:
    from infra.ops import written
    from infra.ops.setup import plan

    if as_json:
        return
    for edit in edits:
        click.echo("\n".join(written.coloured(edit.diff())) or f"{edit.path.name} is as wanted.", err=True)
    if changes:
        click.echo("\n".join(plan.shown(changes)), err=True)


def next_steps(site: Site, text: str, chosen: Sequence[str] = (), *, own: bool = False) -> list[str]:
    from infra.ops.setup.stack_file import to_replace_by_hand
    from infra.policy.held import VARIABLE

    steps = [f"put into Pulumi.{site.stack}.yaml: {each}" for each in to_replace_by_hand(text)]
    if own and site.boundary_arn not in text:
        steps.append(f"put into Pulumi.{site.stack}.yaml: access.permissionsBoundaryArn: {site.boundary_arn}")
    steps += [
        f"export PULUMI_BACKEND_URL='{site.backend}'",
        f"export {VARIABLE}=infra/policy",
        f"pulumi stack init {site.stack} --secrets-provider '{site.secrets_provider}'",
        f"penstock preflight --stack {site.stack}",
    ]
    if site.repository:
        arn = f"arn:{site.partition}:iam::{site.account}:role/penstock"
        every = [(f"preview-{site.stack}", "preview"), (site.stack, "deploy")]
        every += [("release", "release")] if "release" in chosen else []
        for environment, role in every:
            at = f"--env {environment} --repo {site.repository}"
            steps.append(f"gh variable set ROLE_ARN --body {arn}-{role}-{site.stack} {at}")
            steps.append(f"gh variable set AWS_REGION --body {site.region} {at}")
            if role != "release":
                steps.append(f"gh variable set PULUMI_BACKEND_URL --body '{site.backend}' {at}")
        steps.append(f"gh variable set PENSTOCK_CLOUD --body on --repo {site.repository}")
    return steps


def finish(report: dict[str, Any], as_json: bool, words: str) -> None:
    if as_json:
        echo_json(report)
        return
    click.echo(words)
    for copy in report["backups"]:
        click.echo(f"The text before is in {copy}.")
    if report["next"]:
        click.echo("Next:")
        for step in report["next"]:
            click.echo(f"  {step}")
