"""A suite's run: bounded in requests, tokens, time and money, and taken up again where it was interrupted."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.ops.errors import PenstockError
from infra.ops.evaluate.ask import Outcome
from infra.ops.evaluate.datasets import Sample, samples_of
from infra.ops.evaluate.suite import Suite, Task

Ask = Callable[[Task, Sample], Outcome]


@dataclass(frozen=True)
class Prices:
    """US dollars for a million tokens."""

    input_usd: float
    output_usd: float

    def usd(self, outcome: Outcome) -> float:
        return (outcome.prompt_tokens * self.input_usd + outcome.output_tokens * self.output_usd) / 1e6


@dataclass
class Ran:
    """What a run came to. `stopped`: which budget ended it; empty where it is whole."""

    outcomes: list[Outcome] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0
    taken_up: int = 0
    """Outcomes of an interrupted run before."""


class Kept:
    """The outcomes of a run on the disk, a line each, for one that goes on after a crash. Without a path: nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self) -> Iterator[Outcome]:
        """A line that a crash cut short is left out."""
        try:
            lines = self._path.read_bytes().splitlines() if self._path else []
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield Outcome(**json.loads(line))
            except (ValueError, TypeError):
                continue

    def add(self, outcome: Outcome) -> None:
        if self._path is None:
            return
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                with os.fdopen(handle, "ab") as file:
                    file.write(b"\n" + json.dumps(outcome.as_dict()).encode() + b"\n")
        except OSError as error:
            raise PenstockError(f"{self._path} cannot be written: {error.strerror or error}.") from None

    def clear(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def run_suite(
    suite: Suite,
    ask: Ask,
    prices: Prices,
    kept: Kept,
    progress: Callable[[str], Any] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
) -> Ran:
    """Asks every sample of every task. Failures among the kept outcomes are asked again."""
    jobs = [(task, sample) for task in suite.shown.tasks for sample in samples_of(suite, task)]
    wanted = {(task.name, sample.id) for task, sample in jobs}
    before = {(one.task, one.sample): one for one in kept.read() if not one.failure}
    ran = Ran(outcomes=[one for key, one in before.items() if key in wanted])
    ran.taken_up = len(ran.outcomes)
    spent = _Spent(suite, prices)
    for outcome in ran.outcomes:
        spent.add(outcome)
    started, under_way = clock(), set[Future[Outcome]]()
    waiting = iter([job for job in jobs if (job[0].name, job[1].id) not in before])
    with ThreadPoolExecutor(suite.shown.concurrency, "evaluation") as pool:
        more = True
        while more or under_way:
            while more and len(under_way) < suite.shown.concurrency:
                job = next(waiting, None)
                ran.stopped = spent.over(len(under_way), clock() - started) if job else ""
                if job is None or ran.stopped:
                    more = False
                else:
                    under_way.add(pool.submit(ask, *job))
            if not under_way:
                break
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                kept.add(outcome)
                spent.add(outcome)
                ran.outcomes.append(outcome)
            progress(f"{len(ran.outcomes)} of {len(jobs)} samples")
    ran.seconds = clock() - started
    order = {(task.name, sample.id): index for index, (task, sample) in enumerate(jobs)}
    ran.outcomes.sort(key=lambda one: order[one.task, one.sample])
    return ran


class _Spent:
    def __init__(self, suite: Suite, prices: Prices) -> None:
        self._budget, self._prices = suite.shown.budget, prices
        self._requests = self._tokens = 0
        self._usd = 0.0

    def add(self, outcome: Outcome) -> None:
        self._requests += 1 + outcome.asked_again
        self._tokens += outcome.prompt_tokens + outcome.output_tokens
        self._usd += self._prices.usd(outcome)

    def over(self, under_way: int, seconds: float) -> str:
        """Which budget leaves no room for one more; empty where all do. What is under way may go a little beyond."""
        budget = self._budget
        if self._requests + under_way >= budget.requests:
            return f"requests: {budget.requests}"
        if self._tokens >= budget.tokens:
            return f"tokens: {budget.tokens}"
        if seconds >= budget.seconds:
            return f"seconds: {budget.seconds}"
        if budget.usd and self._usd >= budget.usd:
            return f"usd: {budget.usd:g}"
        return ""
