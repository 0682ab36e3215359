"""Smoke test and validation of a colour by routes that its weight does not matter to.

The load balancer gives a request to the named colour when it carries the header value that the program keeps in
Secrets Manager: who may read that secret may choose, and nobody else.
"""

from __future__ import annotations

import http.client
import json
import math
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from infra.ops.endpoint import Endpoint, GatewayError, request
from infra.ops.errors import NotRunningError, RefusedError
from infra.ops.stacks import StackAccess, State

SECRET = "release-probe"  # noqa: S105 - the secret's logical name in the program
COLOUR_HEADER, PROBE_HEADER = "x-penstock-colour", "x-penstock-probe"
SIDE_BY_SIDE = 4
READ_SECONDS = 60.0
TOKENS = 16
QUESTION = "Say in a few words what a penstock is."


@dataclass(frozen=True)
class Answer:
    """One validation request. `failure` is empty for one that was whole and came from the colour asked for."""

    model: str
    stream: bool
    seconds: float
    failure: str
    status: int | None = None
    """Of the HTTP answer; None where there was none."""


@dataclass(frozen=True)
class Validation:
    colour: str
    answers: tuple[Answer, ...]

    @property
    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.failure]

    def as_dict(self) -> dict[str, Any]:
        good = sorted(answer.seconds for answer in self.answers if not answer.failure)
        p95 = good[math.ceil(0.95 * len(good)) - 1] if good else None
        return {
            "colour": self.colour,
            "requests": len(self.answers),
            "failed": len(self.failures),
            "p95_seconds": None if p95 is None else round(p95, 3),
            "reasons": sorted({f"{answer.model}: {answer.failure}" for answer in self.failures})[:10],
        }


def token(access: StackAccess, state: State) -> str:
    """The header's value. Raises NotRunningError where the stack does not have it yet."""
    found = [resource for resource in state.of_type(":Secret") if resource.name == SECRET]
    if not found:
        raise NotRunningError("The stack has no header value for a colour's checks.", "Run `penstock up`.")
    return str(access.aws("secretsmanager").get_secret_value(SecretId=found[0].id)["SecretString"])


def validate(
    endpoint: Endpoint, secret: str, colour: str, models: Sequence[str], each: int, embedders: Collection[str] = ()
) -> Validation:
    """Asks each model `each` times, every second time as a stream; `embedders` for embeddings.

    Raises RefusedError where an answer is not whole.
    """
    jobs = [(model, bool(number % 2), model in embedders) for number in range(each) for model in models]
    with ThreadPoolExecutor(SIDE_BY_SIDE, "validation") as pool:
        answers = pool.map(lambda job: ask(endpoint, secret, colour, *job), jobs)
        done = Validation(colour, tuple(answers))
    if done.failures:
        first = done.failures[0]
        raise RefusedError(
            f"{len(done.failures)} of {len(done.answers)} validation requests to {colour} failed; the first, of "
            f"{first.model}: {first.failure}",
            "It gets no traffic. See `penstock logs`.",
        )
    return done


def ask(
    endpoint: Endpoint,
    secret: str,
    colour: str,
    model: str,
    stream: bool,
    embeds: bool,
    read_seconds: float = READ_SECONDS,
) -> Answer:
    """One request to a colour, whatever its weight. What goes wrong is in the answer."""
    path, body = _embedding(model) if embeds else _chat(model, stream)
    headers = {COLOUR_HEADER: colour, PROBE_HEADER: secret}
    started = time.monotonic()
    status: int | None = None
    try:
        with request(endpoint, "POST", path, body, read_seconds, headers) as response:
            status = response.status
            answered = response.getheader(COLOUR_HEADER, "")
            content = response.read()
        wrong = embedding_fault(content) if embeds else fault(content, stream)
        failure = f"answered by {answered or 'nobody'}" if answered != colour else wrong
    except GatewayError as error:
        failure, status = str(error), error.status
    except (OSError, http.client.HTTPException) as error:
        failure, status = str(error) or type(error).__name__, None
    return Answer(model, stream, time.monotonic() - started, failure, status)


def _chat(model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": TOKENS,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return "/v1/chat/completions", body


def _embedding(model: str) -> tuple[str, dict[str, Any]]:
    return "/v1/embeddings", {"model": model, "input": QUESTION, "encoding_format": "float"}


def embedding_fault(content: bytes) -> str:
    """What is wrong with an embedding; empty where it is a vector of numbers, of which some are not 0."""
    try:
        vector = json.loads(content)["data"][0]["embedding"]
    except (ValueError, LookupError, TypeError):
        return "the answer has no embedding"
    numbers = isinstance(vector, list) and all(isinstance(each, int | float) and math.isfinite(each) for each in vector)
    return "" if numbers and any(vector) else "the embedding is no vector of numbers"


def fault(content: bytes, stream: bool) -> str:
    """What is wrong with an answer; empty where it is whole: text, a finish reason, usage, and a stream's end."""
    if stream:
        lines = [line[6:] for line in content.split(b"\n") if line.startswith(b"data: ")]
        if not lines or lines[-1].strip() != b"[DONE]":
            return "the stream was cut"
        chunks = list(_decoded(lines[:-1]))
    else:
        chunks = list(_decoded([content]))
    if not chunks or any(chunk is None for chunk in chunks):
        return "the answer is not JSON"
    if any("error" in chunk for chunk in chunks if chunk):
        return "an error came inside the answer"
    choices = [choice for chunk in chunks if chunk for choice in chunk.get("choices") or []]
    texts = [((choice.get("delta") or choice.get("message") or {}).get("content")) or "" for choice in choices]
    if not any(texts):
        return "the answer has no text"
    if not any(choice.get("finish_reason") for choice in choices):
        return "the answer has no finish_reason"
    if not any((chunk or {}).get("usage") for chunk in chunks):
        return "the answer has no usage"
    return ""


def _decoded(lines: Sequence[bytes]) -> Iterator[dict[str, Any] | None]:
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        yield content if isinstance(content, dict) else None
