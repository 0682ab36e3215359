"""One request's generation: answers that grow token by token, and the JSON reply at the end.

`streams.py` has the other form, where every token leaves as an event.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from app.engine import replies
from app.engine.protocol import Request
from app.engine.replies import ApiError, Choice, Identity, Json
from app.engine.requests import Plan, Prompt
from app.engine.scheduler import END, Sequence
from app.engine.tokens import Tokenizer, quote

EMPTY = b'""'


class Engine(Protocol):
    """What a job needs of the server."""

    tokenizer: Tokenizer

    def abort(self, sequence: Sequence, reason: str) -> None: ...

    def forget(self, job: Job) -> None: ...


class Answer:
    """One answer under way. `take` turns a token into the JSON string of the text that it releases."""

    __slots__ = (
        "_emitted",
        "_held",
        "_hold",
        "_join",
        "_pending",
        "_plan",
        "_quoted",
        "_simple",
        "_texts",
        "_tokenizer",
        "backlog",
        "finish",
        "index",
        "prompt",
        "sequence",
        "stop",
        "taken",
    )  # fmt: skip

    def __init__(self, tokenizer: Tokenizer, plan: Plan, prompt: Prompt, index: int) -> None:
        self.index = index
        self.prompt = prompt
        self.sequence: Sequence | None = None
        self.finish: str | None = None
        self.stop: str | None = None
        self.taken = 0
        self.backlog: list[bytes] = []
        self._tokenizer = tokenizer
        self._plan = plan
        self._quoted = tokenizer.quoted
        self._texts = tokenizer.texts
        self._join = prompt.join
        self._pending = b""
        self._held = ""
        self._hold = max((len(stop) for stop in plan.stops), default=1) - 1
        self._simple = not plan.stops
        self._emitted: list[str] = []

    def take(self, token: int, reason: str | None) -> bytes:
        """The JSON string of what may be shown now; may set `finish` where a stop string ends the answer."""
        self.taken += 1
        if self._simple and not self._pending and not self._join:
            quoted = self._quoted[token]
            if quoted is not None:
                return quoted
        return quote(self._release(self._decode(token), reason))

    def merged(self, quoted: bytes) -> bytes:
        """A JSON string joined with those held back while the client was slow."""
        if not self.backlog:
            return quoted
        parts = [*self.backlog, quoted]
        self.backlog = []
        return b'"' + b"".join(part[1:-1] for part in parts) + b'"'

    def text(self) -> str:
        """The whole answer of a sequence that has ended."""
        if self._plan.stops:
            return "".join(self._emitted)
        ids = self.generated()
        text = self._tokenizer.decode(ids[:-1] if ids and ids[-1] == END else ids)
        return text[1:] if self.prompt.join and text.startswith(" ") else text

    def generated(self) -> list[int]:
        sequence = self.sequence
        return [] if sequence is None else sequence.tokens[sequence.prompt :]

    @property
    def completion_tokens(self) -> int:
        return 0 if self.sequence is None else self.sequence.generated

    def _decode(self, token: int) -> str:
        data = self._pending + self._tokenizer.pieces[token]
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                self._pending = data
                return ""
            text = data.decode(errors="replace")
        self._pending = b""
        if self._join and text:
            self._join = False
            text = text.removeprefix(" ")
        return text

    def _release(self, text: str, reason: str | None) -> str:
        """What of the text may be shown: the beginning of a possible stop string is held back, as vLLM does."""
        if self._simple:
            return text
        held = self._held + text
        if self.taken > self._plan.least:
            found = min(((held.find(stop), stop) for stop in self._plan.stops if stop in held), default=None)
            if found is not None:
                at, stop = found
                self.stop, self.finish = stop, "stop"
                shown = held[: at + len(stop)] if self._plan.include_stop else held[:at]
                self._emitted.append(shown)
                return shown
        keep = 0 if reason is not None else self._hold
        shown, self._held = (held[: len(held) - keep], held[len(held) - keep :]) if keep else (held, "")
        self._emitted.append(shown)
        return shown


class Job:
    """One request with all its answers. Subclasses say what leaves when; this one waits and sends JSON at the end."""

    def __init__(self, engine: Engine, request: Request, plan: Plan, identity: Identity, answers: list[Answer]) -> None:
        self.engine = engine
        self.request = request
        self.plan = plan
        self.identity = identity
        self.answers = answers
        self.open = len(answers)
        self.fail_after = 0
        """Tokens after which the simulator breaks this answer; 0 for never."""
        request.on_disconnect = self.abandon

    def start(self) -> None:
        """The sequences are queued."""

    def token(self, answer: Answer, token: int, reason: str | None) -> None:
        """A sequence has one more token; `reason` says why it ended."""
        if self.plan.stops:
            answer.take(token, reason)
        self.settle(answer, reason)
        if not self.open:
            self.close()

    def settle(self, answer: Answer, reason: str | None) -> bool:
        """Notes the end of an answer, also the one by a stop string; True where it ended now."""
        if answer.finish == "stop" and reason is None and answer.sequence is not None:
            self.engine.abort(answer.sequence, "stop")
        elif reason is None:
            return False
        answer.finish = answer.finish or reason
        self.open -= 1
        return True

    def close(self) -> None:
        self.engine.forget(self)
        self.request.send(200, replies.dump(self.reply()))

    def reply(self) -> Json:
        raise NotImplementedError

    def fail(self, error: ApiError) -> None:
        """Ends the request with an error, whatever was sent already."""
        self.release("error" if error.status == 500 else "abort")
        self.request.send(error.status, replies.dump(error.body))

    def abandon(self) -> None:
        """The client is gone."""
        self.release("abort")

    def release(self, reason: str) -> None:
        for answer in self.answers:
            if answer.sequence is not None and answer.sequence.finished is None:
                self.engine.abort(answer.sequence, reason)
        self.engine.forget(self)

    def prompt_tokens(self) -> int:
        """Of all prompts; several answers to one prompt count it once."""
        return sum(len(prompt.tokens) for prompt in self.plan.prompts)

    def completion_tokens(self) -> int:
        return sum(answer.completion_tokens for answer in self.answers)

    def cached_tokens(self) -> int:
        return max((answer.sequence.cached for answer in self.answers if answer.sequence is not None), default=0)

    def choice(self, answer: Answer, logprobs: Callable[[Answer], Json]) -> Choice:
        text = answer.text()
        ids = answer.generated() if self.plan.token_ids else None
        found = logprobs(answer) if self.plan.logprobs is not None else None
        choice = Choice(answer.index, text, answer.finish or "stop", answer.stop, ids, found)
        if self.plan.prompt_logprobs is not None:
            choice.prompt_logprobs = prompt_logprobs(self.engine.tokenizer, answer.prompt.tokens)
        if self.plan.tool is not None:
            name, arguments = self.plan.tool
            function = {"name": name, "arguments": arguments}
            choice.tool_calls = [
                {"id": f"chatcmpl-tool-{self.identity.id[-16:]}", "type": "function", "function": function}
            ]
            choice.finish_reason = "tool_calls" if choice.finish_reason == "stop" else choice.finish_reason
        return choice

    def used(self, details: bool) -> Json:
        cached = self.cached_tokens() if details else None
        return replies.full_usage(self.prompt_tokens(), self.completion_tokens(), cached)


class ChatJob(Job):
    details = False

    def reply(self) -> Json:
        choices = [self.choice(answer, self.logprobs) for answer in self.answers]
        return replies.chat(self.identity, choices, self.used(self.details))

    def logprobs(self, answer: Answer) -> Json:
        return {"content": [chat_logprob(self.engine.tokenizer, token, self.plan) for token in answer.generated()]}


class CompletionJob(Job):
    details = False

    def reply(self) -> Json:
        choices = [self.choice(answer, self.logprobs) for answer in self.answers]
        if self.plan.echo:
            for choice, answer in zip(choices, self.answers, strict=True):
                choice.text = answer.prompt.text + choice.text
        return replies.completion(self.identity, choices, self.used(self.details))

    def logprobs(self, answer: Answer) -> Json:
        return completion_logprobs(self.engine.tokenizer, answer.generated(), 0)


class ResponsesJob(Job):
    def reply(self) -> Json:
        (answer,) = self.answers
        text = answer.text()
        status = "incomplete" if answer.finish == "length" else "completed"
        output = [replies.responses_message(f"msg_{self.identity.id[-16:]}", text)]
        used = replies.responses_usage(self.prompt_tokens(), self.completion_tokens(), self.cached_tokens())
        return replies.responses(self.identity, self.plan.body, status, output, used)


class MessagesJob(Job):
    def reply(self) -> Json:
        (answer,) = self.answers
        choice = Choice(0, answer.text(), answer.finish or "stop", answer.stop)
        return replies.messages(self.identity, choice, self.prompt_tokens(), self.completion_tokens())


def chat_logprob(tokenizer: Tokenizer, token: int, plan: Plan) -> Json:
    """The simulator is always sure: each token has the same probability, about 0.9."""
    piece = tokenizer.pieces[token]
    text = piece.decode(errors="replace")
    entry: Json = {"token": text, "logprob": -0.1, "bytes": list(piece)}
    return {**entry, "top_logprobs": [dict(entry)] if plan.logprobs else []}


def prompt_logprobs(tokenizer: Tokenizer, ids: list[int]) -> list[Json | None]:
    """In vLLM's shape: null for the first token, then each token by its id. The simulator knows nothing of language,
    so every token of its vocabulary is as likely as any other, and a text's perplexity is the vocabulary's size."""
    logprob = -math.log(tokenizer.size)
    told: list[Json | None] = [
        {str(token): {"logprob": logprob, "rank": 1, "decoded_token": tokenizer.pieces[token].decode(errors="replace")}}
        for token in ids[1:]
    ]
    return [None, *told]


def completion_logprobs(tokenizer: Tokenizer, ids: list[int], offset: int) -> Json:
    texts = [tokenizer.pieces[token].decode(errors="replace") for token in ids]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "text_offset": offsets,
        "token_logprobs": [-0.1] * len(ids),
        "tokens": texts,
        "top_logprobs": [{text: -0.1} for text in texts],
    }
