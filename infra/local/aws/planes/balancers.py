"""ELBv2: load balancers whose traffic flows through one Envoy, which follows moto's objects.

Each load balancer has an address of its own, which is its DNS name. Network load balancers have no data path.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.aws.planes.addresses import Addresses, check_free
from infra.local.aws.planes.balancer_model import Snapshot, Target, key_of
from infra.local.aws.planes.envoy_process import START_SECONDS, Envoy
from infra.local.layout import BALANCERS, Layout
from infra.local.processes import NotReadyError, Processes

logger = logging.getLogger(__name__)

LISTENER_SECONDS = 5.0
MOST_RESTARTS = 5
"""In a minute."""


@dataclass(frozen=True)
class Health:
    """A target's health as DescribeTargetHealth gives it."""

    state: str
    reason: str | None = None
    description: str | None = None


HEALTHY = Health("healthy")
NOT_USED = Health(
    "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
)
NOT_REGISTERED = Health("unused", "Target.NotRegistered", "Target is not registered to the target group")
DRAINING = Health("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
REGISTERING = Health("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
FIRST_CHECKS = Health("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
TIMED_OUT = Health("unhealthy", "Target.Timeout", "Request timed out")
FAILED = Health("unhealthy", "Target.FailedHealthChecks", "Health checks failed")


def health_of(status: Mapping[str, Any] | None) -> Health:
    """Envoy's words for an endpoint's health, or None where it has not taken the endpoint up yet, in those of AWS."""
    if status is None:
        return REGISTERING
    if status.get("pending_active_hc"):
        return FIRST_CHECKS
    if status.get("active_hc_timeout"):
        return TIMED_OUT
    return FAILED if status.get("failed_active_health_check") else HEALTHY


class Balancers:
    """Follows the ELBv2 objects of moto with Envoy. `lock` serialises changes of the objects and of the files."""

    def __init__(self, layout: Layout, processes: Processes) -> None:
        self.lock = threading.RLock()
        self.addresses = Addresses(layout, BALANCERS)
        self._envoy = Envoy(layout.state / "envoy", layout.balancer_admin_url, processes)
        self._rejected: dict[str, int] = {}
        self._restarts: list[float] = []

    def follow(self, snapshot: Snapshot) -> None:
        """Brings Envoy to the state of the snapshot. Raises AddressInUseError or OSError."""
        with self.lock:
            if not snapshot.balancers:
                self._envoy.stop()
                return
            self._envoy.apply(snapshot)
            if not self._envoy.running:
                self._envoy.start()

    def heal(self) -> None:
        """Starts Envoy again where it ended by itself. Raises AddressInUseError or OSError."""
        with self.lock:
            now = time.monotonic()
            self._restarts = [moment for moment in self._restarts if now - moment < 60]
            if self._envoy.ended and len(self._restarts) < MOST_RESTARTS:
                self._restarts.append(now)
                logger.warning("Envoy ended and is started again: %s", self._envoy.last_words())
                self._envoy.start()

    def check_start(self) -> None:
        """Raises AddressInUseError where Envoy does not run and could not start."""
        if not self._envoy.running:
            self._envoy.check_admin()

    def check_port(self, address: str, port: int) -> None:
        """Raises AddressInUseError where another process listens."""
        check_free(address, port)

    def wait_for_listener(self, address: str, port: int) -> None:
        """Waits until a listener takes connections. Raises NotReadyError with what Envoy said."""
        wait(self.ready, START_SECONDS, lambda: f"the load balancer did not start: {self._envoy.last_words()}")
        wait(
            lambda: self._envoy.listens(address, port), LISTENER_SECONDS,
            lambda: f"the listener {address}:{port} did not open: {self._envoy.last_words()}",
        )  # fmt: skip

    def ready(self) -> bool:
        return self._envoy.ready()

    def health(self, target_group: str) -> dict[Target, Health]:
        """The health of the registered targets that Envoy knows."""
        self._warn_of_rejections()
        return {target: health_of(status) for target, status in self._envoy.health(key_of(target_group)).items()}

    def _warn_of_rejections(self) -> None:
        rejected = self._envoy.rejections()
        if rejected != self._rejected:
            self._rejected = rejected
            logger.error("Envoy refused configuration %s: %s", rejected, self._envoy.last_words())

    def stop(self) -> None:
        with self.lock:
            self._envoy.stop()

    def install(self) -> None:
        """Makes moto's ELBv2 call this plane. For a process that serves one platform."""
        from infra.local.aws.planes import balancers_in_moto  # loads moto's ELBv2

        balancers_in_moto.install(self)


def wait(condition: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotReadyError(complaint())
        time.sleep(0.02)
