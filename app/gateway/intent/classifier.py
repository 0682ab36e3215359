"""Tells what a text is after: by scored rules, and a small trained model beside them. Bounded in time, without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from app.gateway.intent.bayes import MOST_FILE_BYTES, Bayes, from_json
from app.gateway.intent.settings import MOST_LABELS, OTHER, IntentConfig
from app.gateway.intent.words import WORDS
from app.gateway.tally import Counts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

MOST_CHARACTERS = 2000
"""Of the last user message: its first and last halves tell what is wanted."""
LONGEST_PHRASE = 6
"""Words."""
_WORD = re.compile(r"[\w']+")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")

By = Literal["rules", "model", "nothing"]


class Intent(NamedTuple):
    name: str
    by: By
    sureness: float
    """A rule's score, or the model's probability."""


class Intents:
    """Raises ValueError, at the start alone, for a model file that cannot be used."""

    def __init__(self, config: IntentConfig, registry: CollectorRegistry | None = None) -> None:
        self._config = config
        labels: dict[str, Mapping[str, float]] = dict(WORDS) if config.built_in else {}
        labels |= {one.name: one.phrases for one in config.classes}
        self._phrases: dict[str, list[tuple[str, float]]] = {}
        """By phrase, in words with single spaces: labels and weights."""
        for label, phrases in labels.items():
            for phrase, weight in phrases.items():
                words = _WORD.findall(phrase.casefold())[:LONGEST_PHRASE]
                self._phrases.setdefault(" ".join(words), []).append((label, weight))
        self._firsts = {phrase.partition(" ")[0]: 1 for phrase in self._phrases}
        for phrase in self._phrases:
            first = phrase.partition(" ")[0]
            self._firsts[first] = max(self._firsts[first], phrase.count(" ") + 1)
        self.model: Bayes | None = None if config.model_file is None else load(Path(config.model_file))
        more = () if self.model is None else self.model.labels
        self.labels = tuple(dict.fromkeys((*labels, *more, OTHER)))
        if len(self.labels) > MOST_LABELS:
            raise ValueError(f"intents: {len(self.labels)} labels are too many; allowed: {MOST_LABELS}")
        self._counts = None
        if registry is not None:
            counts = Counts("penstock_intents", "Requests, by what they are after and what told it.", ["intent", "by"],
                            registry=registry)  # fmt: skip
            kinds: tuple[By, ...] = ("rules", "model", "nothing")
            self._counts = {(label, by): counts.child(label, by) for label in self.labels for by in kinds}

    def classify(self, text: str) -> Intent:
        if len(text) > MOST_CHARACTERS:
            half = MOST_CHARACTERS // 2
            text = f"{text[:half]} {text[-half:]}"
        scores = self._by_rules(text)
        if self.model is not None:
            label, likely = next(iter(self.model.probabilities(text, scores)), (OTHER, 0.0))
            if likely >= self._config.least_probability:
                return Intent(label, "model", likely)
        # Labels of rules that the model was not trained on are told by rules alone.
        best = max(scores, key=lambda label: (scores[label], -self.labels.index(label)), default=OTHER)
        if scores and scores[best] >= self._config.least_score:
            return Intent(best, "rules", scores[best])
        return Intent(OTHER, "nothing", 0.0)

    def count(self, intent: Intent) -> None:
        if self._counts is not None:
            self._counts[intent.name, intent.by].value += 1

    def _by_rules(self, text: str) -> dict[str, float]:
        """Scores by label, each phrase counted once."""
        words = _WORD.findall(text.casefold())
        found: set[str] = set()
        for at, word in enumerate(words):
            longest = self._firsts.get(word)
            if longest is not None:
                for length in range(1, longest + 1):
                    phrase = word if length == 1 else " ".join(words[at : at + length])
                    if phrase in self._phrases:
                        found.add(phrase)
        scores: dict[str, float] = {}
        for phrase in found:
            for label, weight in self._phrases[phrase]:
                scores[label] = scores.get(label, 0.0) + weight
        return scores


def load(path: Path) -> Bayes:
    """Raises ValueError that names the file and what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"intents.model_file: {path}: {error.strerror or error}") from None
    return read(content, str(path))


def read(content: bytes, where: str) -> Bayes:
    """As `load`, of a file's content."""
    if len(content) > MOST_FILE_BYTES:
        raise ValueError(f"intents.model_file: {where}: it has {len(content)} bytes; allowed: {MOST_FILE_BYTES}")
    try:
        model = from_json(msgspec.json.decode(content))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError(f"intents.model_file: {where}: it is no JSON") from None
    except ValueError as error:
        raise ValueError(f"intents.model_file: {where}: {error}") from None
    wrong = [label for label in model.labels if not _LABEL.fullmatch(label)]
    if wrong:
        raise ValueError(
            f"intents.model_file: {where}: {wrong[0][:80]!r} is no label; allowed: small letters, digits and . _ -"
        )
    return model
