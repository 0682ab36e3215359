"""What real traffic looks like: lengths and arrivals measured in published traces. Pure.

The quantiles were measured in the traces themselves:

- `chat` and `code`: the conversation and coding services of the Azure LLM inference trace of 2023 (19,366 and 8,819
  requests; Patel et al., "Splitwise", ISCA 2024; CC BY 4.0).
- `long`: the conversation trace of Mooncake (12,031 requests; Qin et al., "Mooncake", FAST 2025). Of the blocks of its
  prompts 37 % had been seen before as a prefix.

`gap_cv` is the coefficient of variation of the gaps between arrivals, the median over windows of a minute: 1 is a
Poisson process, the coding service sends in bursts. Prompt and output lengths are independent there (rank correlations
between -0.02 and 0.07).
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

QUANTILES = (0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)
WORDS = (
    "water",
    "river",
    "gate",
    "wheel",
    "stone",
    "light",
    "valley",
    "pressure",
    "copper",
    "winter",
    "signal",
    "engine",
)
SHARED_PROMPTS = 8
"""So many different beginnings are shared among the requests, as system prompts are."""


@dataclass(frozen=True)
class Workload:
    name: str
    prompt_tokens: tuple[float, ...]
    """Lengths at QUANTILES."""
    output_tokens: tuple[float, ...]
    gap_cv: float
    shared_prefix: float
    """Share of a prompt's tokens that other requests begin with too."""
    about: str


WORKLOADS = {
    each.name: each
    for each in (
        Workload(
            "chat",
            (2, 29, 181, 207, 396, 1020, 1189, 2735, 4083, 4142, 14050),
            (7, 16, 41, 54, 85, 129, 395, 424, 451, 601, 1000),
            1.0,
            0.37,
            "conversations (Azure 2023)",
        ),
        Workload(
            "code",
            (3, 17, 75, 147, 578, 1469, 2745, 5186, 7302, 7436, 7437),
            (6, 6, 6, 7, 9, 13, 24, 55, 90, 252, 1899),
            6.4,
            0.37,
            "completions in an editor, in bursts (Azure 2023)",
        ),
        Workload(
            "long",
            (891, 894, 901, 964, 2307, 6909, 15368, 27367, 39552, 85401, 126195),
            (1, 3, 10, 24, 157, 350, 472, 597, 698, 1120, 2000),
            1.0,
            0.37,
            "long conversations (Mooncake 2025)",
        ),
    )
}


@dataclass(frozen=True)
class Ask:
    """One request to send."""

    prompt: str
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Tokens:
    """What a model makes of these prompts: tokens of each word on the average, and around the prompt."""

    per_word: float = 1.0
    around: int = 0


WORDS_ARE_TOKENS = Tokens()


def asks(
    workload: Workload,
    seed: int,
    *,
    scale: float = 1.0,
    most_tokens: int | None = None,
    tokens: Tokens = WORDS_ARE_TOKENS,
) -> Iterator[Ask]:
    """Requests without end, the same for the same seed. Lengths are multiplied by `scale` and cut so that prompt and
    output together stay within `most_tokens`."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    while True:
        prompt = max(1, round(scale * at(workload.prompt_tokens, draw.random())))
        output = max(1, round(scale * at(workload.output_tokens, draw.random())))
        if most_tokens is not None:
            output = min(output, max(1, most_tokens // 2))
            prompt = min(prompt, max(1, most_tokens - output))
        words = max(1, int((prompt - tokens.around) / tokens.per_word))
        yield Ask(_text(draw, words, workload.shared_prefix), prompt, output)


def gaps(rate: float, cv: float, seed: int) -> Iterator[float]:
    """Seconds between arrivals, of mean 1 / `rate` and this coefficient of variation: gamma distributed (0: constant,
    1: Poisson)."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    while True:
        yield 1 / rate if cv == 0 else draw.gammavariate(1 / cv**2, cv**2 / rate)


def at(lengths: Sequence[float], share: float) -> float:
    """The length at a share (0 to 1) of the requests: straight between the known quantiles."""
    upper = min(max(1, bisect.bisect_left(QUANTILES, share)), len(QUANTILES) - 1)
    low, high = QUANTILES[upper - 1], QUANTILES[upper]
    part = (share - low) / (high - low)
    return lengths[upper - 1] + part * (lengths[upper] - lengths[upper - 1])


def mean(lengths: Sequence[float]) -> float:
    """Tokens of a request on the average."""
    steps = zip(QUANTILES, QUANTILES[1:], lengths, lengths[1:], strict=False)
    return sum((high - low) * (first + last) / 2 for low, high, first, last in steps)


def _text(draw: random.Random, words: int, shared: float) -> str:
    """So many words. It begins as others do, and ends as none does."""
    common = round(words * shared)
    system = random.Random(draw.randrange(SHARED_PROMPTS))  # noqa: S311 - no secret
    return " ".join([*system.choices(WORDS, k=common), *draw.choices(WORDS, k=max(1, words - common))])
