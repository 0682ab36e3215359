"""How hard a request looks, and what task it is, by rules: pure, linear in a bounded text, no model asked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

from app.gateway.routing.features import Features

# Words as they stand, and signs anywhere in the lowered text: a set and a few searches cost a hundredth of what an
# expression of as many alternatives does.
CODE_WORDS = frozenset(
    {
        "algorithm", "api", "bug", "class", "code", "codebase", "compile", "compiler", "css", "debug", "def",
        "docker", "function", "golang", "html", "import", "javascript", "json", "kubernetes", "python", "recursion",
        "refactor", "regex", "rust", "select", "sql", "traceback", "typescript", "unittest", "yaml",
    }
)  # fmt: skip
CODE_SIGNS = ("```", "#include", "=>", "() {", "(){", "();", "</", "def ", "stack trace", "unit test", "c++")
MATHS_WORDS = frozenset(
    {
        "combinatorial", "combinatorics", "derivative", "eigenvalue", "eigenvector", "equation", "equations",
        "integral", "lemma", "logarithm", "matrices", "matrix", "modulo", "polynomial", "probability", "proof",
        "prove", "proves", "proving", "theorem", "variance",
    }
)  # fmt: skip
MATHS_SIGNS = ("\\frac", "\\sum", "\\int", "∑", "∫", "√", "≤", "≥", "solve for")
REASONING_WORDS = frozenset(
    {
        "analyse", "analyze", "analysis", "architecture", "compare", "consequences", "critique", "derive", "design",
        "evaluate", "explain", "implications", "justify", "optimise", "optimize", "optimal", "plan", "strategies",
        "strategy", "tradeoff", "tradeoffs", "why",
    }
)  # fmt: skip
REASONING_SIGNS = ("step by step", "trade-off", "pros and cons", "root cause")
_WORD = re.compile(r"\w+")
LONG_TOKENS = 8192
"""A prompt of this length gets the whole weight of length."""


def _some(found: int, full: int) -> float:
    return min(found, full) / full


def _found(words: frozenset[str], lowered: str, known: frozenset[str], signs: tuple[str, ...]) -> int:
    return len(words & known) + sum(sign in lowered for sign in signs)


def complexity(features: Features) -> float:
    """From 0 (trivial) to 1. It never falls when a request gets longer, gets more turns, or more tools."""
    lowered = features.text.lower()
    words = frozenset(_WORD.findall(lowered))
    length = min(1.0, math.log2(1 + features.prompt_tokens / 32) / math.log2(1 + LONG_TOKENS / 32))
    score = (
        0.25 * length
        + 0.20 * _some(_found(words, lowered, CODE_WORDS, CODE_SIGNS), 2)
        + 0.20 * _some(_found(words, lowered, MATHS_WORDS, MATHS_SIGNS), 2)
        + 0.20 * _some(_found(words, lowered, REASONING_WORDS, REASONING_SIGNS), 2)
        + 0.10 * _some(max(0, features.turns - 2), 10)
        + 0.15 * _some(features.tools, 4)
        + 0.05 * bool(features.json_format)
    )
    return min(1.0, score)


def normal(text: str) -> str:
    """A message for comparison: case, white space and the punctuation at its end aside."""
    return " ".join(text.casefold().split()).rstrip(" .!?…")


class Worded(Protocol):
    @property
    def words(self) -> Sequence[str]: ...


W = TypeVar("W", bound=Worded)


def classify(text: str, tasks: Sequence[W]) -> W | None:
    """The task of which the most words and phrases are in the text; the first one of equals. None: of no task any."""
    words = _WORD.findall(text.casefold())
    known, joined = frozenset(words), f" {' '.join(words)} "
    best, most = None, 0
    for task in tasks:
        found = 0
        for phrase in task.words:
            parts = _WORD.findall(phrase.casefold())
            if len(parts) == 1:
                found += parts[0] in known
            elif parts:
                found += f" {' '.join(parts)} " in joined
        if found > most:
            best, most = task, found
    return best
