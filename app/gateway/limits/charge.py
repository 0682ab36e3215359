"""What a request reserves before it begins, and what it is charged at its end, in tokens and nano-dollars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from app.gateway.limits.policy import NANO

if TYPE_CHECKING:
    from app.gateway.account import Account
    from app.gateway.admit import Admitted
    from app.gateway.config import ModelRoute

BYTES_A_TOKEN = 4


def _nano(prompt: int, output: int, route: ModelRoute) -> int:
    dollars = prompt * route.input_usd_per_million_tokens + output * route.output_usd_per_million_tokens
    return math.ceil(dollars * NANO / 1e6)


def reservation(admitted: Admitted, body_bytes: int, route: ModelRoute) -> tuple[int, int]:
    """The most that a request may use: a quarter of its bytes as prompt, and its `max_tokens` for each choice."""
    prompt = min(body_bytes // BYTES_A_TOKEN + 1, route.context_tokens)
    return prompt + admitted.output_tokens, _nano(prompt, admitted.output_tokens, route)


def charge(account: Account, route: ModelRoute, prompt_bytes: int) -> tuple[int, int]:
    """What a request used. `prompt_bytes`: of a body that an engine had when the client left; it counts as read."""
    if account.saved:
        return 0, 0
    prompt, output = account.input_tokens, account.output_tokens
    if prompt_bytes and not prompt:
        prompt = min(prompt_bytes // BYTES_A_TOKEN + 1, route.context_tokens)
        return prompt + output, _nano(prompt, output, route)
    return prompt + output, round(account.cost_usd * NANO)
