"""How hard a request looks, and what task it is, by rules: pure, linear in a bounded text, no model asked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from app.gateway.routing.config import Task
from app.gateway.routing.features import Features

_CODE = re.compile(
    r"```|\bdef \w|\bclass \w|\bfunction\b|#include|\bSELECT\b|\bimport \w|=>|\(\) ?\{|;\s*$|\btraceback\b|\brefactor"
    r"|\bstack trace\b|\bunit tests?\b|\bregex|\bcompil",
    re.IGNORECASE | re.MULTILINE,
)
_MATHS = re.compile(
    r"\bprov(?:e|es|ing)\b|\bproof\b|\btheorem\b|\blemma\b|\bintegral\b|\bderivative\b|\beigen|\bmatri(?:x|ces)\b"
    r"|\bprobabilit|\bequations?\b|\bsolve for\b|\\frac|\\sum|\\int|[∑∫√≤≥]|\bcombinatori|\bmodulo\b",
    re.IGNORECASE,
)
_REASONING = re.compile(
    r"\bstep by step\b|\bwhy\b|\bcompare\b|\btrade-?offs?\b|\banaly[sz]e\b|\bdesign\b|\barchitect|\bplan\b|\bevaluate\b"
    r"|\bderive\b|\bexplain how\b|\bcritique\b|\boptimi[sz]e\b|\bstrateg",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
LONG_TOKENS = 8192
"""A prompt of this length gets the whole weight of length."""


def _some(found: int, full: int) -> float:
    return min(found, full) / full


def complexity(features: Features) -> float:
    """From 0 (trivial) to 1. It never falls when a request gets longer, gets more turns, or more tools."""
    text = features.text
    length = min(1.0, math.log2(1 + features.prompt_tokens / 32) / math.log2(1 + LONG_TOKENS / 32))
    score = (
        0.25 * length
        + 0.20 * _some(len(_CODE.findall(text)), 2)
        + 0.20 * _some(len(_MATHS.findall(text)), 2)
        + 0.20 * _some(len(_REASONING.findall(text)), 2)
        + 0.10 * _some(max(0, features.turns - 2), 10)
        + 0.15 * _some(features.tools, 4)
        + 0.05 * bool(features.json_format)
    )
    return min(1.0, score)


def normal(text: str) -> str:
    """A message for comparison: case, white space and the punctuation at its end aside."""
    return " ".join(text.casefold().split()).rstrip(" .!?…")


def classify(text: str, tasks: Sequence[Task]) -> Task | None:
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
