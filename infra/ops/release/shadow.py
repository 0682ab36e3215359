"""The gate before a colour's first traffic: what copies of requests showed of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from infra.ops.errors import PenstockError
from infra.ops.progress import Progress
from infra.ops.release.gate import Count, Finding, Limits, Verdict, compare, latency
from infra.ops.release.machine import other
from infra.ops.release.runner import Watched
from infra.ops.release.samples import ShadowSample, Window
from infra.ops.release.watching import LOOK_SECONDS, Source

RULES = 3


@dataclass(frozen=True)
class CopyLimits:
    """`limits` of the steps hold here too. Of texts, `text_margin` may differ, as a share.

    `min_texts` of the copies must have had texts: few requests are asked at temperature 0.
    """

    limits: Limits
    text_margin: float
    min_copies: int
    min_texts: int = 0


def judge(sample: ShadowSample, given: CopyLimits) -> Verdict:
    """An original that is copied was answered well, so each copy that was not is the new colour's doing."""
    return Verdict(tuple(_rules(sample, given)))


def _rules(sample: ShadowSample, given: CopyLimits) -> Iterator[Finding]:
    alpha = given.limits.alpha / RULES
    well, copies = Count(0, sample.compared), Count(sample.failed, sample.compared)
    yield compare("errors of copies", well, copies, given.limits.error_margin, given.min_copies, alpha)
    if sample.original.total:
        streams = replace(given.limits, min_streams=0)
        total = sample.original.total
        yield latency("TTFT p95 of copies", sample.original, sample.copy, total, sample.copy.total, streams, alpha)
    if sample.texts or given.min_texts:
        known, differ = Count(0, sample.texts), Count(sample.texts_differ, sample.texts)
        yield compare("texts of copies", known, differ, given.text_margin, given.min_texts, alpha)


@dataclass
class CopyWatch:
    """Looks once a second at what the live colour's gateways compared since the watch began."""

    source: Source
    given: CopyLimits
    models: Sequence[str]
    wait_seconds: float
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def watch(self, colour: str) -> Watched:
        """Until the copies are good, bad, or too few for too long. A scrape that fails is tried again."""
        window, began, unseen = Window(), self.clock(), ""
        verdict: Verdict | None = None
        while True:
            looked = self.clock()
            try:
                for name, reading in self.source.scrape()[other(colour)].items():
                    window.feed(name, reading)
                verdict, unseen = judge(window.sample().shadow(self.models), self.given), ""
            except PenstockError as error:
                unseen = str(error)
            if verdict is not None and not unseen:
                reasons = verdict.reasons(verdict.state)
                self.progress.detail(f"copies, {verdict.state}: {'; '.join(reasons)[:120]}")
                if verdict.state != "waiting":
                    return Watched(verdict.state, "; ".join(reasons), {"verdict": verdict.as_dict()})
            if self.clock() - began >= self.wait_seconds:
                told = [unseen] if unseen else verdict.reasons("waiting") if verdict else []
                return Watched("short", "; ".join(told) or "no look was possible")
            self.sleep(max(0.05, LOOK_SECONDS - (self.clock() - looked)))
