"""The drain contract: how long a pod has to leave, and that the parts of that time fit into each other.

A pod that must go (release, scale-in, lost node) first sleeps in preStop while it leaves the endpoints, then gets
SIGTERM and lets its requests end, then is killed at the end of the grace period.
"""

from __future__ import annotations

from typing import NamedTuple

SPOT_NOTICE_SECONDS = 120
"""From EC2's interruption notice to the loss of a spot node."""

SPOT_MARGIN_SECONDS = 20
"""Kept free of the notice: the time until the notice is seen and the pods are told."""

ENGINE_TEARDOWN_SECONDS = 5
"""vLLM 0.32 takes 4 to 5 s from the end of its last stream to its exit (measured)."""


class Breach(NamedTuple):
    key: str
    """The drain key that has to change, in camelCase."""
    message: str


def breaches(
    *,
    pre_stop_seconds: int,
    gateway_shutdown_seconds: int,
    engine_shutdown_seconds: int,
    grace_seconds: int,
    deregistration_delay_seconds: int,
    probe_window_seconds: int,
    spot: bool,
) -> list[Breach]:
    """What breaks the contract; empty when it holds. `probe_window_seconds` is the time until a failed readiness probe
    takes a pod out of service, `spot` says whether engines may run on spot nodes."""
    found: list[Breach] = []
    needed = {
        "gatewayShutdownSeconds": pre_stop_seconds + gateway_shutdown_seconds,
        "engineShutdownSeconds": pre_stop_seconds + engine_shutdown_seconds + ENGINE_TEARDOWN_SECONDS,
    }
    for key, seconds in needed.items():
        if grace_seconds <= seconds:
            teardown = f" and {ENGINE_TEARDOWN_SECONDS} s of teardown" if key.startswith("engine") else ""
            found.append(
                Breach(
                    "graceSeconds",
                    f"{grace_seconds} is too short; preStopSeconds, {key}{teardown} need {seconds}, "
                    f"so allowed is {seconds + 1} or more, in seconds",
                )
            )
    allowed = SPOT_NOTICE_SECONDS - SPOT_MARGIN_SECONDS
    if spot and grace_seconds > allowed:
        found.append(
            Breach(
                "graceSeconds",
                f"{grace_seconds} does not fit the {SPOT_NOTICE_SECONDS} s notice of a spot node; "
                f"allowed while nodeGroups.gpuSpot may have nodes: {allowed} or less, in seconds",
            )
        )
    if deregistration_delay_seconds < needed["gatewayShutdownSeconds"]:
        found.append(
            Breach(
                "deregistrationDelaySeconds",
                f"{deregistration_delay_seconds} would cut streams that the gateway still serves; allowed: "
                f"preStopSeconds + gatewayShutdownSeconds = {needed['gatewayShutdownSeconds']} or more, in seconds",
            )
        )
    if pre_stop_seconds < probe_window_seconds:
        found.append(
            Breach(
                "preStopSeconds",
                f"{pre_stop_seconds} is shorter than the {probe_window_seconds} s in which the probes notice a change "
                f"(probes.periodSeconds x failureThreshold); allowed: {probe_window_seconds} or more, in seconds",
            )
        )
    return found
