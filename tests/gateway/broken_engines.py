"""Engines that break inside a stream: a scripted one that answers token by token, and a cut before a real one."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.harness import DONE, Answer, Reply, Request, Wire

Break = Callable[[Wire], Any]


async def cut(wire: Wire) -> None:
    await asyncio.sleep(0.005)  # what was written is read before the connection breaks
    wire.cut()


async def stall(wire: Wire) -> None:
    await wire.gone()


async def end_early(wire: Wire) -> None:
    await wire.end_stream()


async def tell_error(wire: Wire) -> None:
    error = {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": None, "code": 500}
    await wire.chunk(b"data: %b\n\n" % json.dumps({"error": error}).encode() + DONE)
    await wire.end_stream()


async def abort(wire: Wire) -> None:
    """What vLLM sends to a stream under way when it is told to stop at once."""
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "abort"}
    await wire.chunk(b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode() + DONE)
    await wire.end_stream()


@dataclass
class Model:
    """One deterministic answer, cut into tokens of bytes, as several engines with the same weights would give it.

    Given the beginning of the answer an engine writes the rest. Each engine has its own ids and times; one breaks after
    the number of events set for it (0: before the role event).
    """

    tokens: Sequence[bytes]
    prompt_tokens: int = 17
    strips: bool = False
    """True for a chat template that cuts white space off the end of the last message."""
    breaks: list[tuple[int, Break]] = field(default_factory=list)
    """One for each request, in order of their arrival; later requests are answered whole."""
    together: int = 1
    """Tokens of one event: vLLM puts several into one where its own server falls behind."""
    counts: bool = True
    """False for an engine that does not know `continuous_usage_stats`."""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(self.tokens).decode()

    def written(self, body: dict[str, Any]) -> bytes:
        if "prompt" in body:
            return body["prompt"].partition("|")[2].encode()
        if not body.get("continue_final_message"):
            return b""
        content = body["messages"][-1]["content"]
        return (content.rstrip() if self.strips else content).encode()

    def rest(self, written: bytes) -> list[bytes]:
        """The tokens that follow; one that was cut inside is cut there."""
        assert b"".join(self.tokens).startswith(written), f"{written!r} is no beginning of the answer"
        tokens, left = list(self.tokens), len(written)
        while tokens and left >= len(tokens[0]):
            left -= len(tokens.pop(0))
        if left:
            tokens[0] = tokens[0][left:]
        return tokens

    def events(self, body: dict[str, Any], number: int) -> list[bytes]:
        chat = "messages" in body
        tokens = self.rest(self.written(body))
        prompt = self.prompt_tokens + len(self.tokens) - len(tokens)
        limit = body.get("max_tokens", 16 if not chat else 10_000)
        finish = "stop" if len(tokens) <= limit else "length"
        tokens = tokens[:limit]
        head = {"id": f"id-{number}", "object": "x", "created": 1000 + number, "model": f"m{number}"}

        def chunk(**more: Any) -> bytes:
            return b"data: %b\n\n" % json.dumps(head | more, separators=(",", ":"), ensure_ascii=False).encode()

        options = body.get("stream_options") or {}
        counts = self.counts and options.get("continuous_usage_stats")

        def usage(made: int) -> dict[str, Any]:
            told = {"prompt_tokens": prompt, "total_tokens": prompt + made, "completion_tokens": made}
            return {"usage": told}

        def used(made: int) -> dict[str, Any]:
            return usage(made) if counts else {}

        found = []
        if chat:
            found.append(chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}], **used(0)))
        reader = codecs.getincrementaldecoder("utf-8")()
        for at in range(0, len(tokens), self.together):
            some = tokens[at : at + self.together]
            text = "".join(reader.decode(token) for token in some)
            content = {"delta": {"content": text}} if chat else {"text": text}
            made = at + len(some)
            last = finish if made == len(tokens) else None
            found.append(chunk(choices=[{"index": 0, **content, "finish_reason": last}], **used(made)))
        if options.get("include_usage"):
            found.append(chunk(choices=[], **usage(len(tokens))))
        return [*found, DONE]

    async def __call__(self, request: Request, wire: Wire) -> None:
        self.bodies.append(request.body)
        number = len(self.bodies)
        events = self.events(request.body, number)
        after, breaks = self.breaks.pop(0) if self.breaks else (len(events), end_early)
        await wire.begin_stream()
        for event in events[:after]:
            await wire.chunk(event)
        await breaks(wire)


def cut_before(port: int, after: int) -> Answer:
    """An engine that is a real one behind a connection which breaks after so many events; 0 for never."""

    async def answer(request: Request, wire: Wire) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            head = f"POST {request.path} HTTP/1.1\r\nhost: e\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(request.raw)}\r\n\r\n".encode() + request.raw)
            await wire.send(await reader.readuntil(b"\r\n\r\n"))
            seen = 0
            while not after or seen < after:
                size = int(line := await reader.readuntil(b"\r\n"), 16)
                part = await reader.readexactly(size + 2)
                if after and seen + part.count(b"\n\n") > after:
                    pieces = part[:-2].split(b"\n\n")
                    await wire.chunk(b"\n\n".join(pieces[: after - seen]) + b"\n\n")
                    break
                seen += part.count(b"\n\n")
                await wire.send(line + part)
                if not size:
                    return
            await cut(wire)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    return answer


@dataclass
class Told:
    """What a client has of a stream."""

    chunks: list[dict[str, Any]]
    error: dict[str, Any] | None
    done: int

    @property
    def text(self) -> str:
        return "".join(self._content(choice) for chunk in self.chunks for choice in chunk["choices"])

    @staticmethod
    def _content(choice: dict[str, Any]) -> str:
        return choice["text"] if "text" in choice else choice["delta"].get("content") or ""

    @property
    def tokens(self) -> int:
        """As `penstock load` counts: an event for each token, even one without a whole character."""
        texts = [
            (choice.get("delta", {}).get("role"), choice.get("text", choice.get("delta", {}).get("content")))
            for chunk in self.chunks
            for choice in chunk["choices"]
        ]
        return sum(text is not None and not (role and not text) for role, text in texts)

    @property
    def roles(self) -> int:
        return sum("role" in choice.get("delta", {}) for chunk in self.chunks for choice in chunk["choices"])

    @property
    def finishes(self) -> list[str]:
        reasons = (choice.get("finish_reason") for chunk in self.chunks for choice in chunk["choices"])
        return [reason for reason in reasons if reason]

    @property
    def identities(self) -> set[tuple[Any, ...]]:
        return {(chunk["id"], chunk["created"], chunk["model"]) for chunk in self.chunks}

    @property
    def usages(self) -> list[tuple[int, int]]:
        found = [chunk["usage"] for chunk in self.chunks if chunk.get("usage")]
        assert all(usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] for usage in found)
        return [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in found]


def told(reply: Reply) -> Told:
    """Reads a stream strictly: whole events, nothing after `[DONE]` or an error."""
    assert reply.status == 200, reply.body
    assert reply.whole
    payloads = [event[6:].strip() for event in reply.events if not event.startswith(b":")]
    done = payloads.count(b"[DONE]")
    assert not done or payloads[-1] == b"[DONE]"
    chunks = [json.loads(payload) for payload in payloads if payload != b"[DONE]"]
    error = chunks.pop() if chunks and "error" in chunks[-1] else None
    assert not any("error" in chunk for chunk in chunks)
    return Told(chunks, error, done)
