"""Samples out of data sets, in our own shape and in public ones. Pure.

| shape | file | where it is from |
|---|---|---|
| own | JSONL: id, prompt or messages, expected, pattern, schema, canary | here |
| openai-evals | JSONL: input (messages or text), ideal (text or several) | openai/evals, `samples.jsonl` |
| multiple-choice | CSV: question, choices, letter; or JSONL: question, choices, answer | MMLU; lm-evaluation-harness |
| prompts | CSV with a header: goal, Behavior or prompt | AdvBench, HarmBench |
| documents | JSONL with text, or text with blank lines between | lm-evaluation-harness |
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.ops.errors import PenstockError
from infra.ops.evaluate.suite import Suite, Task

Messages = tuple[Mapping[str, str], ...]
PROMPT_COLUMNS = ("goal", "behavior", "prompt")
MOST_SAMPLES = 100_000
CHOICES = "Answer with the letter of the right choice alone."


@dataclass(frozen=True)
class Sample:
    id: str
    messages: Messages
    """Of a document: one message with its text."""
    expected: tuple[str, ...] = ()
    """Any of them is right."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """pattern, schema, canary."""


def samples_of(suite: Suite, task: Task) -> list[Sample]:
    """In the order in which they are asked: drawn by the seed, the same each time. Raises PenstockError."""
    readers: dict[str, Callable[[str], Iterator[Sample]]] = {
        "own": _own,
        "openai-evals": _openai_evals,
        "multiple-choice": _multiple_choice,
        "prompts": _prompts,
        "documents": _documents,
    }
    try:
        found = list(readers[task.shape](suite.data[task.data].decode("utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, csv.Error) as error:
        told = f"{type(error).__name__}: {error}"
        raise PenstockError(f"{task.data} does not have the shape {task.shape}: {told}.") from None
    if not found or len(found) > MOST_SAMPLES:
        raise PenstockError(f"{task.data} has {len(found)} samples; allowed: 1 to {MOST_SAMPLES}.")
    if len({sample.id for sample in found}) != len(found):
        raise PenstockError(f"{task.data} has two samples with one id.")
    _check(task, found)
    drawn = sorted(found, key=lambda sample: hashlib.sha256(f"{suite.shown.seed} {sample.id}".encode()).digest())
    return [_with_system(sample, task) for sample in drawn[: task.samples]]


def _check(task: Task, found: list[Sample]) -> None:
    needs = {
        "exact": "expected", "normalised": "expected", "includes": "expected", "f1": "expected", "choice": "expected",
        "semantic": "expected", "regex": "pattern", "json-schema": "schema", "canary": "canary",
    }.get(task.metric)  # fmt: skip
    for sample in found:
        if needs and not (sample.expected if needs == "expected" else sample.extra.get(needs)):
            raise PenstockError(f"{task.data}: the sample {sample.id} has no {needs}, which {task.metric} needs.")
        if not sample.messages or not all(each.get("content") for each in sample.messages):
            raise PenstockError(f"{task.data}: the sample {sample.id} has no text.")


def _with_system(sample: Sample, task: Task) -> Sample:
    if task.system is None:
        return sample
    first = {"role": "system", "content": task.system}
    return Sample(sample.id, (first, *sample.messages), sample.expected, sample.extra)


def _lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            content = json.loads(line)
            if not isinstance(content, dict):
                raise ValueError(f"line {number} is no mapping")
            yield number, content


def _own(text: str) -> Iterator[Sample]:
    allowed = {"id", "prompt", "messages", "expected", "pattern", "schema", "canary"}
    for number, row in _lines(text):
        if unknown := row.keys() - allowed:
            raise ValueError(f"line {number} has {', '.join(sorted(unknown))}; allowed: {', '.join(sorted(allowed))}")
        messages = _messages(row["messages"]) if "messages" in row else _user(row["prompt"])
        extra = {key: row[key] for key in ("pattern", "schema", "canary") if key in row}
        yield Sample(str(row.get("id", number)), messages, _several(row.get("expected")), extra)


def _openai_evals(text: str) -> Iterator[Sample]:
    for number, row in _lines(text):
        given = row["input"]
        messages = _user(given) if isinstance(given, str) else _messages(given)
        yield Sample(str(number), messages, _several(row.get("ideal")))


def _multiple_choice(text: str) -> Iterator[Sample]:
    if text.lstrip().startswith("{"):
        for number, row in _lines(text):
            answer = row["answer"]
            letter = string.ascii_uppercase[answer] if isinstance(answer, int) else str(answer)
            yield _choices(number, str(row["question"]), [str(choice) for choice in row["choices"]], letter)
        return
    for number, cells in enumerate(csv.reader(io.StringIO(text)), 1):
        if cells:
            yield _choices(number, cells[0], cells[1:-1], cells[-1])


def _choices(number: int, question: str, choices: list[str], letter: str) -> Sample:
    letters = string.ascii_uppercase[: len(choices)]
    if len(choices) < 2 or letter.strip().upper() not in list(letters):
        raise ValueError(f"sample {number} has {len(choices)} choices and the answer {letter!r}")
    lines = [question.strip(), *(f"{at}. {choice}" for at, choice in zip(letters, choices, strict=True)), CHOICES]
    return Sample(str(number), _user("\n".join(lines)), (letter.strip().upper(),), {"letters": letters})


def _prompts(text: str) -> Iterator[Sample]:
    rows = csv.DictReader(io.StringIO(text))
    names = {str(name).strip().lower(): name for name in rows.fieldnames or []}
    column = next((names[name] for name in PROMPT_COLUMNS if name in names), None)
    if column is None:
        raise ValueError(f"its header has none of {', '.join(PROMPT_COLUMNS)}")
    for number, row in enumerate(rows, 1):
        yield Sample(str(row.get("BehaviorID") or number), _user(row[column]))


def _documents(text: str) -> Iterator[Sample]:
    if text.lstrip().startswith("{"):
        for number, row in _lines(text):
            yield Sample(str(row.get("id", number)), _user(row["text"]))
        return
    for number, part in enumerate((part.strip() for part in text.split("\n\n") if part.strip()), 1):
        yield Sample(str(number), _user(part))


def _user(content: Any) -> Messages:
    if not isinstance(content, str):
        raise TypeError("a prompt must be text")
    return ({"role": "user", "content": content},)


def _messages(given: Any) -> Messages:
    found = tuple({"role": str(each["role"]), "content": str(each["content"])} for each in given)
    if not all(each["role"] in ("system", "developer", "user", "assistant") for each in found):
        raise ValueError("a message's role must be system, developer, user or assistant")
    return found


def _several(given: Any) -> tuple[str, ...]:
    return () if given is None else tuple(map(str, given)) if isinstance(given, list) else (str(given),)
