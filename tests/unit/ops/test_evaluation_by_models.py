"""Scores that a second model makes: how near two meanings are, and whether a text is toxic.

Meanings: the vectors of all-MiniLM-L6-v2 (Apache-2.0) that the tests of retrieval keep, over 48 pairs of a question and
the passage that answers it, mostly in other words. Toxicity: `toxicity.jsonl`, 48 texts written for this test, half of
them toxic, with what alt-profanity-check 1.9.1 (MIT; a linear model of 200,000 labelled comments) gave as probability.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.ops.evaluate.ask import JUDGE, Asker
from infra.ops.evaluate.judge import figures, verdict
from infra.ops.evaluate.metrics import cosine
from infra.ops.evaluate.run import Kept, Prices, run_suite
from infra.ops.evaluate.suite import Suite, read_suite
from infra.ops.evaluate.toxicity import toxic_words
from tests.retrieval.corpus import PAIRS
from tests.retrieval.test_recall import vectors
from tests.unit.ops.fake_gateway import FakeGateway

TEXTS = [json.loads(line) for line in Path(__file__).with_name("toxicity.jsonl").read_text().splitlines()]
TOXIC = [one["text"] for one in TEXTS if one["toxic"]]
HARMLESS = [one["text"] for one in TEXTS if not one["toxic"]]
LEVEL = 0.5
"""Of the classifier's probability."""
SIMILARITY = 0.35
BUDGET = {"requests": 1000, "tokens": 100000, "seconds": 600, "usd": 1}


def suite_of(folder: Path, samples: list[dict[str, Any]], **task: Any) -> Suite:
    whole = {"name": "judged", "data": "samples.jsonl", "shape": "own", "atLeast": 0.5, **task}
    (folder / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))
    (folder / "suite.yaml").write_text(
        yaml.safe_dump({"name": "test", "budget": BUDGET, "concurrency": 1, "tasks": [whole]})
    )
    return read_suite(folder / "suite.yaml")


def speaks(gateway: FakeGateway, answer: Callable[[str], str], second: Callable[[dict[str, Any]], dict]) -> None:
    """The model gives `answer` of the prompt; `second` is the reply of the model that judges."""

    def stream() -> list[bytes]:
        text = answer(gateway.requests[-1]["messages"][-1]["content"])
        parts: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 5}},
        ]
        return [*(b"data: " + json.dumps(one).encode() + b"\n\n" for one in parts), b"data: [DONE]\n\n"]

    gateway.stream = stream
    gateway.reply = lambda: json.dumps(second(gateway.requests[-1])).encode()


def scores_of(suite: Suite, gateway: FakeGateway) -> dict[str, float]:
    ran = run_suite(suite, Asker(gateway.endpoint, "tiny").outcome, Prices(0, 0), Kept(None))
    assert not [one.failure for one in ran.outcomes if one.failure]
    return {one.sample: one.score for one in ran.outcomes}


@pytest.mark.parametrize(("shift", "least", "most"), [(0, 0.8, 1.0), (1, 0.0, 0.05)])
def test_an_answer_in_other_words_is_the_same_and_one_about_something_else_is_not(
    tmp_path: Path, gateway: FakeGateway, shift: int, least: float, most: float
):
    """The model gives the question for its passage, or the question of the next passage."""
    known = vectors()

    def embeddings(body: dict[str, Any]) -> dict[str, Any]:
        assert body["model"] == "embed"
        return {"data": [{"index": at, "embedding": known[text]} for at, text in enumerate(body["input"])]}

    speaks(gateway, lambda prompt: PAIRS[(int(prompt) + shift) % len(PAIRS)][1], embeddings)
    samples = [{"id": f"q{at}", "prompt": str(at), "expected": pair[0]} for at, pair in enumerate(PAIRS)]
    suite = suite_of(tmp_path, samples, metric="semantic", embeddings="embed", similarity=SIMILARITY)
    found = scores_of(suite, gateway)
    share = sum(found.values()) / len(found)
    assert least <= share <= most


def test_the_documented_figures_of_similarity_are_those_of_the_model():
    """docs/registry.md: what a bound on the similarity takes of right and of wrong answers."""
    known = vectors()
    right = [cosine(known[passage], known[question]) for passage, question in PAIRS]
    wrong = [
        cosine(known[PAIRS[one][0]], known[PAIRS[other][1]])
        for one in range(len(PAIRS)) for other in range(len(PAIRS)) if one != other
    ]  # fmt: skip

    def share(values: list[float], bound: float) -> float:
        return round(sum(value >= bound for value in values) / len(values), 2)

    assert [(share(right, bound), share(wrong, bound)) for bound in (0.35, 0.5, 0.8)] == [
        (0.85, 0.01), (0.38, 0.0), (0.0, 0.0),
    ]  # fmt: skip


def test_a_classifier_judges_in_place_of_the_word_list(tmp_path: Path, gateway: FakeGateway):
    known = {one["text"]: one["probability"] for one in TEXTS}

    def judge(body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][0]["content"].removeprefix(JUDGE)
        assert (body["model"], body["temperature"]) == ("guard", 0)
        return {"choices": [{"message": {"content": "Unsafe." if known[text] >= LEVEL else "safe"}}]}

    speaks(gateway, lambda prompt: TEXTS[int(prompt)]["text"], judge)
    samples = [{"id": f"t{at}", "prompt": str(at)} for at in range(len(TEXTS))]
    suite = suite_of(tmp_path, samples, metric="toxicity", classifier="guard")
    found = scores_of(suite, gateway)
    assert {name for name, score in found.items() if score == 0} == {
        f"t{at}" for at, one in enumerate(TEXTS) if one["probability"] >= LEVEL
    }


@pytest.mark.parametrize("says", ["perhaps", "", "I cannot say whether it is safe"])
def test_a_classifier_that_does_not_judge_lets_nothing_pass(tmp_path: Path, gateway: FakeGateway, says: str):
    speaks(gateway, lambda _: "fine", lambda _: {"choices": [{"message": {"content": says}}]})
    samples = [{"id": f"t{at}", "prompt": str(at)} for at in range(20)]
    suite = suite_of(tmp_path, samples, metric="toxicity", classifier="guard")
    ran = run_suite(suite, Asker(gateway.endpoint, "tiny").outcome, Prices(0, 0), Kept(None))
    assert {one.failure for one in ran.outcomes} == {"the classifier guard says neither safe nor unsafe"}
    assert verdict(ran, figures(suite, ran, Prices(0, 0)), [])[0] == "failed"


def test_embeddings_that_are_missing_let_nothing_pass(
    tmp_path: Path, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("infra.ops.evaluate.ask.PAUSE_SECONDS", 0)
    speaks(gateway, lambda _: "fine", lambda _: {"data": [{"index": 0, "embedding": [1.0]}]})
    samples = [{"id": "q", "prompt": "1", "expected": "one"}]
    suite = suite_of(tmp_path, samples, metric="semantic", embeddings="embed", minimumSamples=1)
    (outcome,) = run_suite(suite, Asker(gateway.endpoint, "tiny").outcome, Prices(0, 0), Kept(None)).outcomes
    assert (outcome.score, outcome.failure) == (0.0, "embed made 1 embeddings of 2 texts")


def test_the_documented_figures_of_the_word_list_and_of_a_classifier_are_what_they_find():
    """docs/registry.md tells them; the texts go beyond the list on purpose."""
    assert (len(TOXIC), len(HARMLESS)) == (24, 24)
    listed = [sum(bool(toxic_words(text)) for text in texts) for texts in (TOXIC, HARMLESS)]
    judged = [
        sum(one["probability"] >= LEVEL for one in TEXTS if one["toxic"] is toxic) for toxic in (True, False)
    ]  # fmt: skip
    assert (listed, judged) == ([18, 2], [17, 4])
