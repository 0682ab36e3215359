"""`penstock load`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from infra.ops.context import Context, echo_json, json_option, stack_option
from infra.ops.errors import ExitCode, PenstockError

if TYPE_CHECKING:
    from infra.ops.load_records import Figures


@click.command()
@stack_option
@click.option("--rate", default=50.0, show_default=True, help="JSON requests per second, sent when they are due.")
@click.option("--streams", default=20, show_default=True, help="Streams open at all times.")
@click.option("--seconds", default=30.0, show_default=True, help="How long to send. Ctrl-C ends it early.")
@click.option("--model", "-m", help="The model to ask. Without it: the stack's first.")
@click.option("--request-tokens", default=8, show_default=True, help="max_tokens of a JSON request.")
@click.option("--stream-tokens", default=64, show_default=True, help="max_tokens of a stream.")
@click.option("--timeout", "timeout_seconds", default=60.0, show_default=True, help="Longest silence, in seconds.")
@click.option("--url", envvar="PENSTOCK_GATEWAY_URL", show_envvar=True, help="The gateway. Without it: the stack's.")
@click.option("--key", envvar="PENSTOCK_API_KEY", show_envvar=True, help="The API key. Without it: the stack's.")
@click.option("--allow-remote", is_flag=True, help="Send load to a gateway that is not on this machine.")
@json_option
@click.pass_context
def load(
    click_context: click.Context,
    stack: str,
    rate: float,
    streams: int,
    seconds: float,
    model: str | None,
    request_tokens: int,
    stream_tokens: int,
    timeout_seconds: float,
    url: str | None,
    key: str | None,
    allow_remote: bool,
    as_json: bool,
) -> None:
    """Send a constant load and count what happens to it.

    A stream is whole when it has a finish reason, [DONE], and as many tokens as its usage says; any other
    that began is cut. Exits with 1 where a request failed or a stream was cut.

    \b
    JSON: {requests, failed_requests, streams, failed_streams, cut_streams, tokens, latency_p50,
           latency_p99, ttft_p50, ttft_p99, colours, reasons, by_second}; times in seconds.
    """
    import asyncio
    import signal

    from infra.ops.load import Load, Plan
    from infra.ops.load_records import Records

    context = click_context.find_object(Context) or Context()
    endpoint = context.endpoint(stack, url, key)
    name = model or next(iter(endpoint.models), None)
    if name is None:
        raise PenstockError("The gateway serves no model.", "See `penstock status`.")
    plan = Plan(
        model=name,
        rate=rate,
        streams=streams,
        seconds=seconds,
        request_tokens=request_tokens,
        stream_tokens=stream_tokens,
        timeout_seconds=timeout_seconds,
        allow_remote=allow_remote,
    )

    async def send() -> Records:
        running = Load(endpoint, plan)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, running.stop)
        return await running.run()

    with context.progress().step(f"{rate:g} requests/s and {streams} streams to {endpoint.url}", seconds):
        records = asyncio.run(send())
    figures = records.figures()
    if as_json:
        echo_json({**figures.as_dict(), "by_second": records.by_second()})
    else:
        click.echo(_text(figures))
    if figures.failures:
        click_context.exit(ExitCode.FAILURE)


def _text(figures: Figures) -> str:
    latency = f"latency p50 {_ms(figures.latency_p50)}, p99 {_ms(figures.latency_p99)}"
    ttft = f"TTFT p50 {_ms(figures.ttft_p50)}, p99 {_ms(figures.ttft_p99)}"
    broken = f"{figures.failed_streams} failed, {figures.cut_streams} of them cut"
    lines = [
        f"requests  {figures.requests} sent, {figures.failed_requests} failed, {latency}",
        f"streams   {figures.streams} opened, {broken}, {ttft}",
        f"tokens    {figures.tokens} streamed",
    ]
    lines += [f"{colour:8}  {figures.share(colour):.1%} of the answers" for colour in sorted(figures.colours)]
    lines += [f"failure   {count} x {reason}" for reason, count in figures.reasons.items()]
    return "\n".join(lines)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"
