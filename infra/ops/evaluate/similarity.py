"""How near a model puts texts that mean the same, and others: what a bound on the similarity would take of both.

    python -m infra.ops.evaluate.similarity pairs.jsonl --model embed

Asks the gateway at PENSTOCK_GATEWAY_URL with the key PENSTOCK_API_KEY for the embeddings of each pair.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.ops.endpoint import Endpoint, normalised, request
from infra.ops.errors import PenstockError, UsageError
from infra.ops.evaluate.metrics import cosine

BOUNDS = tuple(round(0.3 + 0.05 * step, 2) for step in range(15))
"""0.30 to 1.00 in steps of 0.05."""
TEXTS_A_CALL = 64


@dataclass(frozen=True)
class Pair:
    one: str
    other: str
    same: bool
    """Whether a person would take the one for the other."""


@dataclass(frozen=True)
class Shares:
    """What a bound takes, from 0 to 1."""

    bound: float
    same: float
    other: float


def read_pairs(path: Path) -> list[Pair]:
    """Lines of JSON with `one`, `other` and `same`. Raises UsageError, which names the line."""
    pairs = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            texts = content["one"], content["other"]
            if not all(isinstance(text, str) and text.strip() for text in texts):
                raise ValueError("`one` and `other` must be texts")
            if not isinstance(content["same"], bool):
                raise ValueError("`same` must be true or false")
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path}, line {number}: {error}.", "A line has one, other and same.") from None
        pairs.append(Pair(*texts, content["same"]))
    if {pair.same for pair in pairs} != {True, False}:
        raise UsageError(f"{path} must have pairs that mean the same, and pairs that do not.")
    return pairs


def embedded(endpoint: Endpoint, model: str, texts: Sequence[str]) -> list[list[float]]:
    """In the order of the texts. Raises GatewayError, PenstockError."""
    found: list[list[float]] = []
    for at in range(0, len(texts), TEXTS_A_CALL):
        some = list(texts[at : at + TEXTS_A_CALL])
        with request(endpoint, "POST", "/v1/embeddings", {"model": model, "input": some}) as response:
            reply = response.read()
        try:
            rows = sorted(json.loads(reply)["data"], key=lambda row: row["index"])
            vectors = [[float(number) for number in row["embedding"]] for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise PenstockError(f"The embeddings of {model} cannot be read: {error!r}.") from None
        if len(vectors) != len(some):
            raise PenstockError(f"{model} made {len(vectors)} embeddings of {len(some)} texts.")
        found += vectors
    return found


def shares(found: Iterable[tuple[float, bool]], bounds: Iterable[float] = BOUNDS) -> list[Shares]:
    """`found`: the similarity of each pair, and whether it means the same. Both kinds must be there."""
    every = list(found)
    right = [value for value, same in every if same]
    wrong = [value for value, same in every if not same]

    def share(values: list[float], bound: float) -> float:
        return sum(value >= bound for value in values) / len(values)

    return [Shares(bound, share(right, bound), share(wrong, bound)) for bound in bounds]


def table(rows: Iterable[Shares], pairs: Sequence[Pair]) -> str:
    same = sum(pair.same for pair in pairs)
    head = f"bound  of {same} that mean the same  of {len(pairs) - same} that do not"
    return "\n".join([head, *(f"{row.bound:5.2f}  {row.same:22.0%}  {row.other:>{len(head) - 31}.0%}" for row in rows)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.ops.evaluate.similarity", description=__doc__)
    parser.add_argument("pairs", type=Path, help='lines of JSON: {"one": "...", "other": "...", "same": true}')
    parser.add_argument("--model", default="embed", help="what makes the embeddings (embed)")
    options = parser.parse_args(arguments)
    try:
        pairs = read_pairs(options.pairs)
        url, key = os.environ.get("PENSTOCK_GATEWAY_URL"), os.environ.get("PENSTOCK_API_KEY")
        if not url or not key:
            raise UsageError("PENSTOCK_GATEWAY_URL and PENSTOCK_API_KEY must be set.")
        texts = [text for pair in pairs for text in (pair.one, pair.other)]
        vectors = embedded(Endpoint(normalised(url), key), options.model, texts)
    except PenstockError as error:
        print(f"{error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    found = [
        (cosine(one, other), pair.same) for one, other, pair in zip(vectors[::2], vectors[1::2], pairs, strict=True)
    ]
    print(table(shares(found), pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
