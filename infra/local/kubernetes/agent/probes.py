"""When a container counts as started, ready or dead: thresholds over a series of checks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infra.local.kubernetes.agent.api import Json

Verdict = Literal["unknown", "success", "failure"]


@dataclass
class ProbeTracker:
    """Folds the results of one probe. `verdict` is unknown until a threshold is met."""

    success_threshold: int = 1
    failure_threshold: int = 3
    verdict: Verdict = "unknown"
    successes: int = 0
    failures: int = 0

    @classmethod
    def of(cls, probe: Json) -> ProbeTracker:
        return cls(probe.get("successThreshold") or 1, probe.get("failureThreshold") or 3)

    def record(self, passed: bool) -> bool:
        """Takes one result; says whether the verdict changed."""
        before = self.verdict
        if passed:
            self.successes, self.failures = self.successes + 1, 0
            if self.successes >= self.success_threshold:
                self.verdict = "success"
        else:
            self.successes, self.failures = 0, self.failures + 1
            if self.failures >= self.failure_threshold:
                self.verdict = "failure"
        return self.verdict != before


@dataclass(frozen=True)
class ProbeTiming:
    """Seconds."""

    initial_delay: float
    period: float
    timeout: float

    @classmethod
    def of(cls, probe: Json) -> ProbeTiming:
        return cls(
            float(probe.get("initialDelaySeconds") or 0),
            float(probe.get("periodSeconds") or 10),
            float(probe.get("timeoutSeconds") or 1),
        )


@dataclass
class Backoff:
    """Kubernetes' crash-loop back-off: the first restart at once, then `base` seconds, doubled up to `cap`; forgotten
    after a run of twice the cap."""

    base: float = 10.0
    cap: float = 300.0
    _next: float = 0.0

    def delay(self, ran_seconds: float) -> float:
        """Seconds to wait before the restart that follows a run of `ran_seconds`."""
        if ran_seconds > 2 * self.cap:
            self._next = 0.0
        wait = self._next
        self._next = min(max(self.base, wait * 2), self.cap)
        return wait


def restarts(policy: str, exit_code: int) -> bool:
    """Whether a container that ended is started again under its pod's restartPolicy."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)
