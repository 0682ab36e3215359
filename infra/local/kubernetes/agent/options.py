"""The agent's periods and bounds in one place. Tests shorten them; the platform runs with the defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """All in seconds unless the name says otherwise."""

    node_poll_seconds: float = 1.0
    """How often node groups are read while they change."""
    node_poll_idle_seconds: float = 3.0
    """How often they are read after a while without a change."""
    node_absent_reads: int = 3
    """A node goes only after so many reads in a row without it: a cloud that is starting may list half its groups."""
    lease_renew_seconds: float = 4.0
    """Heartbeat of a node; the controller manager's grace period is 20 s."""
    drain_seconds: float = 900.0
    """How long disruption budgets may hold up a scale-down (EKS managed node groups wait 15 minutes)."""
    drain_pause_seconds: float = 1.0
    """Between two rounds of evictions on a node that is leaving."""
    restart_base_seconds: float = 10.0
    restart_cap_seconds: float = 300.0
    """Crash-loop back-off: base, doubled up to the cap (Kubernetes: 10 s and 300 s)."""
    mount_retry_seconds: float = 1.0
    """First pause after a volume or an environment that could not be made; doubled up to 10 s."""
    address_quarantine_seconds: float = 60.0
    """A pod's address is not given out again for so long: others may still hold connections or targets to it."""
    eager_probe_seconds: float = 0.25
    eager_window_seconds: float = 60.0
    """Until a probe's first success, and for this window at most, it is asked more often than its period. Of the extra
    questions only a success counts, so thresholds keep their meaning and a start is seen early."""
    housekeeping_seconds: float = 5.0
    """How often tokens are checked for rotation and logs for their size."""
    log_limit_bytes: int = 10 * 1024 * 1024
    log_files: int = 300
    """Container logs kept, those of ended pods included."""
    target_resync_seconds: float = 30.0
    """How often a target group's registered targets are read back."""
    target_poll_seconds: float = 1.0
    """How often target health is read while a pod waits for its readiness gate."""
    request_seconds: float = 10.0
    """Time-out of one request to the API server or to AWS."""
    objects_only: bool = False
    """Pods run and are ready as soon as what they refer to is there; no process is started for them."""
    vllm: Path | None = None
    """The folder of a real vLLM, which then runs in place of the simulated engine."""
    heavy_starts: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Real engines that start at the same time."""
    force_kill_seconds: float = 1.0
    """What a pod that was deleted by force still gets between SIGTERM and SIGKILL."""
