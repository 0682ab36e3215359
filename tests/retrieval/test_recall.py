"""How often the right passage is among the first five, with vectors of a real model.

`minilm.txt` holds what all-MiniLM-L6-v2 (Apache-2.0; 8-bit ONNX weights) makes of `corpus.py`: for each pair the
passage's and the question's vector of 384 signed bytes, in base64.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.harness import Request, Wire
from tests.retrieval.conftest import Platform
from tests.retrieval.corpus import PAIRS

SIZE = 384
TEXTS = [text for pair in PAIRS for text in pair]


def vectors() -> dict[str, list[float]]:
    raw = base64.b64decode((Path(__file__).with_name("minilm.txt")).read_text())
    values = memoryview(raw).cast("b")
    return {text: [float(one) for one in values[at * SIZE : (at + 1) * SIZE]] for at, text in enumerate(TEXTS)}


@pytest.fixture
async def filled(platform: Platform) -> Platform:
    known = vectors()

    async def answer(request: Request, wire: Wire) -> None:
        data: list[dict[str, Any]] = [
            {"index": at, "embedding": known[text]} for at, text in enumerate(request.body["input"])
        ]
        await wire.json(200, {"data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    assert platform.engine_process is not None
    platform.engine_process.answer = answer
    for number, (passage, _) in enumerate(PAIRS):
        assert (await platform.ingest(passage, name=str(number))).status == 201
    return platform


async def recall(platform: Platform, mode: str, most: int = 5) -> float:
    found = 0
    for number, (_, question) in enumerate(PAIRS):
        data = (await platform.search(question, k=most, mode=mode)).json["data"]
        found += str(number) in [one["document_name"] for one in data]
    return found / len(PAIRS)


async def test_hybrid_search_finds_more_than_words_alone(filled: Platform):
    by = {mode: round(await recall(filled, mode), 3) for mode in ("words", "meaning", "hybrid")}
    print(f"recall@5 over {len(PAIRS)} questions: {by}")
    assert by["hybrid"] >= by["words"] + 0.2, by
    assert by["hybrid"] >= 0.9, by
