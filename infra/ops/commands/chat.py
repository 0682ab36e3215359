"""`penstock chat`."""

from __future__ import annotations

import sys

import click

from infra.ops.context import Context, echo_json, json_option, pass_context, stack_option
from infra.ops.errors import PenstockError, UsageError


@click.command()
@click.argument("prompt")
@stack_option
@click.option("--model", "-m", help="The model to ask. Without it: the stack's first.")
@click.option("--system", help="A system message before the prompt.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="At most so many tokens of answer.")
@click.option("--no-stream", is_flag=True, help="Ask for the whole answer at once.")
@click.option("--url", envvar="PENSTOCK_GATEWAY_URL", show_envvar=True, help="The gateway. Without it: the stack's.")
@click.option("--key", envvar="PENSTOCK_API_KEY", show_envvar=True, help="The API key. Without it: the stack's.")
@json_option
@pass_context
def chat(
    context: Context,
    prompt: str,
    stack: str,
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    no_stream: bool,
    url: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Ask the gateway and print the answer as it arrives. PROMPT may be - to read standard input.

    \b
    JSON: {model, text, finish_reason, prompt_tokens, completion_tokens, colour,
           ttft_seconds, total_seconds}.
    """
    from infra.ops import chat as logic

    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise UsageError("The prompt is empty.")
    endpoint = context.endpoint(stack, url, key)
    name = model or next(iter(endpoint.models), None)
    if name is None:
        raise PenstockError("The gateway serves no model.", "See `penstock status`.")
    body = logic.body(name, text, system=system, max_tokens=max_tokens, stream=not no_stream)
    if no_stream:
        answer = logic.whole(endpoint, body)
    else:
        answer = logic.streamed(endpoint, body, lambda piece: None if as_json else _show(piece))
    if as_json:
        echo_json(answer.as_dict())
        return
    click.echo("" if not no_stream else answer.text)
    if sys.stderr.isatty():
        click.echo(click.style(answer.facts(), dim=True), err=True)


def _show(piece: str) -> None:
    click.echo(piece, nl=False)
    sys.stdout.flush()
