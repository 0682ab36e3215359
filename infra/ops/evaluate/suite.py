"""The shape of a suite file: tasks, thresholds, budgets. Its digest covers the file and its data sets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from infra.ops.errors import PenstockError
from infra.settings.errors import path_of
from infra.settings.kinds import Decimal, Percent, Strict, Truth, Whole

Shape = Literal["own", "openai-evals", "multiple-choice", "prompts", "documents"]
Metric = Literal[
    "exact", "normalised", "includes", "f1", "regex", "json-schema", "choice", "semantic", "perplexity", "toxicity",
    "refusal", "canary",
]  # fmt: skip
Share = Annotated[Decimal, Field(ge=0, le=1)]
ModelName = Annotated[str, Field(min_length=1, max_length=63)]
GRADED = frozenset({"f1"})
"""Metrics whose scores lie between 0 and 1; all others are 0 or 1, and their bounds exact."""
MOST_BYTES = 64 << 20
VERSION = b"penstock-suite-v1\n"
"""Changes with what a metric means: records of before then count no more."""


class Task(Strict):
    """Samples, how their answers are scored, and what the scores must be. A score is 0 to 1, perplexity 1 or more."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    data: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$", description="Beside the suite's file, or below.")
    shape: Shape
    metric: Metric
    at_least: Share | None = Field(default=None, description="The mean score surely is so much, or more.")
    at_most: Annotated[Decimal, Field(ge=1)] | None = Field(default=None, description="The perplexity surely is this.")
    minimum_samples: Whole = Field(default=20, ge=1, le=100_000)
    samples: Annotated[Whole, Field(ge=1, le=100_000)] | None = Field(default=None, description="Drawn; null: all.")
    worse_by_at_most: Share | None = Field(
        default=None, description="Than the version in production, on the same samples; null: not compared."
    )
    system: str | None = Field(default=None, max_length=8000, description="A system message before each sample.")
    max_tokens: Whole = Field(default=64, ge=1, le=16_384)
    temperature: Annotated[Decimal, Field(ge=0, le=2)] = 0.0
    similarity: Share = Field(default=0.8, description="Of meanings, from which on an answer counts as the same.")
    embeddings: ModelName | None = Field(default=None, description="The model that semantic scores are made by.")
    classifier: ModelName | None = Field(
        default=None, description="A model that judges toxicity, in place of the word list."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.metric == "perplexity":
            if self.at_least is not None or self.at_most is None:
                raise ValueError("perplexity wants atMost, and no atLeast")
            if self.shape != "documents":
                raise ValueError("perplexity wants the shape documents")
            if self.worse_by_at_most is not None:
                raise ValueError("perplexity is not compared by worseByAtMost")
        elif self.at_least is None or self.at_most is not None:
            raise ValueError(f"{self.metric} wants atLeast, and no atMost")
        if self.metric == "semantic" and self.embeddings is None:
            raise ValueError("semantic wants embeddings, a model that makes them")
        if (self.metric == "choice") != (self.shape == "multiple-choice"):
            raise ValueError("the metric choice and the shape multiple-choice belong together")
        return self


class Latency(Strict):
    """Of all answers that came as a stream, whatever their task."""

    ttft_p95_seconds: Annotated[Decimal, Field(gt=0, le=600)]
    itl_p95_seconds: Annotated[Decimal, Field(gt=0, le=60)] = Field(
        description="Of each answer's own 95th percentile: gaps of one stream are not independent."
    )
    minimum_samples: Whole = Field(default=59, ge=59, description="Fewer have no upper bound of a p95 at 95 %.")


class Budget(Strict):
    """Where one is used up the suite ends, and nothing has passed."""

    requests: Whole = Field(ge=1, le=1_000_000)
    tokens: Whole = Field(ge=1, le=10_000_000_000)
    seconds: Whole = Field(ge=1, le=86_400)
    usd: Decimal = Field(ge=0, le=1_000_000)


class Shown(Strict):
    """A suite's file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    tasks: tuple[Task, ...] = Field(min_length=1, max_length=50)
    latency: Latency | None = None
    usd_per_thousand_requests: Annotated[Decimal, Field(ge=0)] | None = None
    failed_at_most: Share = Field(default=0.01, description="Share of requests without a whole answer.")
    budget: Budget
    concurrency: Whole = Field(default=4, ge=1, le=64)
    confidence_percent: Percent = Field(default=95, ge=50, le=99)
    seed: Whole = 7
    mask: Truth = Field(default=True, description="Personal data is masked in what is kept of failed samples.")

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError("each task has a name of its own")
        return self


@dataclass(frozen=True)
class Suite:
    """A suite with its data sets read. `digest` is over both."""

    shown: Shown
    file: Path
    data: dict[str, bytes]
    """By the task's `data`."""
    digest: str

    @property
    def alpha(self) -> float:
        return 1 - self.shown.confidence_percent / 100


def read_suite(file: Path) -> Suite:
    """Raises PenstockError that names the file, the key and what is allowed."""
    text = _bytes(file, file)
    try:
        shown = Shown.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise PenstockError(f"{file} is not YAML: {' '.join(str(error).split())}.") from None
    except ValidationError as error:
        found = "; ".join(f"{path_of(one['loc']) or 'the file'}: {one['msg']}" for one in error.errors()[:5])
        raise PenstockError(f"{file} is no suite: {found}.", "docs/registry.md has the keys.") from None
    data = {}
    for task in shown.tasks:
        if ".." in Path(task.data).parts:
            raise PenstockError(f"{file}: tasks.{task.name}.data leads out of the suite's folder.")
        data[task.data] = _bytes(file.parent / task.data, file)
    digest = hashlib.sha256(VERSION)
    for name, content in [("", text), *sorted(data.items())]:
        digest.update(f"{hashlib.sha256(content).hexdigest()} {name}\n".encode())
    return Suite(shown, file, data, digest.hexdigest())


def task_digest(suite: Suite, task: Task) -> str:
    """Two records compare a task only where this is the same: data, metric and how it is asked."""
    asked = task.model_dump_json(exclude={"at_least", "at_most", "minimum_samples", "worse_by_at_most"})
    return hashlib.sha256(VERSION + asked.encode() + suite.data[task.data] + str(suite.shown.seed).encode()).hexdigest()


def _bytes(path: Path, suite: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PenstockError(f"{path}, of the suite {suite.name}, cannot be read: {error.strerror or error}.") from None
    if len(content) > MOST_BYTES:
        raise PenstockError(f"{path} has more than {MOST_BYTES >> 20} MiB.")
    return content
