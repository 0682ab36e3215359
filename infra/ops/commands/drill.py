"""`penstock drill`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from infra.ops.asking import asking
from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.drill.catalogue import CATALOGUE, Drill
from infra.ops.errors import ExitCode, RefusedError, UsageError

if TYPE_CHECKING:
    from infra.ops.drill.figures import Result

LOCAL = "local"


@click.group()
def drill() -> None:
    """Break something on purpose under load, count what clients see, and put it right."""


@drill.command("list")
@json_option
def list_drills(as_json: bool) -> None:
    """List the drills, what each breaks and what it must hold.

    \b
    JSON: a list of {name, about, aims, hold_seconds}.
    """
    if as_json:
        echo_json(
            [
                {"name": d.name, "about": d.about, "aims": [a.words for a in d.aims], "hold_seconds": d.hold_seconds}
                for d in CATALOGUE.values()
            ]
        )
        return
    for each in CATALOGUE.values():
        click.echo(f"{each.name}\n  {each.about}\n  Aims: {'; '.join(aim.words for aim in each.aims)}.")


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            stack_option,
            click.option("--rate", type=click.FloatRange(1, 1000), default=30.0, show_default=True,
                         help="Requests per second."),
            click.option("--streams", type=click.IntRange(0, 500), default=12, show_default=True,
                         help="Streams open at all times."),
            click.option("--seconds", type=click.FloatRange(1, 600),
                         help="How long the fault stays. Without it: the drill's own time."),
            click.option("--calm", type=click.FloatRange(0, 60), default=4.0, show_default=True,
                         help="Seconds of load before the fault, to compare with."),
            click.option("--record/--no-record", default=True, show_default=True,
                         help="Keep the result in docs/failures.json and write docs/failures.md anew."),
            click.option("--zone", help="On AWS: the zone that loses its power, such as eu-central-1a."),
            click.option("--confirm", "typed", metavar="STACK", help="On AWS: the stack's name, typed once more."),
            click.option("--measure", is_flag=True,
                         help="On AWS: send --rate and --streams from here meanwhile, and tell what clients saw."),
            click.option("--yes", "-y", is_flag=True, help="Do not ask; on AWS --confirm is needed."),
            json_option,
            pass_context,
        )
    ):  # fmt: skip
        function = option(function)
    return function


def _one(
    context: Context,
    chosen: Drill,
    stack: str,
    yes: bool,
    as_json: bool,
    zone: str | None,
    typed: str | None,
    measure: bool,
    **given: Any,
) -> None:
    if stack != LOCAL:
        sent = (given["rate"], given["streams"], given["calm"]) if measure else None
        _on_aws(context, chosen, stack, zone, typed, as_json, sent)
        return
    if not asking(yes, "Break it?")([chosen.about]):
        raise RefusedError("The drill was not confirmed.")
    (found,) = _run(context, [chosen], **given)
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo("\n".join(_text(chosen, found)))
    if not found.passed:
        raise SystemExit(ExitCode.FAILURE)


def _on_aws(
    context: Context,
    chosen: Drill,
    stack: str,
    zone: str | None,
    typed: str | None,
    as_json: bool,
    sent: tuple[float, int, float] | None,
) -> None:
    """Starts the stack's template. `sent`: rate, streams and seconds before it, where clients are to be measured."""
    from infra.ops.drill import clients, cloud
    from infra.ops.drill.run import Options
    from infra.ops.endpoint import from_outputs

    access = context.open(stack)
    client = access.aws("fis")
    template = cloud.choose(cloud.templates(client, stack), chosen.name, zone)
    click.echo(f"{template.description} AWS ends it after {template.budget_seconds:.0f} s at the latest.", err=True)
    if typed is None and sys.stdin.isatty():
        typed = click.prompt(f"Type the stack's name ({stack})", err=True)
    cloud.confirm(stack, typed)
    progress = context.progress()
    experiment, figures = cloud.Experiment(client, progress), {}
    with progress.step(f"Drill {chosen.name} on {stack}", template.budget_seconds):
        if sent is None:
            watched = experiment.run(template)
        else:
            rate, streams, calm = sent
            with clients.Clients(from_outputs(access.outputs()), Options(rate, streams, None, calm)) as load:
                watched = experiment.run(template)
            figures = load.figures()
    missed = clients.missed(chosen, figures)
    if as_json:
        echo_json(watched.as_dict() | ({"missed": missed, **figures} if figures else {}))
    else:
        click.echo(f"{watched.experiment} {watched.status} after {watched.seconds:.0f} s. {watched.reason}".rstrip())
        if figures:
            click.echo("\n".join(_seen(chosen, figures, missed)))
    if watched.status != "completed" or missed:
        raise SystemExit(ExitCode.FAILURE)


def _seen(chosen: Drill, figures: dict[str, Any], missed: Sequence[str]) -> list[str]:
    from infra.ops.drill.table import seconds, told

    return [
        f"requests       {figures['requests']} sent, {figures['retried']} more than once, {figures['failed']} failed",
        f"streams        {figures['streams']} opened, {figures['cut']} cut",
        f"worst stall    {seconds(figures['worst_stall'])} (client itself late: {seconds(figures['client_late'])})",
        *(
            f"{'MISSED' if aim.words in missed else 'held':13}  {aim.words} ({told(aim.figure, figures)})"
            for aim in chosen.aims
            if aim.figure in figures
        ),
    ]


def _run(
    context: Context,
    chosen: Sequence[Drill],
    rate: float,
    streams: int,
    seconds: float | None,
    record: bool,
    calm: float,
    done: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    from infra.ops.drill import table
    from infra.ops.drill.run import Options, Runner

    def ended(found: Result) -> None:
        if record:
            table.record(context.checkout, found, f"{rate:g} requests/s and {streams} streams")
        _publish(context, found, f"{rate:g} requests/s and {streams} streams")
        done(found)

    runner = Runner(context.open(LOCAL), Options(rate, streams, seconds, calm), context.progress())
    return runner.run(chosen, ended)


def _publish(context: Context, found: Result, load: str) -> None:
    """For the console's table. A platform that cannot take it is no reason to lose the result."""
    from infra.ops import keys
    from infra.ops.drill.table import commit, published
    from infra.ops.errors import PenstockError
    from infra.ops.usage import admin_of

    try:
        endpoint = admin_of(context.open(LOCAL).outputs())
        content = published(found, load, commit(context.checkout))
        keys.call(endpoint, "PUT", f"drills/{keys.part(found.drill)}", content)
    except PenstockError as error:
        context.progress().say(f"The console has not got this result: {error.cause}")


def _text(chosen: Drill, found: Result) -> list[str]:
    from infra.ops.drill.table import seconds, told

    figures = found.as_dict()
    lines = [
        f"done           {found.done}",
        f"requests       {figures['requests']} sent, {figures['retried']} more than once, {figures['failed']} failed",
        f"streams        {figures['streams']} opened, {figures['cut']} cut, {figures['resumed']} resumed",
        f"worst stall    {seconds(figures['worst_stall'])} (client itself late: {seconds(figures['client_late'])})",
        f"full capacity  {seconds(figures['full_capacity_seconds'])} after the fault",
    ]
    lines += [f"degraded       {name} {text}" for name, text in found.degraded.items()]
    lines += [f"failure        {count} x {reason}" for reason, count in found.reasons.items()]
    lines += [
        f"{'MISSED' if aim.words in found.missed else 'held':13}  {aim.words} ({told(aim.figure, figures)})"
        for aim in chosen.aims
    ]
    return lines


def _command(chosen: Drill) -> click.Command:
    @options
    def run(context: Context, **given: Any) -> None:
        _one(context, chosen, **given)

    about = f"{chosen.about}\n\nAims: {'; '.join(aim.words for aim in chosen.aims)}. Exits with 1 where one is missed."
    return click.command(chosen.name, help=about)(run)


for _drill in CATALOGUE.values():
    drill.add_command(_command(_drill))


@drill.command("all")
@click.option("--skip", multiple=True, type=click.Choice(list(CATALOGUE)), help="Leave this drill out; repeatable.")
@options
def every(
    context: Context,
    stack: str,
    yes: bool,
    as_json: bool,
    zone: str | None,
    typed: str | None,
    measure: bool,
    skip: tuple[str, ...],
    **given: Any,
) -> None:
    """Run every drill under one load, one after the other; the one that ends the platform is the last.

    A drill that misses an aim does not stop the rest; one whose undo fails does.

    \b
    JSON: a list of results, as of one drill; those that were had, where one could not be run.
    """
    if stack != LOCAL or zone or typed or measure:
        raise UsageError("All drills together run on this machine alone.", "On AWS: one drill at a time.")
    chosen = [each for each in CATALOGUE.values() if each.name not in skip]
    if not asking(yes, "Break all of it?")([f"{len(chosen)} drills: {', '.join(each.name for each in chosen)}."]):
        raise RefusedError("The drills were not confirmed.")
    results: list[Result] = []

    def done(found: Result) -> None:
        results.append(found)
        if not as_json:
            click.echo(f"\n{found.drill}\n" + "\n".join(f"  {line}" for line in _text(CATALOGUE[found.drill], found)))

    try:
        _run(context, chosen, **given, done=done)
    finally:
        if as_json:
            echo_json([found.as_dict() for found in results])
    if not all(found.passed for found in results):
        raise SystemExit(ExitCode.FAILURE)
