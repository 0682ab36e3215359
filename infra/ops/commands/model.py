"""`penstock model`: versions of models, what they have shown, and which of them a release carries."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infra.ops.asking import asking, yes_option
from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import ExitCode, NotRunningError, RefusedError, UsageError

if TYPE_CHECKING:
    from infra.ops.registry.operate import Registry
    from infra.ops.stacks import StackAccess

colour_choice = click.Choice(["blue", "green"])


@click.group()
def model() -> None:
    """Keep versions of models, evaluate them, and choose which one a release carries.

    A version lies in the stack's bucket of weights under the digest of its files. VERSION is that digest, six or
    more characters of it, or one of the pointers stage and production.
    """


def opened(context: Context, stack: str) -> tuple[StackAccess, Registry]:
    from infra.ops.registry.operate import Registry
    from infra.ops.registry.store import caller, weights_bucket

    access = context.open(stack)
    files = tuple(sorted(context.checkout.glob("Pulumi.*.yaml")))
    engines = [each for each in access.state().resources if each.name.startswith("engine-")]
    deployed = "\n".join(str(each.outputs.get("spec")) for each in engines)
    return access, Registry(weights_bucket(access), caller(access), context.progress(), files, deployed)


@model.command()
@click.argument("name")
@click.argument("source")
@stack_option
@click.option("--licence", metavar="NAME", help="Where the folder's README.md names none, such as apache-2.0.")
@click.option("--note", default="", help="For people.")
@json_option
@pass_context
def add(context: Context, name: str, source: str, stack: str, licence: str | None, note: str, as_json: bool) -> None:
    """Upload a version: SOURCE is a folder, a repository of a hub's cache, or s3://BUCKET/PREFIX.

    Refused are pickles, code, links that lead out, and safetensors files that are not whole. Each part is
    checked by S3; the version can be seen once all of it is there. An interrupted upload goes on when the
    command is run again. Adding what is there changes nothing.

    \b
    JSON: {model, digest, weights, licence, quantisation, size_bytes, parameters, files, created, ...}.
    """
    from infra.ops.registry.fetch import local_copy
    from infra.ops.registry.manifest import size_text

    access, registry = opened(context, stack)
    with local_copy(access, source, registry.progress) as folder:
        manifest, created = registry.add(name, folder, licence, source, note)
    if as_json:
        echo_json({**manifest.as_dict(), "created": created})
        return
    click.echo(
        f"{name} {manifest.digest} {'is added' if created else 'was there'}: "
        f"{size_text(manifest.size_bytes)}, {manifest.quantisation}, {manifest.licence}. "
        "Put it into a release with `penstock model promote`."
    )
    for warning in manifest.warnings:
        click.echo(f"Warning: {warning}.", err=True)


@model.command("list")
@click.argument("name", required=False)
@stack_option
@json_option
@pass_context
def list_versions(context: Context, name: str | None, stack: str, as_json: bool) -> None:
    """List the versions of all models, or of NAME, the newest first.

    \b
    JSON: a list of {model, digest, weights, licence, quantisation, size_bytes, uses, evaluation, ...}.
    """
    from infra.ops.registry.manifest import size_text
    from infra.ops.registry.records import short
    from infra.ops.tables import table

    rows = list(opened(context, stack)[1].listed(name))
    if as_json:
        echo_json(rows)
        return
    header = ("model", "version", "size", "quantisation", "licence", "added", "evaluation", "in use")
    cells = [
        (
            row["model"],
            short(row["digest"]) + ("" if row["state"] == "ready" else f" ({row['state']})"),
            size_text(row["size_bytes"]),
            row["quantisation"],
            row["licence"],
            row["added_at"][:10],
            row["evaluation"]["verdict"] if row["evaluation"] else "none",
            ", ".join(row["uses"]) or "no",
        )
        for row in rows
    ]
    click.echo("\n".join(table(header, cells, indent="")) if cells else "There are no versions.")


def told(found: dict[str, Any]) -> list[str]:
    """For people: what JSON has, without scores and files."""
    manifest = found["manifest"]
    keys = ("model", "digest", "weights", "size_bytes", "parameters", "quantisation", "licence", "architecture",
            "source", "revision", "note", "added_at", "added_by", "state")  # fmt: skip
    lines = [f"{key.ljust(13)} {manifest[key]}" for key in keys if manifest[key] != ""]
    lines.append(f"{'files'.ljust(13)} {len(manifest['files'])}")
    for record in found["records"]:
        lines.append(f"evaluated     {record['ended_at']} by {record['suite']['name']}: {record['verdict']}")
        lines += [f"              {reason}" for reason in record["reasons"]]
    for entry in found["pointers"].get("history", []):
        what = entry.get("pointer") or entry.get("event")
        lines.append(f"history       {entry['at']} {what} {entry['digest']} by {entry['by']} {entry.get('why', '')}")
    if found["faults"] is not None:
        lines += [f"fault         {fault}" for fault in found["faults"]] or [
            "verified      every file is as it was added"
        ]
    return lines


@model.command()
@click.argument("name")
@click.argument("version")
@stack_option
@click.option("--verify", is_flag=True, help="Ask S3 for each file's size, checksum and encryption.")
@click.option("--read", is_flag=True, help="Verify, and read every byte back.")
@json_option
@pass_context
def show(context: Context, name: str, version: str, stack: str, verify: bool, read: bool, as_json: bool) -> None:
    """Show a version: its manifest, its evaluations and the history of its model.

    With --verify or --read the exit code is 1 where a file is not as it was added.

    \b
    JSON: {manifest, records, pointers, faults}; faults is null without --verify.
    """
    from infra.ops.registry import pointers, records

    registry = opened(context, stack)[1]
    manifest = registry.manifest(name, version)
    faults = registry.verify(name, manifest.digest, read) if verify or read else None
    found = {
        "manifest": manifest.as_dict(),
        "records": records.read_all(registry.bucket, name, manifest.digest),
        "pointers": pointers.read(registry.bucket, name),
        "faults": faults,
    }
    if as_json:
        echo_json(found)
    else:
        click.echo("\n".join(told(found)))
    if faults:
        sys.exit(ExitCode.FAILURE)


def report_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--report", type=click.Path(path_type=Path), help="Write the record there: .html, .json, else Markdown."
    )(function)


@model.command()
@click.argument("name")
@stack_option
@click.option("--colour", type=colour_choice, help="The colour that carries the version; else the one without traffic.")
@click.option("--suite", type=click.Path(path_type=Path), help="Another suite than the stack's; the gate ignores it.")
@click.option("--fresh", is_flag=True, help="Ask everything, also what an interrupted run has asked.")
@click.option("--url", help="Any other endpoint with OpenAI's API; its key is read from PENSTOCK_API_KEY.")
@report_option
@json_option
@pass_context
def validate(
    context: Context,
    name: str,
    stack: str,
    colour: str | None,
    suite: Path | None,
    fresh: bool,
    url: str | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Evaluate the version that a colour without traffic runs, and record what it has shown.

    The colour must be up (`penstock release stage`); its weight does not matter. The record counts for exactly
    this version, image, quantisation and suite. With --url a model elsewhere is asked, and nothing is recorded.

    Exit code 1 where the model did not pass.

    \b
    JSON: the record.
    """
    from infra.ops.evaluate import report as reports

    if url is not None:
        record = _elsewhere(context, name, url, suite)
    else:
        from infra.ops.registry.operate import idle_colour
        from infra.ops.registry.validate import Validator
        from infra.ops.release.world import journal_folder
        from infra.settings import Settings

        access, registry = opened(context, stack)
        chosen = colour or idle_colour(Settings.from_stack_file(access.stack_file), None)
        folder = journal_folder(access).parent / "evaluations"
        record, _ = Validator(access, registry, registry.progress, folder).validate(name, chosen, suite, fresh)
    if report is not None:
        reports.write(record, report)
    click.echo(reports.markdown(record)) if not as_json else echo_json(record)
    if record["verdict"] != "passed":
        sys.exit(ExitCode.FAILURE)


def _elsewhere(context: Context, name: str, url: str, suite: Path | None) -> dict[str, Any]:
    import os

    from infra.ops.endpoint import Endpoint, normalised
    from infra.ops.evaluate.run import Prices
    from infra.ops.registry.validate import elsewhere

    key = os.environ.get("PENSTOCK_API_KEY", "")
    if not key or suite is None:
        raise UsageError("--url needs --suite, and the endpoint's key in the variable PENSTOCK_API_KEY.")
    return elsewhere(suite, Endpoint(normalised(url), key), name, Prices(0, 0), context.progress())


@model.command()
@click.argument("name")
@click.argument("version")
@stack_option
@click.option("--colour", type=colour_choice, help="The colour that is to carry it; else the one without traffic.")
@click.option("--why", default="", help="For the history.")
@json_option
@pass_context
def promote(context: Context, name: str, version: str, stack: str, colour: str | None, why: str, as_json: bool) -> None:
    """Write a version into the stack file, for the next release: one line of the colour without traffic.

    Nothing is deployed. Stage the release, validate the version, then give it traffic. An earlier version is
    promoted in the same way.

    \b
    JSON: {model, version, colour, file, changed, source}.
    """
    access, registry = opened(context, stack)
    _promoted(registry.promote(name, version, access.stack_file, colour, why), as_json)


@model.command()
@click.argument("name")
@stack_option
@click.option("--why", default="rolled back", show_default=True, help="For the history.")
@json_option
@pass_context
def rollback(context: Context, name: str, stack: str, why: str, as_json: bool) -> None:
    """Promote the version that was in production before the one that is now.

    While the other colour still runs it, `penstock release rollback` is quicker: it moves the traffic alone.

    \b
    JSON: as that of promote.
    """
    from infra.ops.registry import pointers

    access, registry = opened(context, stack)
    before = pointers.previous(pointers.read(registry.bucket, name))
    if before is None:
        raise UsageError(f"No version of {name} was in production before the one that is now.")
    _promoted(registry.promote(name, before, access.stack_file, None, why), as_json)


def _promoted(done: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json(done)
        return
    told = "carries" if done["changed"] else "carried already"
    click.echo(
        f"{done['colour']} {told} {done['model']} {done['version']} in {done['file']}. Next: `penstock release stage`, "
        f"`penstock model validate {done['model']}`, `penstock release promote`."
    )


@model.command()
@click.argument("name")
@click.argument("version")
@stack_option
@yes_option
@json_option
@pass_context
def remove(context: Context, name: str, version: str, stack: str, yes: bool, as_json: bool) -> None:
    """Delete a version that no pointer, no stack file and no engine names. Its records stay.

    The bucket keeps what was deleted for some days (data.weights.oldVersionDays). What an interrupted `add` has
    left is removed by its whole digest.

    \b
    JSON: {model, version, files}.
    """
    registry = opened(context, stack)[1]
    if not asking(yes, "Delete?")([f"{name} {version} is deleted from s3://{registry.bucket.name}."]):
        raise RefusedError("It was not confirmed.")
    done = registry.remove(name, version)
    if as_json:
        echo_json(done)
    else:
        click.echo(f"{name} {done['version']} is removed, {done['files']} files.")


@model.command()
@stack_option
@click.option("--colour", type=colour_choice, help="Check this one; else every colour that has traffic in the file.")
@json_option
@pass_context
def check(context: Context, stack: str, colour: str | None, as_json: bool) -> None:
    """Check that what carries traffic in the stack file may do so. For pipelines, before an update.

    Exit code 4 where a version has no good evaluation record, or is not there at all.

    \b
    JSON: {colours, objections}.
    """
    from infra.ops.registry import records
    from infra.settings import Settings

    settings = Settings.from_stack_file(context.stack_file(stack))
    colours = [colour] if colour else [name for name, weight in settings.weights.items() if weight]
    carries = any(getattr(settings.release, each).sources for each in colours)
    if not (settings.release.validation.required or carries):
        _passed(colours, as_json, "no version of the registry, and none is required")
        return
    try:
        _, registry = opened(context, stack)
    except NotRunningError:
        _passed(colours, as_json, "the stack is not deployed, so nothing could have been evaluated yet")
        return
    found = [
        reason for each in colours for reason in records.objections(registry.bucket, settings, context.checkout, each)
    ]
    found += [reason for reason in records.missing(registry.bucket, settings, colours) if reason not in found]
    if as_json:
        echo_json({"colours": colours, "objections": found})
    elif not found:
        click.echo(f"Nothing is in the way of {' and '.join(colours)}.")
    if found:
        raise RefusedError(f"{'; '.join(found)}.", "See `penstock model validate`.")


def _passed(colours: list[str], as_json: bool, why: str) -> None:
    if as_json:
        echo_json({"colours": colours, "objections": []})
    else:
        click.echo(f"Nothing is in the way of {' and '.join(colours)}: {why}.")
