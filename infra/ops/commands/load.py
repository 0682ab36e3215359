"""`penstock load`."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infra.ops.context import Context, echo_json, json_option, stack_option
from infra.ops.errors import ExitCode, PenstockError, UsageError

if TYPE_CHECKING:
    from infra.ops.endpoint import Endpoint
    from infra.ops.load.generator import Plan
    from infra.ops.load.knee import Step
    from infra.ops.load.records import Figures, Records
    from infra.ops.load.sweep import Sweep

WORKLOAD_NAMES = ("chat", "code", "long")
"""As in infra/ops/load/workloads.py, which a test compares; help must not wait for an import."""


@click.command()
@stack_option
@click.option("--rate", default=50.0, show_default=True, help="Requests per second, sent when they are due.")
@click.option("--streams", default=20, show_default=True, help="Streams open at all times; not with --workload.")
@click.option("--seconds", default=30.0, show_default=True, help="How long to send. Ctrl-C ends it early.")
@click.option("--workload", type=click.Choice(WORKLOAD_NAMES), help="Streams with the lengths of published traces.")
@click.option("--clients", default=0, show_default=True, help="Closed loop: clients that wait for their answers.")
@click.option("--think-seconds", default=1.0, show_default=True, help="A client's pause after an answer, on average.")
@click.option("--scale", default=1.0, show_default=True, help="Multiply the workload's lengths.")
@click.option(
    "--most-tokens",
    type=int,
    help="Longest prompt and output together. Without it: the model's context.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed sends the same workload.")
@click.option("--sweep", metavar="RATES", help="Try rising rates, such as 5,10,20, each for --seconds; find the knee.")
@click.option("--report", type=click.Path(path_type=Path), help="Write report.html, PNG pictures and JSON in a folder.")
@click.option("--model", "-m", help="The model to ask. Without it: the stack's first.")
@click.option("--request-tokens", default=8, show_default=True, help="max_tokens of a JSON request.")
@click.option("--stream-tokens", default=64, show_default=True, help="max_tokens of a stream.")
@click.option("--timeout", "timeout_seconds", default=60.0, show_default=True, help="Longest silence, in seconds.")
@click.option("--same-text", is_flag=True, help="Ask streams at temperature 0 and compare their text.")
@click.option("--url", envvar="PENSTOCK_GATEWAY_URL", show_envvar=True, help="The gateway. Without it: the stack's.")
@click.option("--key", envvar="PENSTOCK_API_KEY", show_envvar=True, help="The API key. Without it: the stack's.")
@click.option("--allow-remote", is_flag=True, help="Send load to a gateway that is not on this machine.")
@json_option
@click.pass_context
def load(
    click_context: click.Context,
    stack: str,
    workload: str | None,
    sweep: str | None,
    report: Path | None,
    model: str | None,
    url: str | None,
    key: str | None,
    as_json: bool,
    **numbers: Any,
) -> None:
    """Send load and count what happens to it.

    Without --workload: JSON requests at a constant rate, and a number of streams that are always open. With it: streams
    of the lengths and arrivals of published traces, at --rate (open loop) or from --clients (closed loop).

    A stream is whole when it has a finish reason, [DONE], and as many events as its usage has tokens (one more
    is let pass); with --same-text, when it has the text and usage of an answer asked for beforehand. Any other
    that began is cut. Exits with 1 where a request failed or a stream was cut; in a sweep only where the
    lowest rate was already too much.

    \b
    JSON: {requests, failed_requests, streams, failed_streams, cut_streams, tokens, latency_p50,
           latency_p99, ttft_p50, ttft_p99, itl_p50, itl_p99, worst_stall, colours, reasons, by_second},
          in a sweep {steps: [...], knee}; times in seconds.
    """
    from infra.ops.load.generator import Plan
    from infra.ops.load.workloads import WORKLOADS

    context = click_context.find_object(Context) or Context()
    endpoint = context.endpoint(stack, url, key)
    name = model or next(iter(endpoint.models), None)
    if name is None:
        raise PenstockError("The gateway serves no model.", "See `penstock status`.")
    if workload:
        numbers |= _fitting(context, endpoint, name, numbers["most_tokens"])
    plan = Plan(model=name, workload=WORKLOADS[workload] if workload else None, **numbers)
    if sweep is None:
        _once(click_context, context, endpoint, plan, report, as_json)
    else:
        _sweep(click_context, context, endpoint, plan, sweep, report, as_json)


def _fitting(context: Context, endpoint: Endpoint, model: str, most: int | None) -> dict[str, Any]:
    """The plan's `tokens` and `most_tokens` for this model. Raises UsageError for a load that goes elsewhere."""
    from infra.ops.endpoint import context_tokens
    from infra.ops.load.measure import tokens_of

    tokens = tokens_of(endpoint, model)
    holds = context_tokens(endpoint).get(model)
    if most is None and holds:
        # Drawn words may be longer than the average ones that were counted.
        most = max(2, int(0.95 * holds) - tokens.around)
        context.progress().say(f"Prompts and answers are cut to {most} tokens: the context of {model} is {holds}.")
    return {"tokens": tokens, "most_tokens": most}


def _once(
    click_context: click.Context, context: Context, endpoint: Endpoint, plan: Plan, report: Path | None, as_json: bool
) -> None:
    import asyncio
    import signal

    from infra.ops.load.generator import Load

    async def send() -> Records:
        running = Load(endpoint, plan)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, running.stop)
        return await running.run()

    with context.progress().step(f"{_sent(plan)} to {endpoint.url}", plan.seconds):
        records = asyncio.run(send())
    figures = records.figures()
    path = _written(report, endpoint, plan, records) if report else None
    if as_json:
        echo_json({**figures.as_dict(), "by_second": records.by_second()})
    else:
        click.echo(_text(figures))
        if path:
            click.echo(f"report    {path}")
    if figures.failures:
        click_context.exit(ExitCode.FAILURE)


def _sweep(
    click_context: click.Context,
    context: Context,
    endpoint: Endpoint,
    plan: Plan,
    rates: str,
    report: Path | None,
    as_json: bool,
) -> None:
    import asyncio
    import signal

    from infra.ops.load.generator import Load
    from infra.ops.load.sweep import rates_of, sweep

    asked, progress = rates_of(rates), context.progress()

    async def send() -> Sweep:
        def begun(rate: float, running: Load) -> None:
            progress.say(f"{rate:g} requests/s for {plan.seconds:g} s")
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, running.stop)

        return await sweep(endpoint, plan, asked, begun)

    done = asyncio.run(send())
    path = _written(report, endpoint, plan, done.records[-1], done.steps) if report else None
    if as_json:
        echo_json({"steps": [step.as_dict() for step in done.steps], "knee": done.knee})
    else:
        click.echo("\n".join(_table(done)))
        if path:
            click.echo(f"report    {path}")
    if done.knee is None:
        click_context.exit(ExitCode.FAILURE)


def _written(folder: Path, endpoint: Endpoint, plan: Plan, records: Records, steps: tuple[Step, ...] = ()) -> Path:
    try:
        from infra.ops.load.report import Told, write
    except ImportError as problem:
        raise UsageError(f"--report needs matplotlib: {problem}.", "Run `make setup`.") from None
    sent = _sent(plan, " then ".join(f"{step.rate:g}" for step in steps))
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = {"when": when, "gateway": endpoint.url, "model": plan.model, "sent": sent, "seed": str(plan.seed)}
    return write(folder, Told(f"Load on {plan.model}", facts), records, steps)


def _sent(plan: Plan, rates: str = "") -> str:
    if plan.workload is None:
        return f"{plan.rate:g} requests/s and {plan.streams} streams"
    how = f"{plan.clients} clients" if plan.clients else f"{rates or f'{plan.rate:g}'} requests/s"
    return f"{how} of {plan.workload.about}" + (f", lengths x {plan.scale:g}" if plan.scale != 1 else "")


def _table(done: Sweep) -> list[str]:
    from infra.ops.load.knee import knee_in_words
    from infra.ops.tables import table

    head = ("rate/s", "sent", "failed", "answered/s", "tokens/s", "TTFT p50", "TTFT p95", "ITL p50", "ITL p99")
    rows = [
        (
            step.rate,
            step.sent,
            step.failed,
            round(step.answered_per_second, 1),
            round(step.tokens_per_second),
            *(_ms(value) for value in (step.ttft_p50, step.ttft_p95, step.itl_p50, step.itl_p99)),
        )
        for step in done.steps
    ]
    return [*table(head, rows, indent=""), knee_in_words(done.steps)]


def _text(figures: Figures) -> str:
    latency = f"latency p50 {_ms(figures.latency_p50)}, p99 {_ms(figures.latency_p99)}"
    ttft = f"TTFT p50 {_ms(figures.ttft_p50)}, p99 {_ms(figures.ttft_p99)}"
    broken = f"{figures.failed_streams} failed, {figures.cut_streams} of them cut"
    gaps = f"ITL p50 {_ms(figures.itl_p50)}, p99 {_ms(figures.itl_p99)}, worst {_ms(figures.worst_stall)}"
    lines = [
        f"requests  {figures.requests} sent, {figures.failed_requests} failed, {latency}",
        f"streams   {figures.streams} opened, {broken}, {ttft}",
        f"tokens    {figures.tokens} streamed, {gaps}",
    ]
    lines += [f"{colour:8}  {figures.share(colour):.1%} of the answers" for colour in sorted(figures.colours)]
    lines += [f"failure   {count} x {reason}" for reason, count in figures.reasons.items()]
    return "\n".join(lines)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"
