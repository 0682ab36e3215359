"""`penstock release`: bring a colour up, give it traffic step by step, take it back, and see where it stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from infra.ops.asking import asking, yes_option
from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import ExitCode, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.ops.release.operate import Operator

unvalidated_option = click.option(
    "--unvalidated",
    metavar="REASON",
    default="",
    help="Let versions of models through that have not passed their evaluation; journal and history keep it.",
)
colour_choice = click.Choice(["blue", "green"])


@click.group()
def release() -> None:
    """Bring a new colour up, give it traffic step by step behind a gate, and take it back."""


def operator(context: Context, stack: str, yes: bool, **more: Any) -> Operator:
    from infra.ops.release.operate import Operator

    return Operator(context.open(stack), context.progress(), asking(yes), **more)


@contextmanager
def attended(context: Context, stack: str, yes: bool, **more: Any) -> Generator[Operator]:
    """An operator who tells the console of the work, where there is one, and hears its wishes."""
    from dataclasses import replace

    from infra.ops.release.operate import attendant_of

    plain = operator(context, stack, yes, **more)
    attendant = attendant_of(plain.access, plain.journal, plain.progress)
    with attendant or nullcontext():
        yield replace(plain, attendant=attendant)


@release.command()
@stack_option
@click.option("--gateway-image", metavar="IMAGE", help="Digest (sha256:...) or tag of the new gateway.")
@click.option("--engine-image", metavar="IMAGE", help="Digest (sha256:...) or tag of the new engine.")
@click.option(
    "--validations",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="Requests to each model once the colour is up.",
)
@yes_option
@click.option("--allow-other-changes", is_flag=True, help="Go on where the preview changes more than the idle colour.")
@json_option
@pass_context
def stage(
    context: Context,
    stack: str,
    gateway_image: str | None,
    engine_image: str | None,
    validations: int,
    yes: bool,
    allow_other_changes: bool,
    as_json: bool,
) -> None:
    """Bring the idle colour up, without traffic, and check it.

    Writes the images and the live colour's numbers of replicas into the idle colour of Pulumi.STACK.yaml,
    says which GPUs that needs and what they cost, shows the preview, asks, applies, waits until the colour
    is ready, and sends it requests that its weight of 0 does not matter to: first one to each model that has
    no engine without requests (scaling.toZero), which waits for its start. An image that is not given is the
    live colour's; with neither, the file is staged as it is.

    \b
    JSON: {colour, needs, changes, ready_seconds, woken_seconds: {model: seconds}, validation}.
    """
    work = operator(context, stack, yes, validations=validations, allow_other_changes=allow_other_changes)
    done = work.stage(gateway_image, engine_image)
    if as_json:
        echo_json(done)
    else:
        checked = done["validation"]
        click.echo(
            f"{done['colour']} is up at weight 0, and answered {checked['requests']} requests. "
            "Give it traffic with `penstock release promote`."
        )


@release.command()
@stack_option
@click.option("--colour", type=colour_choice, help="The colour that is to take over; else the one with less traffic.")
@yes_option
@click.option("--allow-other-changes", is_flag=True, help="Go on where a preview changes more than the weights.")
@unvalidated_option
@json_option
@pass_context
def promote(
    context: Context,
    stack: str,
    colour: str | None,
    yes: bool,
    allow_other_changes: bool,
    unvalidated: str,
    as_json: bool,
) -> None:
    """Give a colour all the traffic, step by step, with a gate at each step.

    The steps, their soak and the gate stand under release in Pulumi.STACK.yaml. Each step edits the two
    weight lines, previews, asks and applies; then errors, TTFT and gaps of tokens are compared with the other
    colour's. A breach puts the weight back at once, and leaves a report. Too few samples hold the release
    where it is. An interrupted or held release goes on with the same command. Before the first step the colour's
    versions of models must have passed their evaluation (`penstock model validate`).

    Exit code 1 when the release was taken back or held.

    \b
    JSON: {id, colour, steps, passed, direction, outcome, reason, seconds, reports};
    outcome is promoted, rolled back or held.
    """
    with attended(context, stack, yes, allow_other_changes=allow_other_changes, unvalidated=unvalidated) as work:
        done = work.promote(colour)
    if as_json:
        echo_json(done)
    elif done["outcome"] == "promoted":
        click.echo(f"{done['colour']} has all the traffic, after {done['seconds']:.0f} s.")
    else:
        click.echo(f"The release of {done['colour']} was {_taken(done['outcome'])}: {done['reason']}")
    if done["outcome"] != "promoted":
        sys.exit(ExitCode.FAILURE)


def _taken(outcome: str) -> str:
    return "taken back" if outcome == "rolled back" else outcome


@release.command()
@stack_option
@click.option("--reason", default="by hand", show_default=True, help="For the journal.")
@yes_option
@json_option
@pass_context
def rollback(context: Context, stack: str, reason: str, yes: bool, as_json: bool) -> None:
    """Give all traffic to the other colour than the one being released, at once.

    The load balancer is changed first, directly; then the stack file and, by a normal update, the state
    follow. A release that is ended can be taken back, too, while the other colour is still up. After a stage
    that did not end it takes that back: images and replicas in the stack file, then an update.

    \b
    JSON: as that of promote; outcome is unstaged where a stage was taken back.
    """
    from infra.ops.release import staging

    cut_off = staging.under_way(operator(context, stack, yes).journal.entries())
    meant = "All traffic goes to the other colour, at once."
    if cut_off is not None:
        meant = f"The stage of {cut_off.colour} did not end; stack file and cluster go back to what was before it."
    if not asking(yes, "Roll back?")([meant]):
        raise RefusedError("The rollback was not confirmed.")
    with attended(context, stack, True) as work:
        done = work.rollback(reason)
    if as_json:
        echo_json(done)
    elif done["outcome"] == "unstaged":
        click.echo(f"The stage of {done['colour']} is taken back, after {done['seconds']:.0f} s.")
    else:
        click.echo(f"{done['colour']} has no traffic any more, after {done['seconds']:.0f} s with file and state.")


@release.command()
@stack_option
@yes_option
@json_option
@pass_context
def attend(context: Context, stack: str, yes: bool, as_json: bool) -> None:
    """Carry out what is wished at the console, until Ctrl-C.

    A running promote does so by itself. This is for the time when none runs: the console's `promote` goes on
    with an open release, its `roll back` gives all traffic to the other colour. The gateways have no right
    over the load balancer: what is done is done here, with the rights of who started this.

    \b
    JSON: one line for each wish: {wish, actor, outcome, reason, ...}, as of promote.
    """
    if not asking(yes, "Attend?")(["Wishes of the console's admins are carried out from here, without asking again."]):
        raise RefusedError("It was not confirmed.")
    with attended(context, stack, True) as work:
        if work.attendant is None:
            raise RefusedError(
                "The stack has no admin's key, so there is no console.", "Deploy it anew (`penstock up`)."
            )
        work.attendant.idle = True

        def tell(found: dict[str, Any]) -> None:
            text = f"{found['wish']}, asked for by {found['actor']}: {found['outcome']} {found.get('reason') or ''}"
            click.echo(json.dumps(found) if as_json else text.rstrip())

        try:
            work.attend(tell)
        except KeyboardInterrupt:
            click.echo("No longer attended.", err=True)


@release.command()
@click.argument("weights", nargs=-1, required=True, metavar="COLOUR=PERCENT...")
@stack_option
@yes_option
@click.option("--allow-other-changes", is_flag=True, help="Go on where the preview changes more than the weights.")
@click.option("--allow-unhealthy", is_flag=True, help="Go on where a colour without healthy targets would get traffic.")
@unvalidated_option
@json_option
@pass_context
def shift(
    context: Context,
    weights: tuple[str, ...],
    stack: str,
    yes: bool,
    allow_other_changes: bool,
    allow_unhealthy: bool,
    unvalidated: str,
    as_json: bool,
) -> None:
    """Set the share of each colour by hand, without a gate: green=50 gives blue the other 50.

    Edits the two weight lines of Pulumi.STACK.yaml and nothing else, shows the preview, asks, applies,
    and waits until the load balancer reports the new weights. Where something refuses or fails, the
    file is put back. Commit the file afterwards: it is the record of the release.

    \b
    JSON: {before, after, changes, confirmed_seconds}.
    """
    from infra.ops.release import shift as logic
    from infra.ops.weights import parse_shift

    wanted = parse_shift(weights)
    access = context.open(stack)

    def check_versions(colours: Sequence[str]) -> None:
        from infra.ops.release.journal import Journal
        from infra.ops.release.versions import check_validated
        from infra.ops.release.world import journal_folder, settings_of

        check_validated(access, settings_of(access), colours, Journal(journal_folder(access)), unvalidated)

    shifter = logic.Shifter(
        access=access,
        progress=context.progress(),
        confirm=asking(yes),
        validate=logic.validate_stack_file,
        allow_other_changes=allow_other_changes,
        allow_unhealthy=allow_unhealthy,
        check_versions=check_versions,
    )
    done = shifter.shift(wanted)
    if as_json:
        echo_json(done.as_dict())
    elif not done.changes:
        click.echo(f"Nothing to do: the traffic is at {done.after} already.")
    else:
        click.echo(f"Traffic is at {done.after} (was {done.before}).")


@release.command("status")
@stack_option
@json_option
@pass_context
def release_status(context: Context, stack: str, as_json: bool) -> None:
    """Show where a release stands: journal, stack file, last update and load balancer.

    \b
    JSON: {file, deployed, live, healthy_targets, settled, advice, release, staging, reports}; release is null, or
    has {id, colour, steps, passed, direction, outcome, reason}; staging is the colour of a stage that did not end.
    """
    from infra.ops.release import shift as logic
    from infra.ops.release import staging
    from infra.ops.release.journal import Journal
    from infra.ops.release.operate import report_names, told
    from infra.ops.release.world import journal_folder

    access = context.open(stack)
    found = logic.position(access)
    journal = Journal(journal_folder(access))
    under_way = journal.release()
    cut_off = staging.under_way(journal.entries())
    advice = found.advice(under_way) if cut_off is None else cut_off.advice
    if as_json:
        echo_json(
            {
                "file": found.file.as_dict(),
                "deployed": found.deployed.as_dict() if found.deployed else None,
                "live": found.live.as_dict(),
                "healthy_targets": {c: {"healthy": h.healthy, "total": h.total} for c, h in found.health.items()},
                "settled": found.settled,
                "advice": advice,
                "release": told(under_way) if under_way else None,
                "staging": cut_off.colour if cut_off else None,
                "reports": report_names(journal),
            }
        )
        return
    if under_way:
        shown = told(under_way)
        click.echo(f"release        {shown['id']} of {shown['colour']}, {shown['outcome']}, steps {shown['steps']}")
    click.echo(f"stack file     {found.file}")
    click.echo(f"last update    {found.deployed or 'unknown'}")
    click.echo(f"load balancer  {found.live}")
    click.echo(f"targets        {', '.join(f'{c} {h} healthy' for c, h in found.health.items())}")
    click.echo(advice)
