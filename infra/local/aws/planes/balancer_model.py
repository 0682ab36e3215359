"""What the load balancers of one account are at one moment: plain values, ready to be rendered for Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Condition = Mapping[str, Any]
"""A rule's condition as the API has it: `Field`, and `Values` or a `<Field>Config` with `Values`."""

Action = Mapping[str, Any]
"""An action as the API has it: `Type` and its configuration."""


@dataclass(frozen=True)
class Target:
    address: str
    port: int


@dataclass(frozen=True)
class HealthCheck:
    """`port` is None for the traffic port, `codes` as the API has them (`200`, `200-299,301`), times in seconds."""

    path: str
    codes: str
    interval_seconds: int
    timeout_seconds: int
    healthy_threshold: int
    unhealthy_threshold: int
    port: int | None = None


@dataclass(frozen=True)
class TargetGroup:
    arn: str
    health_check: HealthCheck
    targets: tuple[Target, ...] = ()
    protocol_version: str = "HTTP1"
    algorithm: str = "round_robin"
    mitigates_anomalies: bool = False


@dataclass(frozen=True)
class Rule:
    """Rules of a listener come in order of priority; the default rule is the last and has no conditions."""

    conditions: tuple[Condition, ...]
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Certificate:
    """PEM. `chain` begins with the server's own certificate."""

    chain: str
    key: str


@dataclass(frozen=True)
class Listener:
    arn: str
    port: int
    protocol: str
    rules: tuple[Rule, ...]
    certificates: tuple[Certificate, ...] = ()


@dataclass(frozen=True)
class Balancer:
    """`idle_seconds` ends a request that moves no byte, `keep_alive_seconds` an idle client connection."""

    arn: str
    address: str
    listeners: tuple[Listener, ...]
    idle_seconds: int = 60
    keep_alive_seconds: int = 3600


@dataclass(frozen=True)
class Snapshot:
    balancers: tuple[Balancer, ...] = ()
    target_groups: tuple[TargetGroup, ...] = ()


def key_of(arn: str) -> str:
    """The part of an ARN that names one balancer, listener or target group, fit for a file's name.

    >>> key_of("arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/blue/73e2d6bc24d8a067")
    'eu-central-1-blue-73e2d6bc24d8a067'
    """
    region = arn.split(":")[3]
    return "-".join((region, *arn.split(":")[5].split("/")[1:]))
