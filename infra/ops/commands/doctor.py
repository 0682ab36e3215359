"""`penstock doctor`: what is missing on this machine and in an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_names

if TYPE_CHECKING:
    from infra.ops.doctor.findings import Line


@click.command()
@click.option(
    "--stack", "-s", shell_complete=stack_names, help="Check the account of this stack too. Without it: the machine."
)
@json_option
@pass_context
def doctor(context: Context, stack: str | None, as_json: bool) -> int:
    """Check this machine, and with --stack an account: each line is ok, warn or fail, with the next step.

    The machine: system, Python, tools and their versions, disk, memory, addresses, ports, proxies.
    The account: caller, clock, Pulumi's backend, the state's bucket and key, GitHub's identity provider and
    roles, everything that `penstock preflight` asks, and the cluster of the current kubeconfig.
    It changes nothing. With the credentials of the calling shell.

    Exit code 1 when a line failed; warnings alone are 0.

    \b
    JSON: {ok, lines: [{check, level, found, next_step}]}; level is ok, warn or fail.
    """
    from infra.ops.doctor import findings, machine

    lines = list(machine.checks(machine.Machine(context.checkout)))
    if stack is not None:
        lines += of_account(context, stack)
    if as_json:
        echo_json({"ok": not findings.verdict(lines), "lines": [line.as_dict() for line in lines]})
    else:
        click.echo(findings.text(lines))
    return findings.verdict(lines)


def of_account(context: Context, stack: str) -> list[Line]:
    import os

    from infra.ops.commands.init import connect
    from infra.ops.doctor import account
    from infra.ops.preflight.asking import Account
    from infra.ops.preflight.run import preflight
    from infra.ops.setup.documents import Site
    from infra.settings import Settings
    from infra.settings.regions import partition_of

    file = context.stack_file(stack)
    settings = Settings.from_stack_file(file)
    aws = settings.aws
    cloud = connect(context, aws.region)
    site = Site(partition_of(aws.region), aws.account_id, aws.region, stack, None)
    asked = Account(settings, stack, cloud.client)
    with context.progress().step(f"Asking account {aws.account_id} in {aws.region}", 10):
        return list(account.checks(cloud, site, dict(os.environ), lambda: preflight(asked)))
