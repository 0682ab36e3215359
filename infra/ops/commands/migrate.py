"""`penstock migrate`: brings stack files of an older version to this one."""

from __future__ import annotations

import click

from infra.ops.asking import asking, yes_option
from infra.ops.context import Context, echo_json, json_option, pass_context
from infra.ops.errors import RefusedError, UsageError


@click.command()
@click.option("--stack", "-s", "stacks", multiple=True, help="A stack, by its name in Pulumi.NAME.yaml; else all.")
@click.option("--dry-run", is_flag=True, help="Show the difference and write nothing.")
@yes_option
@json_option
@pass_context
def migrate(context: Context, stacks: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool) -> None:
    """Bring stack files of an older version to the layout that this checkout reads.

    Comments and order stay. The difference is shown before a file is written. A file that differs from
    git's last commit is copied to .penstock/backup first. Run again, it finds nothing to do.

    \b
    JSON: {files: [{file, action, diff, was, now, steps}], written, backups};
    action is change or unchanged.
    """
    from infra.ops import written
    from infra.ops.written import Edit
    from infra.settings import Settings, SettingsError
    from infra.settings.migrations import MigrationError
    from infra.settings.migrations import migrate as to_newest
    from infra.settings.parse import values_of_text

    context.require_checkout()
    paths = [context.checkout / f"Pulumi.{stack}.yaml" for stack in stacks]
    paths = paths or sorted(context.checkout.glob("Pulumi.*.yaml"))
    edits, told = [], []
    for path in paths:
        if not path.is_file():
            raise UsageError(f"There is no {path.name}.", "Name a stack that has a file: --stack NAME.")
        read = Edit.of(path, "")
        try:
            done = to_newest(read.before or "")
            if done.steps:
                Settings.parse(values_of_text(done.text, path.name), path.name)
        except MigrationError as error:
            raise RefusedError(f"{path.name}: {error}", "Nothing was written.") from None
        except SettingsError as error:
            raise RefusedError(
                f"what comes out would not be accepted, and nothing was written: {error}",
                "Put this right in the old file, or as an older checkout asks; then run it again.",
            ) from None
        edit = Edit(path, done.text, read.before)
        edits.append(edit)
        told.append({**edit.as_dict(), "was": done.was, "now": done.now, "steps": list(done.steps)})
    changed = [edit for edit in edits if edit.action != "unchanged"]
    backups: list[str] = []
    if changed and not as_json:
        for each in told:
            for step in each["steps"]:
                click.echo(f"{each['file']}: {step}", err=True)
    lines = [line for edit in changed for line in written.coloured(edit.diff())]
    if dry_run:
        if not as_json and lines:
            click.echo("\n".join(lines))
    elif changed:
        if not asking(yes, "Write?")([] if as_json else lines):
            raise RefusedError("Nothing was written: it was not confirmed.")
        backups = [str(path.relative_to(context.checkout)) for path in written.apply(edits, context.checkout)]
    if as_json:
        echo_json({"files": told, "written": bool(changed) and not dry_run, "backups": backups})
        return
    if not changed:
        click.echo(f"Nothing to do: {len(edits)} file(s) are of this version.")
    elif not dry_run:
        click.echo(f"Wrote {', '.join(edit.path.name for edit in changed)}. Review the difference, and commit it.")
        for backup in backups:
            click.echo(f"The text before is in {backup}.")
