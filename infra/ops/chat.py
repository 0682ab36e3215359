"""One chat with the gateway: streamed or whole."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from infra.ops.endpoint import Endpoint, GatewayError, error_message, request
from infra.ops.sse import DONE, EventParser

PATH = "/v1/chat/completions"
READ_BYTES = 65536


@dataclass(frozen=True)
class Answer:
    """`ttft_seconds`: until the first event with text; None for an answer that came whole."""

    model: str
    text: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    colour: str | None
    ttft_seconds: float | None
    total_seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def facts(self) -> str:
        """A line about the answer, for standard error."""
        parts = [self.model, f"{self.completion_tokens} tokens" if self.completion_tokens is not None else ""]
        parts.append(f"first after {self.ttft_seconds:.2f} s" if self.ttft_seconds is not None else "")
        parts += [f"{self.total_seconds:.2f} s in all", f"colour {self.colour}" if self.colour else ""]
        return ", ".join(part for part in parts if part)


def body(model: str, prompt: str, *, system: str | None, max_tokens: int | None, stream: bool) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] if system else []
    content: dict[str, Any] = {"model": model, "messages": [*messages, {"role": "user", "content": prompt}]}
    if max_tokens is not None:
        content["max_tokens"] = max_tokens
    if stream:
        content |= {"stream": True, "stream_options": {"include_usage": True}}
    return content


def whole(endpoint: Endpoint, content: dict[str, Any]) -> Answer:
    """Raises GatewayError."""
    started = time.monotonic()
    with request(endpoint, "POST", PATH, content) as response:
        colour = response.getheader("x-penstock-colour")
        try:
            reply = json.loads(response.read())
            choice, usage = reply["choices"][0], reply.get("usage") or {}
            text, finish = choice["message"]["content"] or "", choice["finish_reason"] or ""
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            raise GatewayError(f"The answer broke off or is not a chat completion: {error!r}.") from None
    return Answer(
        reply.get("model", content["model"]),
        text,
        finish,
        usage.get("prompt_tokens"),
        usage.get("completion_tokens"),
        colour,
        None,
        time.monotonic() - started,
    )


def streamed(endpoint: Endpoint, content: dict[str, Any], on_text: Callable[[str], None]) -> Answer:
    """Calls `on_text` with each piece as it arrives. Raises GatewayError, also where the stream is cut."""
    started = time.monotonic()
    pieces: list[str] = []
    seen = _Seen()
    with request(endpoint, "POST", PATH, content) as response:
        colour = response.getheader("x-penstock-colour")
        parser = EventParser()
        while not seen.done:
            came: list[str] = []
            try:
                chunk = response.read1(READ_BYTES)
                came.extend(text for event in parser.feed(chunk) if (text := seen.take(event)))
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise GatewayError(f"The stream was cut: {error or type(error).__name__}.") from None
            finally:
                for text in came:  # outside the reading: a closed standard output is no fault of the stream
                    seen.first = seen.first or time.monotonic()
                    pieces.append(text)
                    on_text(text)
            if not chunk:
                break
    if not seen.done:
        raise GatewayError("The stream was cut: it ended without [DONE].")
    return Answer(
        seen.model or content["model"],
        "".join(pieces),
        seen.finish,
        seen.usage.get("prompt_tokens"),
        seen.usage.get("completion_tokens"),
        colour,
        seen.first - started if seen.first else None,
        time.monotonic() - started,
    )


class _Seen:
    """What a stream has told so far."""

    def __init__(self) -> None:
        self.done = False
        self.model = ""
        self.finish = ""
        self.first: float | None = None
        self.usage: dict[str, int] = {}

    def take(self, event: str) -> str:
        """The event's text. Raises GatewayError for an error event: the status was already sent when it happened."""
        if event == DONE:
            self.done = True
            return ""
        chunk = json.loads(event)
        if "error" in chunk:
            raise GatewayError(f"The stream ended with an error: {error_message(event) or event[:300]}")
        self.model = chunk.get("model") or self.model
        self.usage = chunk.get("usage") or self.usage
        choices = chunk.get("choices") or []
        if not choices:
            return ""
        self.finish = choices[0].get("finish_reason") or self.finish
        return (choices[0].get("delta") or {}).get("content") or ""
