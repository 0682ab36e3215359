"""One step under watch: the gateways of both colours scraped once a second, judged at each look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from components.shares import COLOURS
from infra.ops import kube
from infra.ops.errors import PenstockError
from infra.ops.progress import Progress
from infra.ops.release.attend import LONGEST, Attendant, Wish
from infra.ops.release.gate import Count, Finding, Limits, Verdict, judge, sample_counts
from infra.ops.release.machine import other
from infra.ops.release.runner import Watched
from infra.ops.release.samples import Key, Reading, Sample, Window, read

LOOK_SECONDS = 1.0
GATEWAY_PORT = 8080
SIDE_BY_SIDE = 16


class Source(Protocol):
    """Where readings come from: colour -> gateway -> its counters. A gateway that does not answer is left out."""

    def scrape(self) -> Mapping[str, Mapping[str, Reading]]: ...

    def healthy(self, colour: str) -> int:
        """Gateways of a colour that the load balancer finds healthy."""
        ...


@dataclass
class ClusterSource:
    """The gateways' own /metrics, through the cluster's API."""

    cluster: kube.Cluster
    namespace: str
    health: Callable[[], Mapping[str, Any]]

    def scrape(self) -> Mapping[str, Mapping[str, Reading]]:
        """Raises PenstockError where the cluster does not say which pods there are."""
        pods = [
            pod
            for pod in self.cluster.pods(self.namespace)
            if pod.app == "gateway" and pod.phase in ("Running", "Terminating") and pod.ip
        ]

        def one(pod: kube.Pod) -> tuple[str, str, Reading | None]:
            try:
                return pod.colour, pod.name, read(self.cluster.metrics(self.namespace, pod, GATEWAY_PORT))
            except (PenstockError, ValueError):  # it starts or ends: what it counted so far was read before
                return pod.colour, pod.name, None

        found: dict[str, dict[str, Reading]] = {colour: {} for colour in COLOURS}
        with ThreadPoolExecutor(SIDE_BY_SIDE, "scrape") as pool:
            for colour, name, reading in pool.map(one, pods):
                if reading is not None and colour in found:
                    found[colour][name] = reading
        return found

    def healthy(self, colour: str) -> int:
        return self.health()[colour].healthy


@dataclass
class Watcher:
    """Watches the steps of one release. `windows` outlive a step, so that what happens in an update is counted."""

    source: Source
    limits: Limits
    models: Sequence[str]
    soak_seconds: float
    wait_seconds: float
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    reference: Sample | None = None
    """What the live colour did at the last step where it had traffic: what 100 % is compared with."""
    attendant: Attendant | None = None
    """Who hears what is wished at the console."""
    windows: dict[str, Window] = field(default_factory=dict)

    def open(self) -> None:
        """Begins the windows of the next step with a scrape of now."""
        self.windows = {colour: Window() for colour in COLOURS}
        self.take()

    def take(self) -> None:
        for colour, gateways in self.source.scrape().items():
            for name, reading in gateways.items():
                self.windows[colour].feed(name, reading)

    def watch(self, colour: str, step: int) -> Watched:
        """Until the step is good, bad, or has waited long enough. Raises PenstockError."""
        if not self.windows:
            self.open()
        began = self.clock()
        verdict: Verdict | None = None
        unseen = ""
        while True:
            looked = self.clock()
            try:
                self.take()
                unseen = ""
                broken = self._without_gateways(colour)
                verdict = broken or judge(
                    self._live(colour, step), self.windows[colour].sample(), self.limits, self.models
                )
            except PenstockError as error:
                unseen = str(error)
            passed = self.clock() - began
            if verdict is not None and not unseen:
                self.progress.detail(
                    f"{passed:.0f} s, {verdict.state}: {'; '.join(verdict.reasons(verdict.state))[:120]}"
                )
                self._show(colour, step, passed, verdict.state, verdict)
                if verdict.state == "bad":
                    return Watched("bad", "; ".join(verdict.reasons("bad")), self._details(colour, verdict, looked))
            else:
                self._show(colour, step, passed, "unseen", verdict)
            wish = None if self.attendant is None else self.attendant.take()
            if wish is not None and wish.kind == "rollback":
                return Watched("bad", wish.reason, self._details(colour, verdict or Verdict(()), looked), {}, wish)
            if verdict is not None and not unseen:
                if wish is not None or (verdict.state == "good" and passed >= self.soak_seconds):
                    return self._passed(colour, step, verdict, looked, wish)
            elif wish is not None and self.attendant is not None:
                self.attendant.done(wish, f"nothing could be seen of {colour}, so it did not pass")
            if passed >= self.wait_seconds:
                reasons = [unseen] if unseen else verdict.reasons("waiting") if verdict else []
                return Watched("short", "; ".join(reasons) or "no look was possible")
            rest = max(0.05, LOOK_SECONDS - (self.clock() - looked))
            (self.sleep if self.attendant is None else self.attendant.pause)(rest)  # a wish does not wait

    def _passed(self, colour: str, step: int, verdict: Verdict, looked: float, wish: Wish | None) -> Watched:
        if step < 100:
            self.reference = self.windows[other(colour)].sample()
        done = self._details(colour, verdict, looked)
        self.windows = {name: window.next() for name, window in self.windows.items()}
        record = {"reference": packed(self.reference)}
        if wish is not None and self.attendant is not None:
            self.attendant.done(wish, f"{colour} passed {step} %")
            record["wished_by"] = wish.actor
        return Watched("good", "", done, record)

    def _show(self, colour: str, step: int, passed: float, state: str, verdict: Verdict | None) -> None:
        if self.attendant is not None:
            findings = (
                []
                if verdict is None
                else [{**one.as_dict(), "reason": one.reason[:LONGEST]} for one in verdict.findings]
            )
            look = {
                "seconds": round(passed, 1),
                "soak_seconds": self.soak_seconds,
                "wait_seconds": self.wait_seconds,
                "state": state,
                "findings": findings[:50],
            }
            self.attendant.watches(f"Watching {colour} at {step} %", look)

    def _live(self, colour: str, step: int) -> Sample:
        if step < 100:
            return self.windows[other(colour)].sample()
        if (
            self.reference is None
        ):  # begun elsewhere, or in one step: all that its gateways have counted since their start
            sums: dict[Any, float] = {}
            for reading in self.source.scrape()[other(colour)].values():
                for key, value in reading.items():
                    sums[key] = sums.get(key, 0.0) + value
            self.reference = Sample(sums)
        return self.reference

    def _without_gateways(self, colour: str) -> Verdict | None:
        """No healthy gateway: the load balancer answers in its place, and no gateway counts that."""
        if self.source.healthy(colour):
            return None
        nothing = Count(0, 0)
        reason = f"{colour} has no healthy gateway"
        return Verdict((Finding("targets", "bad", nothing, nothing, 0.0, None, reason),))

    def _details(self, colour: str, verdict: Verdict, looked: float) -> dict[str, Any]:
        return {"verdict": verdict.as_dict(), "seen_at": looked, "counts": self.counts(colour)}

    def counts(self, colour: str) -> Mapping[str, int]:
        return sample_counts(self.windows[colour].sample(), self.models)


def packed(sample: Sample | None) -> list[list[Any]] | None:
    """For JSON: [what, model, more..., value] for each counter that is not 0."""
    return None if sample is None else [[*key, value] for key, value in sample.counters.items() if value]


def unpacked(rows: Sequence[Sequence[Any]] | None) -> Sample | None:
    if not rows:
        return None
    found = Sample({tuple(row[:-1]): float(row[-1]) for row in rows})
    return Sample({**_empty_buckets(found), **found.counters})


def _empty_buckets(sample: Sample) -> dict[Key, float]:
    """Buckets up to which nothing was counted are not packed; every model has those of all models."""
    bounds = {(key[0], key[2]) for key in sample.counters if len(key) == 3}
    models = {key[1] for key in sample.counters}
    return {(kind, model, bound): 0.0 for kind, bound in bounds for model in models}
