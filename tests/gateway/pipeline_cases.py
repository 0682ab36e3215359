"""Configurations of pipelines for tests, and an engine that answers with what it was asked."""

from __future__ import annotations

import json
from typing import Any

from app.gateway.config import GatewayConfig
from tests.gateway.harness import DONE, Request, Wire, event, make_config, usage_event


def model(name: str = "ask", **more: Any) -> dict[str, Any]:
    return {"kind": "model", "name": name, "model": "tiny", "max_tokens": 64} | more


def pipeline(*steps: dict[str, Any], name: str = "answer", **more: Any) -> dict[str, Any]:
    return {"name": name, "steps": list(steps)} | more


def with_pipelines(*pipelines: dict[str, Any], around: dict[str, Any] | None = None, **more: Any) -> GatewayConfig:
    return make_config(pipelines={"pipelines": list(pipelines)} | more, **(around or {}))


def chat(text: str = "hello", name: str = "answer", **more: Any) -> dict[str, Any]:
    return {"model": name, "messages": [{"role": "user", "content": text}]} | more


def reply(text: str, prompt: int = 10, completion: int = 5) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "tiny", "choices": [choice], "usage": usage}


class Scripted:
    """Answers in turn with `texts`, then with the last of them; without any with the last message of the user."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    async def __call__(self, request: Request, wire: Wire) -> None:
        body = request.body
        self.asked.append(body)
        self.headers.append(request.headers)
        text = self.texts[min(len(self.asked), len(self.texts)) - 1] if self.texts else body["messages"][-1]["content"]
        if not body.get("stream"):
            await wire.json(200, reply(text))
            return
        await wire.begin_stream()
        for word in ("", *text.split(" ")):
            await wire.chunk(event(word))
        await wire.chunk(usage_event(10, 5))
        await wire.chunk(DONE)
        await wire.end_stream()


def comments(body: bytes) -> list[dict[str, Any]]:
    """What a stream told of its steps."""
    lines = [line for line in body.split(b"\n\n") if line.startswith(b": pipeline ")]
    return [json.loads(line.removeprefix(b": pipeline ")) for line in lines]


def chunks(body: bytes) -> list[dict[str, Any]]:
    lines = [line for line in body.split(b"\n\n") if line.startswith(b"data: {")]
    return [json.loads(line.removeprefix(b"data: ")) for line in lines]


def text_of(body: bytes) -> str:
    return "".join(one["choices"][0]["delta"].get("content", "") for one in chunks(body) if one.get("choices"))
