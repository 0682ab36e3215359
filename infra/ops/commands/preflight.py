"""`penstock preflight`: does the stack fit into its account?"""

from __future__ import annotations

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option

ASKING_SECONDS = 10
"""Some sixty calls, six at a time (estimated)."""


@click.command()
@stack_option
@click.option(
    "--reservation",
    "reservations",
    multiple=True,
    metavar="ID",
    help="A capacity reservation beside those of the stack file (cr-...); may be given several times.",
)
@json_option
@pass_context
def preflight(context: Context, stack: str, reservations: tuple[str, ...], as_json: bool) -> int:
    """Ask the AWS account whether the stack fits, before it is deployed.

    Account and region, quotas of G, P and standard instances (on demand and spot) against what a release
    with both colours and the loss of a zone need, offerings in each zone, spot placement score,
    reservations, Elastic IPs, NAT, VPC, load balancer and cluster limits, the EKS version, images of nodes and
    containers, permissions. It reads and makes dry runs; nothing is changed. With the credentials of the calling shell.

    \b
    Exit codes of this command:
      0  the stack fits
      1  the account lacks something (the table says what), or the command failed (Error: ...)
      2  cannot tell: some question was denied, timed out or got a reply of no use; or wrong usage

    \b
    JSON: {stack, region, verdict, capacity, checks: [{check, asked, there, status, request}]}.
    """
    from infra.ops.preflight.asking import Account
    from infra.ops.preflight.findings import verdict
    from infra.ops.preflight.run import preflight as ask
    from infra.ops.preflight.run import render
    from infra.settings import Settings, capacity

    access = context.open(stack)
    settings = Settings.from_stack_file(access.stack_file)
    session = access.session()
    account = Account(settings, stack, lambda service: session.client(service, region_name=settings.aws.region))
    with context.progress().step(f"Asking account {settings.aws.account_id} in {settings.aws.region}", ASKING_SECONDS):
        findings = ask(account, reservations)
    if as_json:
        echo_json(
            {
                "stack": stack,
                "region": settings.aws.region,
                "verdict": verdict(findings).name.lower(),
                "capacity": capacity.summary(settings),
                "checks": [finding.as_dict() for finding in findings],
            }
        )
    else:
        click.echo(render(findings))
    return verdict(findings)
