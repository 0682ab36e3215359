"""What a request used and what it cost, without I/O."""

from __future__ import annotations

import re

import msgspec

from app.gateway.config import ModelRoute


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """The `usage` object of OpenAI's API, in tokens. An explicit zero stays zero.

    The Responses API calls the same counts `input_tokens` and `output_tokens`: they are taken over on reading.
    """

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: PromptDetails | None = None

    def __post_init__(self) -> None:
        if self.input_tokens is not None:
            self.prompt_tokens = self.input_tokens
            self.completion_tokens = self.output_tokens
            self.prompt_tokens_details = self.input_tokens_details


class Billed(msgspec.Struct):
    """What holds a `usage`: a JSON reply, or the response inside a typed event."""

    usage: Usage | None = None


_decode = msgspec.json.Decoder(Billed).decode


def read_usage(reply: bytes) -> Usage | None:
    """The usage of a JSON reply; None where there is none or it cannot be read."""
    try:
        return _decode(reply).usage
    except (msgspec.DecodeError, RecursionError):
        return None


class Account(msgspec.Struct, frozen=True, gc=False):
    """Tokens and money of one request.

    `estimated`: no usage came, so output tokens are the events relayed, and the prompt's are guessed. `saved`: no
    engine worked for it; tokens are those of a kept or shared answer, and cost nothing.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    estimated: bool = False
    saved: bool = False


_BINARY = re.compile(rb'"(?:data:[^",]{0,99},)?[A-Za-z0-9+/=_-]{512,}"')
BYTES_A_TOKEN = 4
"""Of English text, in JSON."""


def guess_input_tokens(body: bytes, context_tokens: int) -> int:
    """Prompt tokens by the size of a request's body, images and sound left out; never more than fit the model."""
    return min(len(_BINARY.sub(b"", body)) // BYTES_A_TOKEN, context_tokens)


def settle(usage: Usage | None, events: int, route: ModelRoute, body: bytes = b"") -> Account:
    """The account of a request. `events` is the number of SSE events relayed, taken where no usage is known.

    Then the prompt is guessed from `body`: an engine that has begun to answer has read it.
    """
    if usage is None:
        prompt = guess_input_tokens(body, route.context_tokens) if events else 0
        cost = (prompt * route.input_usd_per_million_tokens + events * route.output_usd_per_million_tokens) / 1e6
        return Account(prompt, events, cost_usd=cost, estimated=True)
    # An engine's word is not trusted to be sound: nothing it says makes a counter or a limit go backwards.
    prompt, output = max(usage.prompt_tokens, 0), max(usage.completion_tokens or 0, 0)
    details = usage.prompt_tokens_details
    cost = (prompt * route.input_usd_per_million_tokens + output * route.output_usd_per_million_tokens) / 1e6
    return Account(prompt, output, max(details.cached_tokens or 0, 0) if details else 0, cost)
