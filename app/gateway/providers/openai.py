"""OpenAI's own API, and those that speak it: the model's name and, for OpenAI, the fields that it knows. Pure."""

from __future__ import annotations

import msgspec

KNOWN = frozenset(
    {
        "messages", "model", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "metadata", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty",
        "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop",
        "store", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
        "verbosity", "web_search_options",
    }
)  # fmt: skip
"""Of a chat request, from OpenAI's API reference: it refuses others, such as vLLM's `top_k`, with 400."""

KNOWN_OF_EMBEDDINGS = frozenset({"input", "model", "dimensions", "encoding_format", "user"})


def request(route: str, body: bytes, model: str, most_tokens: int, *, only_known: bool) -> bytes:
    """The body with the provider's name of the model. Of equal keys the last one counts, as everywhere here.

    `only_known`: for OpenAI itself, whose newer models take `max_completion_tokens` alone.
    """
    content = msgspec.json.decode(body)
    content["model"] = model
    if route == "chat" and only_known:
        most = content.pop("max_tokens", None)
        if most is not None:
            content.setdefault("max_completion_tokens", most)
        content = {name: value for name, value in content.items() if name in KNOWN}
    if route == "embeddings" and only_known:
        content = {name: value for name, value in content.items() if name in KNOWN_OF_EMBEDDINGS}
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if isinstance(content.get(name), int) and content[name] > most_tokens:
            content[name] = most_tokens
    return msgspec.json.encode(content)
