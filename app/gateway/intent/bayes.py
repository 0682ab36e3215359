"""Multinomial naive Bayes over words and pairs of words, in a file of plain JSON. Pure, without a library.

Smoothed by alpha (Laplace), as in Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 13.2. The file
holds logarithms of probabilities, no text of the examples but single words and pairs that several of them share.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeGuard

MOST_FEATURES = 2000
MOST_WORDS = 96
"""Of one text: what follows changes little, and the time stays bounded."""
MOST_FILE_BYTES = 400_000
LEAST_TEXTS = 2
"""A feature stands in so many examples at the least: what only one person wrote does not get into the file."""
ALPHA = 1.0
RULES_WEIGHT = 3.0
"""What a point of a rule adds to a logarithm. Chosen, as ALPHA, by cross-validation over texts to learn from alone."""
NO_RULES: Mapping[str, float] = {}
_WORD = re.compile(r"[^\W_]+")


def features(text: str) -> list[str]:
    words = _WORD.findall(text.casefold())[:MOST_WORDS]
    return [*words, *(f"{one} {two}" for one, two in pairwise(words))]


@dataclass(frozen=True, slots=True)
class Bayes:
    labels: tuple[str, ...]
    priors: tuple[float, ...]
    weights: Mapping[str, Sequence[float]]
    """By feature: for each label the logarithm of its probability."""
    unseen: tuple[float, ...]

    def probabilities(self, text: str, rules: Mapping[str, float] = NO_RULES) -> list[tuple[str, float]]:
        """The likeliest first; empty where nothing tells. Features that training did not see say nothing."""
        pairs = zip(self.labels, self.priors, strict=True)
        scores = [prior + RULES_WEIGHT * rules.get(label, 0.0) for label, prior in pairs]
        seen = bool(rules)
        for feature in features(text):
            found = self.weights.get(feature)
            if found is not None:
                seen = True
                for at, value in enumerate(found):
                    scores[at] += value
        if not seen:
            return []
        top = max(scores)
        sizes = [math.exp(score - top) for score in scores]
        total = sum(sizes)
        return sorted(((label, size / total) for label, size in zip(self.labels, sizes, strict=True)),
                      key=lambda one: -one[1])  # fmt: skip


def train(examples: Iterable[tuple[str, str]]) -> Bayes:
    """From (text, label). Raises ValueError for fewer than two labels."""
    counts: dict[str, Counter[str]] = {}
    texts: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for text, label in examples:
        found = features(text)
        counts.setdefault(label, Counter()).update(found)
        texts.update(set(found))
        documents[label] += 1
    if len(counts) < 2:
        raise ValueError(f"two labels are needed at the least; there are {len(counts)}")
    known = [name for name, times in sorted(texts.items(), key=lambda one: (-one[1], one[0])) if times >= LEAST_TEXTS]
    known = known[:MOST_FEATURES]
    labels = tuple(sorted(counts))
    totals = [sum(counts[label][name] for name in known) + ALPHA * (len(known) + 1) for label in labels]
    weights = {
        name: [
            round(math.log((counts[label][name] + ALPHA) / total), 3)
            for label, total in zip(labels, totals, strict=True)
        ]
        for name in known
    }
    every = sum(documents.values())
    return Bayes(
        labels,
        tuple(round(math.log(documents[label] / every), 3) for label in labels),
        weights,
        tuple(round(math.log(ALPHA / total), 3) for total in totals),
    )


def as_json(model: Bayes) -> dict[str, Any]:
    return {"kind": "penstock-naive-bayes", "version": 1, "labels": model.labels, "priors": model.priors,
            "unseen": model.unseen, "weights": model.weights}  # fmt: skip


def from_json(content: object) -> Bayes:
    """Raises ValueError for what is no such file."""
    if not isinstance(content, dict) or content.get("kind") != "penstock-naive-bayes" or content.get("version") != 1:
        raise ValueError("it is no file of `python -m app.gateway.intent train` (version 1)")
    labels, priors, weights = content.get("labels"), content.get("priors"), content.get("weights")
    if not _texts(labels) or not _numbers(priors, labels) or not isinstance(weights, dict):
        raise ValueError("labels, priors or weights are missing or do not fit each other")
    if len(weights) > MOST_FEATURES or not all(_numbers(one, labels) for one in weights.values()):
        raise ValueError(f"weights: each feature has a number for each label, and there are at most {MOST_FEATURES}")
    unseen = content.get("unseen")
    return Bayes(tuple(labels), tuple(priors), weights, tuple(unseen) if _numbers(unseen, labels) else ())


def _texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and len(value) >= 2 and all(isinstance(one, str) for one in value)


def _numbers(value: Any, labels: Any) -> TypeGuard[list[float]]:
    return (
        isinstance(value, list)
        and len(value) == len(labels)
        and all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in value)
    )
