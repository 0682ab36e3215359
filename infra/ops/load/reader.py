"""What a stream brought, and whether it was whole. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from infra.ops.sse import DONE, EventParser

SEAM_EVENTS = 1
"""A stream may have so many events more than tokens: where it went on at another engine, a token that was shown in part
is shown again. Its text says whether something came twice."""
SHOWN_CHARACTERS = 24


class _Delta(msgspec.Struct):
    content: str | None = None
    role: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None
    token_ids: list[int] | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Message(msgspec.Struct):
    content: str | None = None


class _Whole(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    choices: list[_Whole]
    usage: _Usage


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: object = None


@dataclass(frozen=True)
class Expected:
    """The answer that a stream must bring."""

    text: str
    tokens: int


def answer_of(content: bytes) -> Expected:
    """Of a JSON reply. Raises ValueError for one that is not a chat completion."""
    answer = msgspec.json.decode(content, type=_Answer)
    if not answer.choices:
        raise ValueError("the reply has no choices")
    return Expected(answer.choices[0].message.content or "", answer.usage.completion_tokens)


class StreamReader:
    """Follows one stream's events and says at its end what was wrong with it."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._decoder = msgspec.json.Decoder(_Chunk)
        self._usage: int | None = None
        self._finish = ""
        self._error = ""
        self._done = False
        self._pieces: list[str] = []
        self.tokens = 0
        """As vLLM counts: one for each event with content."""

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def feed(self, chunk: bytes) -> None:
        for event in self._parser.feed(chunk):
            if event == DONE:
                self._done = True
            else:
                self._take(self._decoder.decode(event))

    def _take(self, chunk: _Chunk) -> None:
        if chunk.error is not None:
            self._error = self._error or f"error event: {str(chunk.error)[:200]}"
        if chunk.usage is not None:
            self._usage = chunk.usage.completion_tokens
        for choice in chunk.choices:
            if choice.delta.content:
                self._pieces.append(choice.delta.content)
            if choice.token_ids:
                self.tokens += len(choice.token_ids)
            elif choice.delta.content is not None and not (choice.delta.role and not choice.delta.content):
                self.tokens += 1  # vLLM sends an event for each token, even one without a whole character
            self._finish = choice.finish_reason or self._finish

    def fault(self, expected: Expected | None = None) -> str:
        """Empty for a stream that ended whole: finish reason, usage and [DONE], and the expected text and usage. Where
        the text is not known, as many events as its usage has tokens, or SEAM_EVENTS more."""
        if self._error:
            return self._error
        if not self._done:
            return "cut: no [DONE]"
        if not self._finish:
            return "cut: no finish_reason"
        if self._usage is None:
            return "cut: no usage"
        if expected is not None:
            return _difference(self.text, self._usage, expected)
        if not 0 <= self.tokens - self._usage <= SEAM_EVENTS:
            return f"cut: {self.tokens} tokens came, usage says {self._usage}"
        return ""


def _difference(text: str, usage: int, expected: Expected) -> str:
    if text != expected.text:
        pairs = zip(text, expected.text, strict=False)
        at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(text), len(expected.text)))
        came, meant = text[at : at + SHOWN_CHARACTERS], expected.text[at : at + SHOWN_CHARACTERS]
        return (
            f"cut: the text differs from character {at} on: {came!r} instead of {meant!r} "
            f"({len(text)} characters, {len(expected.text)} expected)"
        )
    if usage != expected.tokens:
        return f"cut: usage says {usage} tokens, an undisturbed answer has {expected.tokens}"
    return ""
