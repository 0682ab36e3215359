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
    probe_period_seconds: int,
    probe_failures: int,
    spot: bool,
) -> list[Breach]:
    """What breaks the contract, each with its sum written out; empty when it holds. In the order of a pod's leaving:

    probes notice (period x failures) <= preStop; preStop + the gateway's or the engine's time < grace;
    preStop + the gateway's time <= the load balancer's delay; notice seen + grace <= the notice of a spot node.

    `spot` says whether engines may run on spot nodes.
    """
    found: list[Breach] = []
    window = probe_period_seconds * probe_failures
    if pre_stop_seconds < window:
        found.append(
            Breach(
                "preStopSeconds",
                f"{pre_stop_seconds} is shorter than what the probes need to notice a change: probes.periodSeconds "
                f"{probe_period_seconds} x failureThreshold {probe_failures} = {window}; "
                f"allowed: {window} or more, in seconds",
            )
        )
    leaving = pre_stop_seconds + gateway_shutdown_seconds
    sums = {
        leaving: f"preStopSeconds {pre_stop_seconds} + gatewayShutdownSeconds {gateway_shutdown_seconds}",
        pre_stop_seconds + engine_shutdown_seconds + ENGINE_TEARDOWN_SECONDS: (
            f"preStopSeconds {pre_stop_seconds} + engineShutdownSeconds {engine_shutdown_seconds} + "
            f"{ENGINE_TEARDOWN_SECONDS} of the engine's teardown"
        ),
    }
    for seconds, written in sums.items():
        if grace_seconds <= seconds:
            found.append(
                Breach(
                    "graceSeconds",
                    f"{grace_seconds} is too short: {written} = {seconds}, "
                    f"so allowed is {seconds + 1} or more, in seconds",
                )
            )
    if spot and SPOT_MARGIN_SECONDS + grace_seconds > SPOT_NOTICE_SECONDS:
        found.append(
            Breach(
                "graceSeconds",
                f"{grace_seconds} does not fit the notice of a spot node: {SPOT_MARGIN_SECONDS} until its pods are "
                f"told + graceSeconds {grace_seconds} = {SPOT_MARGIN_SECONDS + grace_seconds}, and the notice is "
                f"{SPOT_NOTICE_SECONDS}; allowed while spot nodes may exist: "
                f"{SPOT_NOTICE_SECONDS - SPOT_MARGIN_SECONDS} or less, in seconds",
            )
        )
    if deregistration_delay_seconds < leaving:
        found.append(
            Breach(
                "deregistrationDelaySeconds",
                f"{deregistration_delay_seconds} would cut streams that the gateway still serves: preStopSeconds "
                f"{pre_stop_seconds} + gatewayShutdownSeconds {gateway_shutdown_seconds} = {leaving}; "
                f"allowed: {leaving} or more, in seconds",
            )
        )
    return found
