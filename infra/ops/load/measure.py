"""How a model counts tokens, asked of the model itself: prompts of a workload are then as long as they should be."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

from infra.ops.endpoint import GatewayError, request
from infra.ops.load.workloads import WORDS, Tokens

if TYPE_CHECKING:
    from infra.ops.endpoint import Endpoint

SECONDS = 60.0
REPEATS = (2, 10)


def tokens_of(endpoint: Endpoint, model: str) -> Tokens:
    """Asks for one token after a short and after a longer prompt, and takes the difference of their usage.

    Raises GatewayError where the model does not answer or tells no usage.
    """
    short, longer = (_prompt_tokens(endpoint, model, " ".join(WORDS * times)) for times in REPEATS)
    per_word = (longer - short) / (len(WORDS) * (REPEATS[1] - REPEATS[0]))
    if per_word <= 0:
        raise GatewayError(f"{model} counts as many tokens for a long prompt as for a short one.")
    return Tokens(per_word, max(0, round(short - per_word * len(WORDS) * REPEATS[0])))


def _prompt_tokens(endpoint: Endpoint, model: str, prompt: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 1}
    with request(endpoint, "POST", "/v1/chat/completions", body, SECONDS) as response:
        try:
            return int(json.loads(response.read())["usage"]["prompt_tokens"])
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            raise GatewayError(f"The usage of {model} cannot be read: {error!r}.") from None
