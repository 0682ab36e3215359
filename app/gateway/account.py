"""What a request used and what it cost, without I/O."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from app.gateway.config import ModelRoute


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """The `usage` object of OpenAI's API, in tokens. An explicit zero stays zero."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class _Reply(msgspec.Struct):
    usage: Usage | None = None


_decode = msgspec.json.Decoder(_Reply).decode


def read_usage(reply: bytes) -> Usage | None:
    """The usage of a JSON reply; None where there is none or it cannot be read."""
    try:
        return _decode(reply).usage
    except (msgspec.DecodeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Account:
    """Tokens and money of one request. `estimated`: no usage came, so output tokens are the events relayed."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    estimated: bool = False


def settle(usage: Usage | None, events: int, route: ModelRoute) -> Account:
    """The account of a request. `events` is the number of SSE events relayed, taken where no usage is known."""
    if usage is None:
        cost = events * route.output_usd_per_million_tokens / 1e6
        return Account(output_tokens=events, cost_usd=cost, estimated=True)
    output = usage.completion_tokens or 0
    details = usage.prompt_tokens_details
    cost = (
        usage.prompt_tokens * route.input_usd_per_million_tokens + output * route.output_usd_per_million_tokens
    ) / 1e6
    return Account(usage.prompt_tokens, output, (details.cached_tokens or 0) if details else 0, cost)
