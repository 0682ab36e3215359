"""`penstock move`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from infra.ops.asking import asking, yes_option
from infra.ops.context import Context, echo_json, json_option, pass_context
from infra.ops.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from infra.ops.move.stack_file import Moved

USD_PER_GIB = 0.02
"""Between regions of Europe or North America (Amazon EC2 and S3 price lists, "data transfer out to another region")."""

source_option = click.option("--stack", "-s", required=True, help="The stack that there is.")
target_option = click.option("--to-stack", required=True, metavar="NAME", help="The stack in the other region.")


@click.group()
def move() -> None:
    """Take a stack to another region: its file, its data, its name. docs/day-two.md has the whole way."""


@move.command("file")
@source_option
@target_option
@click.option("--region", required=True, help="Another region of penstock:aws.allowedRegions.")
@click.option("--zones", metavar="LETTERS", help="Zone letters there, such as a,b,c. Without it: those of the file.")
@click.option("--certificate", metavar="ARN", help="A certificate of the same name that ACM has issued there.")
@click.option("--cidr", metavar="RANGE", help="Another range of addresses, where the networks are to be joined.")
@click.option("--dry-run", is_flag=True, help="Show the difference and the cost, and write nothing.")
@yes_option
@json_option
@pass_context
def file_command(
    context: Context,
    stack: str,
    to_stack: str,
    region: str,
    zones: str | None,
    certificate: str | None,
    cidr: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write the stack file of the same stack in another region, and say what the move costs.

    Comments and all other values stay. Region, zones, certificate and copies are held to the rules of
    every stack file; where data may rest (aws.allowedRegions) is not changed by this command.

    \b
    JSON: {file: {file, action, diff}, written, notes,
           cost: {old_month_usd, new_month_usd, day_of_both_usd, transfer_gib, transfer_usd}};
    a month is null where not every price of its region is known.
    """
    from infra.ops import written
    from infra.ops.move.stack_file import Destination, moved

    text = context.stack_file(stack).read_text(encoding="utf-8")
    letters = tuple(zones.split(",")) if zones else None
    to = Destination(to_stack, region, letters, certificate, cidr)
    made = moved(text, stack, to)
    edit = written.Edit.of(context.checkout / to.file_name, made.text)
    cost = _cost(text, made.text)
    if not as_json:
        click.echo("\n".join(written.coloured(_against(text, made, stack, to.file_name))), err=True)
        click.echo(_told(cost), err=True)
    change = edit.action != "unchanged" and not dry_run
    if change:
        if not asking(yes, f"Write {edit.path.name}?")([]):
            raise RefusedError("Nothing was written: it was not confirmed.")
        written.apply([edit], context.checkout)
    if as_json:
        echo_json({"file": edit.as_dict(), "written": change, "notes": list(made.notes), "cost": cost})
        return
    click.echo(f"Wrote {edit.path.name}." if change else "Nothing was written.")
    for note in made.notes:
        click.echo(f"  {note}")


def _against(text: str, made: Moved, stack: str, name: str) -> list[str]:
    import difflib

    lines = text.splitlines(), made.text.splitlines()
    return list(difflib.unified_diff(*lines, f"a/Pulumi.{stack}.yaml", f"b/{name}", lineterm="", n=1))


def _cost(before: str, after: str) -> dict[str, float | None]:
    """Both months by `penstock cost`'s estimate, None where prices are missing; of the transfer, the weights that the
    file names."""
    import tempfile
    from pathlib import Path

    from infra.ops.diff.money import figures
    from infra.settings import Settings

    found: list[float | None] = []
    with tempfile.TemporaryDirectory(prefix="penstock-move-") as folder:
        for name, text in (("old", before), ("new", after)):
            path = Path(folder) / f"Pulumi.{name}.yaml"
            path.write_text(text, encoding="utf-8")
            month = figures(path)
            found.append(None if month.unpriced else month.month_usd)
        gib = sum(model.weights_gib for model in Settings.from_stack_file(path).models)
    old, new = found
    return {
        "old_month_usd": old,
        "new_month_usd": new,
        "day_of_both_usd": None if old is None or new is None else round((old + new) * 12 / 365, 2),
        "transfer_gib": round(gib, 1),
        "transfer_usd": round(gib * USD_PER_GIB, 2),
    }


def _told(cost: dict[str, float | None]) -> str:
    def usd(name: str) -> str:
        return "not known" if cost[name] is None else f"{cost[name]:.0f} USD"

    hint = "" if cost["new_month_usd"] else " (prices: `penstock cost --stack NAME --refresh`)"
    return (
        f"a month here {usd('old_month_usd')}, there {usd('new_month_usd')}{hint}; each day of both "
        f"{usd('day_of_both_usd')}; weights of {cost['transfer_gib']:g} GiB cross for about "
        f"{cost['transfer_usd']:.2f} USD, the database and files of jobs beside"
    )


@move.command("data")
@source_option
@target_option
@click.option("--stop", is_flag=True, help="End the first stack's gateways and workers: the downtime begins.")
@yes_option
@json_option
@pass_context
def data_command(context: Context, stack: str, to_stack: str, stop: bool, yes: bool, as_json: bool) -> None:
    """Carry weights, the whole database and the files of jobs from one stack to the other, counted.

    Weights go first, while the first stack still answers; without --stop it ends there. The database is
    dumped and restored by pods of the two stacks, all of it or nothing, into tables that are empty. It
    may be cut off anywhere and run again: what is there is left alone. Both stacks must be deployed, of
    the same release. The first stack's data stays.

    \b
    JSON: {archive, already, rows: {TABLE: count}, buckets: {NAME: {objects, bytes, copied}}}.
    """
    from infra.ops.move.data import Move, Side, pods_of

    progress = context.progress()
    source, target = (Side.of(context.open(name)) for name in _two(stack, to_stack))
    what = f"Carry the data of {stack} to {to_stack}" + (", and end its gateways and workers?" if stop else "?")
    if not asking(yes, what)([]):
        raise RefusedError("Nothing was carried: it was not confirmed.")
    done = Move(source, target, progress, pods_of(progress)).run(stop=stop)
    if as_json:
        echo_json(done.as_dict())
    else:
        click.echo("\n".join(_carried(done.as_dict())))


def _carried(done: dict[str, Any]) -> list[str]:
    from infra.ops.tables import table

    rows = [(name, str(count)) for name, count in sorted(done["rows"].items())]
    rows += [(f"bucket {name}", f"{each['objects']} objects") for name, each in done["buckets"].items()]
    end = "all was there already" if done["already"] else "all is there, and counted on both sides"
    return [*table(("what", "carried"), rows), f"  {end}"]


@move.command("name")
@source_option
@target_option
@yes_option
@json_option
@pass_context
def name_command(context: Context, stack: str, to_stack: str, yes: bool, as_json: bool) -> None:
    """Point the name that clients call to the other stack's load balancer.

    One change of Route 53, where the first stack made the record (edge.hostedZoneId): it forgets the
    record, so that its destroy leaves the name alone. Where somebody else keeps the record it says where
    to point it. May be run again.

    \b
    JSON: {hostname, to, zone, pointed}.
    """
    from infra.ops.move import name
    from infra.ops.move.data import Side

    source, target = (Side.of(context.open(each)) for each in _two(stack, to_stack))
    found = name.planned(source, target)
    if found.hostname is None:
        if as_json:
            echo_json({**found.as_dict(), "pointed": False})
        else:
            click.echo(f"The stack {stack} keeps no record of its name. Point yours to {found.to}.")
        return
    if not asking(yes, f"Point {found.hostname} to {found.to}?")([]):
        raise RefusedError("Nothing was changed: it was not confirmed.")
    name.point(found, source)
    if as_json:
        echo_json({**found.as_dict(), "pointed": True})
    else:
        click.echo(f"{found.hostname} leads to {found.to}. Caches of names follow within a minute.")


def _two(stack: str, to_stack: str) -> tuple[str, str]:
    if stack == to_stack:
        raise UsageError(f"--to-stack {to_stack} is the stack itself.")
    return stack, to_stack
