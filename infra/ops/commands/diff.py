"""`penstock diff`: what a pull request would change in each stack, without credentials."""

from __future__ import annotations

from pathlib import Path

import click

from infra.ops.context import Context, json_option
from infra.ops.errors import ExitCode, UsageError


@click.command()
@click.option("--base", metavar="REF", help="The revision to compare with; a branch stands for where it was left.")
@click.option("--stack", "-s", "stacks", multiple=True, help="The stack; several may be given. [default: dev, prod]")
@click.option(
    "--from-preview",
    "preview",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Report on what `pulumi preview --json` wrote, instead of comparing revisions.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the report to a file.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown; this is the default.")
@click.option("--exit-code", is_flag=True, help="Exit with 4 where data, service or a closed door is at risk.")
@json_option
@click.pass_context
def diff(
    click_context: click.Context,
    base: str | None,
    stacks: tuple[str, ...],
    preview: Path | None,
    output: Path | None,
    as_markdown: bool,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Show what the working tree would change in each stack.

    The base revision's program is deployed in record-only mode: Pulumi's engine makes the whole state, and
    nothing is created anywhere. The working tree's program is then previewed on it with the rules of
    the providers, which know what is updated in place and what is replaced. No cloud, no cluster and no
    credentials are needed, so it runs for a fork's pull request.

    The report groups changes by risk, says what policies and networks would open, and compares the
    month's cost and the GPUs.

    With --from-preview the changes are those of a real preview; --base is then only for the cost.

    \b
    JSON: {reports: [{stack, against, counts, changes, cost, remarks}]}.
    """
    from infra.ops.diff import run

    context = click_context.find_object(Context) or Context()
    context.require_checkout()
    if as_markdown and as_json:
        raise UsageError("--markdown and --json exclude each other.")
    if preview is None and base is None:
        raise UsageError("Name what to compare with: --base REF, or --from-preview FILE.")
    if preview is not None and len(stacks) != 1:
        raise UsageError("A preview is of one stack.", "Name it with --stack.")
    progress = context.progress()
    if preview is not None:
        reports = [run.reviewed(context.checkout, stacks[0], preview, base)]
    else:
        reports = run.compared(context.checkout, base or "", stacks or run.STACKS, progress)
    text = run.as_json(reports) if as_json else run.as_markdown(reports)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)
    if exit_code and any(report.stops for report in reports):
        click_context.exit(ExitCode.REFUSED)
