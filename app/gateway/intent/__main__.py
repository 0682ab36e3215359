"""`python -m app.gateway.intent train|test`: makes the small model of intents from labelled texts, and tests it.

Exit status: 0 done, 1 the labels or the file cannot be used, 2 a wrong command line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from app.gateway.intent.bayes import MOST_FILE_BYTES, as_json, train
from app.gateway.intent.classifier import Intents
from app.gateway.intent.settings import IntentConfig

Example = tuple[str, str]
MOST_EXAMPLES = 100_000


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.gateway.intent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    learn = commands.add_parser("train", help="make a model; a share of the labels is kept to test it")
    learn.add_argument("--labels", required=True, help='JSON lines {"text": "...", "label": "..."}')
    learn.add_argument("--out", required=True, help="the model's file")
    learn.add_argument("--test-percent", type=int, default=30, choices=range(10, 91), metavar="10..90",
                       help="kept to test, chosen by a hash of the text (30)")  # fmt: skip
    check = commands.add_parser("test", help="how often rules, and a model, tell the right label")
    check.add_argument("--labels", required=True, help="as for train; all of them are tested")
    check.add_argument("--model", help="a file of train; without it the rules alone")
    given = parser.parse_args(arguments)
    try:
        examples = read(Path(given.labels))
        if given.command == "train":
            print(json.dumps(_train(examples, Path(given.out), given.test_percent)))
        else:
            classifier = Intents(IntentConfig(model_file=given.model))
            share = right(examples, lambda text: classifier.classify(text).name)
            print(json.dumps({"texts": len(examples), "right": share}))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _train(examples: list[Example], out: Path, percent: int) -> dict[str, object]:
    learnt, kept = split(examples, percent)
    if not kept:
        raise ValueError(f"no text is left to test with; {len(examples)} are too few")
    content = json.dumps(as_json(train(learnt))).encode()
    if len(content) > MOST_FILE_BYTES:
        raise ValueError(f"the model has {len(content)} bytes; allowed: {MOST_FILE_BYTES}. Use fewer labels")
    out.write_bytes(content)
    rules, both = Intents(IntentConfig()), Intents(IntentConfig(model_file=str(out)))
    model = both.model
    assert model is not None  # noqa: S101 - just written
    return {
        "learnt": len(learnt), "tested": len(kept), "labels": list(model.labels), "bytes": len(content),
        "right": {
            "rules": right(kept, lambda text: rules.classify(text).name),
            "words": right(kept, lambda text: next((label for label, _ in model.probabilities(text)), "")),
            "rules and words": right(kept, lambda text: both.classify(text).name),
        },
    }  # fmt: skip


def read(path: Path) -> list[Example]:
    """Raises ValueError that names the line, and OSError."""
    examples: list[Example] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            text, label = content["text"], content["label"]
        except (ValueError, LookupError, TypeError):
            raise ValueError(f'{path}, line {number}: must be {{"text": "...", "label": "..."}}') from None
        if not isinstance(text, str) or not isinstance(label, str) or not text.strip() or not label:
            raise ValueError(f"{path}, line {number}: text and label must be texts, and not empty")
        examples.append((text, label))
        if len(examples) > MOST_EXAMPLES:
            raise ValueError(f"{path}: more than {MOST_EXAMPLES} lines")
    return examples


def split(examples: Iterable[Example], percent: int) -> tuple[list[Example], list[Example]]:
    """To learn from, and to test with. By a hash, so that a text stays on its side when others are added."""
    learnt: list[Example] = []
    kept: list[Example] = []
    for text, label in examples:
        place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 100
        (kept if place < percent else learnt).append((text, label))
    return learnt, kept


def right(examples: Sequence[Example], classify: Callable[[str], str]) -> float:
    return round(sum(classify(text) == label for text, label in examples) / len(examples), 4) if examples else 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
