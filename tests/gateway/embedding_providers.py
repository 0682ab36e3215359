"""A server that answers InvokeModel as Bedrock's embedding models do, from their documented shapes, or lies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.gateway.config import GatewayConfig
from tests.gateway.harness import Engine, Request, Wire, make_config

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "not-a-real-secret", "session_token": "a-session"}
TITAN, COHERE, COHERE_4 = "amazon.titan-embed-text-v2:0", "cohere.embed-multilingual-v3", "eu.cohere.embed-v4:0"
THROTTLED = {"message": "Too many requests, please wait before trying again."}


def vector(text: str, size: int) -> list[float]:
    """Of length one, the same for the same text, and another for another."""
    raw = hashlib.shake_256(text.encode()).digest(size)
    numbers = [byte - 127.5 for byte in raw]
    norm = math.sqrt(sum(one * one for one in numbers))
    return [one / norm for one in numbers]


@dataclass
class Bedrock:
    """Titan V2 and Cohere Embed. `refuse` may give status, content and headers of an error, by text and try."""

    make: Callable[[str, int], list[float]] = vector
    seconds: float = 0.0
    refuse: Callable[[str, int], tuple[int, Any, dict[str, str]] | None] = lambda text, tries: None
    count: bool = True
    """False: no reply says how many tokens were read."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    left: int = 0
    """Calls whose other side closed before the answer."""
    _now: int = 0
    _tries: Counter[str] = field(default_factory=Counter)

    async def __call__(self, request: Request, wire: Wire) -> None:
        self.calls.append(request.body)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self.seconds:
                await asyncio.sleep(self.seconds)
                if wire.reader.at_eof() or wire.reader.exception() is not None:
                    self.left += 1
                    return
            await self._answer(request, wire)
        finally:
            self._now -= 1

    async def _answer(self, request: Request, wire: Wire) -> None:
        body = request.body
        texts = body.get("texts") or [body["inputText"]]
        self._tries[texts[0]] += 1
        refusal = self.refuse(texts[0], self._tries[texts[0]])
        if refusal is not None:
            status, content, headers = refusal
            await wire.json(status, content, **headers)
            return
        tokens = sum(len(text.split()) for text in texts)
        counted = {"x_amzn_bedrock_input_token_count": str(tokens)} if self.count else {}
        if "inputText" in body:
            found = self.make(texts[0], body["dimensions"])
            reply: dict[str, Any] = {"embedding": found, "embeddingsByType": {"float": found}}
            await wire.json(200, reply | ({"inputTextTokenCount": tokens} if self.count else {}), **counted)
            return
        vectors = [self.make(text, body.get("output_dimension", 1024)) for text in texts]
        reply = {"id": "1", "texts": texts, "response_type": "embeddings_by_type", "embeddings": {"float": vectors}}
        await wire.json(200, reply, **counted)


def embedding_config(engine: Engine, folder: Path, upstream: str = TITAN, **changes: Any) -> GatewayConfig:
    """A gateway with its own model `tiny`, and `embed` of a Bedrock at `engine`."""
    path = folder / "aws.json"
    path.write_text(json.dumps(KEYS))
    provider = {
        "name": "bedrock",
        "kind": "bedrock",
        "base_url": f"http://127.0.0.1:{engine.port}",
        "region": "eu-central-1",
        "key_file": str(path),
        **changes.pop("provider", {}),
    }
    model = {
        "name": "embed",
        "aliases": ["vectors"],
        "provider": "bedrock",
        "upstream": upstream,
        "embedding_dimensions": 1024,
        "context_tokens": 8192,
        "max_output_tokens": 1,
        "input_usd_per_million_tokens": 20.0,
        **changes.pop("model", {}),
    }
    return make_config(providers=[provider], outside_models=[model], **changes)
