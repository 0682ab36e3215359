"""How often the right passage is among the first five, with vectors of a real model.

`minilm.txt` holds what all-MiniLM-L6-v2 (Apache-2.0; 8-bit ONNX weights) makes of `corpus.py`: for each pair the
passage's and the question's vector of 384 signed bytes, in base64.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from app.retrieval import work
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


TUNED_ON = range(0, len(PAIRS), 2)
REPORTED_ON = range(1, len(PAIRS), 2)
"""Questions by number: the weight of the fusion is chosen on the even ones, and recall is told of the odd ones."""


async def recall(platform: Platform, mode: str, questions: range, most: int = 5) -> float:
    """All passages are searched, whatever the questions are."""
    found = 0
    for number in questions:
        data = (await platform.search(PAIRS[number][1], k=most, mode=mode)).json["data"]
        found += str(number) in [one["document_name"] for one in data]
    return found / len(questions)


async def test_hybrid_search_finds_more_than_words_alone_on_questions_that_it_was_not_tuned_on(filled: Platform):
    by = {mode: round(await recall(filled, mode, REPORTED_ON), 3) for mode in ("words", "meaning", "hybrid")}
    print(f"recall@5 over {len(REPORTED_ON)} questions: {by}")
    assert by["hybrid"] >= by["words"] + 0.2, by
    assert by["hybrid"] >= 0.9, by


async def test_the_weight_of_partly_matching_words_is_the_best_on_the_questions_to_tune_on(
    filled: Platform, monkeypatch: pytest.MonkeyPatch
):
    chosen, found = work.SOME_WORDS_WEIGHT, {}
    for weight in (0.0, chosen, 0.3, 1.0):
        monkeypatch.setattr(work, "SOME_WORDS_WEIGHT", weight)
        found[weight] = round(await recall(filled, "hybrid", TUNED_ON), 3)
    print(f"recall@5 by weight over {len(TUNED_ON)} questions: {found}")
    assert found[chosen] == max(value for weight, value in found.items() if weight), found
