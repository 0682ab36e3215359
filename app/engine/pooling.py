"""/v1/embeddings, as a vLLM that was started with `--runner pooling` answers. See vectors.py for what they mean."""

from __future__ import annotations

import base64
import struct
from asyncio import TimerHandle
from typing import TYPE_CHECKING, Any

from app.engine import replies
from app.engine.replies import ApiError, Json, bad_parameter, dump, invalid
from app.engine.requests import Prompt, Served, chat_prompt, check_model, integer, plain_prompts
from app.engine.vectors import SIZE, vector

if TYPE_CHECKING:
    from app.engine.protocol import Request
    from app.engine.server import EngineServer

FORMATS = ("float", "base64")


class Embeddings:
    """One request under way: it takes as long as its prompt would take to be read."""

    def __init__(self, server: EngineServer, request: Request, content: object, seconds: float) -> None:
        self.request = request
        self._server = server
        self._content = content
        request.on_disconnect = self._end
        self._timer: TimerHandle = server.loop.call_later(seconds, self._done)

    def _done(self) -> None:
        self.request.send(200, dump(self._content))
        self._server.metrics.add("request_success", "stop")
        self._end()

    def fail(self, error: ApiError) -> None:
        self.request.send(error.status, dump(error.body))
        self._end()

    def _end(self) -> None:
        self.request.on_disconnect = None
        self._timer.cancel()
        self._server.forget(self)


def embed(server: EngineServer, request: Request, body: Json) -> None:
    """Raises ApiError."""
    model = check_model(server.served, body)
    prompts = _prompts(server.served, body)
    server.admit(len(prompts))
    form = body.get("encoding_format") or "float"
    if form not in FORMATS:
        raise invalid("literal_error", "body.encoding_format", "Input should be 'float' or 'base64'", form)
    size = integer(body, "dimensions", SIZE)
    if size is None or not 1 <= size <= SIZE:
        raise bad_parameter(f"dimensions must be between 1 and {SIZE}, got {size}.", "dimensions", size)
    data: list[Json] = []
    for index, prompt in enumerate(prompts):
        found = vector(prompt.text, size)
        shown: Any = found if form == "float" else base64.b64encode(struct.pack(f"<{size}f", *found)).decode()
        data.append({"index": index, "object": "embedding", "embedding": shown})
    tokens = sum(len(prompt.tokens) for prompt in prompts)
    server.scheduler.totals.prompt += tokens
    request_id = request.headers.get("x-request-id") or server.new_id()
    content = {
        "id": f"embd-{request_id}",
        "object": "list",
        "created": server.now(),
        "model": model,
        "data": data,
        "usage": replies.full_usage(tokens, 0),
    }
    settings = server.settings
    seconds = tokens / settings.prefill_tokens_per_second * settings.slow_factor
    server.jobs.add(Embeddings(server, request, content, seconds))


def _prompts(served: Served, body: Json) -> list[Prompt]:
    if "messages" in body:
        prompts = [chat_prompt(served.tokenizer, body["messages"], None, False)]
    elif body.get("input") is None:
        raise invalid("missing", "body.input", "Field required", body)
    else:
        given = body["input"]
        if given == []:
            raise invalid("too_short", "body.input", "List should have at least 1 item after validation", given)
        prompts = plain_prompts(served.tokenizer, given, "input")
    most, cut = served.max_model_len, integer(body, "truncate_prompt_tokens", None, -1)
    keep = most if cut == -1 else cut
    if keep is not None and keep > most:
        message = f"truncate_prompt_tokens value ({keep}) is greater than max_model_len ({most})."
        raise bad_parameter(message, "truncate_prompt_tokens", keep)
    for at, prompt in enumerate(prompts):
        count = len(prompt.tokens)
        if keep is not None and count > keep:
            tokens = prompt.tokens[:keep]
            prompts[at] = Prompt(tokens, served.tokenizer.decode(tokens))
        elif count > most:
            message = (
                f"This model's maximum context length is {most} tokens. However, you requested {count} tokens in the "
                "input for embedding generation. Please reduce the length of the input."
            )
            raise bad_parameter(message, "input_tokens", count)
        elif count == 0:
            raise ApiError(400, "The decoder prompt cannot be empty", "BadRequestError")
    return prompts
