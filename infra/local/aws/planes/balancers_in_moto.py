"""Where moto's ELBv2 and Envoy meet: moto's objects as a snapshot, and the calls that change them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from moto.elbv2.exceptions import ELBClientError, TargetGroupNotFoundError
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeLoadBalancer, FakeTargetGroup, elbv2_backends
from moto.elbv2.responses import ELBV2Response

from infra.local.aws.moto.patching import extend, wrap
from infra.local.aws.planes.addresses import AddressInUseError
from infra.local.aws.planes.balancer_model import (
    Balancer,
    Certificate,
    HealthCheck,
    Listener,
    Rule,
    Snapshot,
    Target,
    TargetGroup,
)  # fmt: skip
from infra.local.aws.planes.balancers import DRAINING, NOT_REGISTERED, NOT_USED, REGISTERING, Balancers, Health
from infra.local.layout import ACCOUNT
from infra.local.processes import NotReadyError

CHANGES = (
    "create_load_balancer", "delete_load_balancer", "modify_load_balancer_attributes", "create_listener",
    "modify_listener", "delete_listener", "add_listener_certificates", "remove_listener_certificates", "create_rule",
    "modify_rule", "delete_rule", "set_rule_priorities", "create_target_group", "modify_target_group",
    "modify_target_group_attributes", "delete_target_group", "register_targets", "deregister_targets",
)  # fmt: skip
FAILURES = (AddressInUseError, NotReadyError, OSError)


def backends() -> Iterator[Any]:
    yield from list(elbv2_backends[ACCOUNT].values())


def snapshot(addresses: Any) -> Snapshot:
    """The objects of all regions. `addresses` hands out the balancers' addresses."""
    return Snapshot(
        balancers=tuple(
            balancer_of(backend, balancer, addresses.take(balancer.arn))
            for backend in backends()
            for balancer in backend.load_balancers.values()
        ),
        target_groups=tuple(
            group_of(group)
            for backend in backends()
            for group in backend.target_groups.values()
            if group.target_type == "ip"
        ),
    )


def balancer_of(backend: Any, balancer: Any, address: str) -> Balancer:
    return Balancer(
        arn=balancer.arn,
        address=address,
        listeners=tuple(listener_of(backend, listener) for listener in balancer.listeners.values()),
        idle_seconds=int(balancer.attrs.get("idle_timeout.timeout_seconds", 60)),
        keep_alive_seconds=int(balancer.attrs.get("client_keep_alive.seconds", 3600)),
    )


def listener_of(backend: Any, listener: Any) -> Listener:
    ordered = sorted(listener._non_default_rules.values(), key=lambda rule: int(rule.priority))
    return Listener(
        arn=listener.arn,
        port=int(listener.port),
        protocol=listener.protocol,
        rules=tuple(rule_of(rule) for rule in (*ordered, *listener._default_rule.values())),
        certificates=certificates_of(backend, listener) if listener.protocol == "HTTPS" else (),
    )


def rule_of(rule: Any) -> Rule:
    return Rule(tuple(rule.conditions or ()), tuple(action.data for action in rule.actions))


def certificates_of(backend: Any, listener: Any) -> tuple[Certificate, ...]:
    """moto's ACM makes a real certificate with a key for each request."""
    from moto.acm.models import acm_backends  # needed by HTTPS listeners alone

    bundles = [acm_backends[ACCOUNT][backend.region_name].get_certificate(arn) for arn in listener.certificates]
    return tuple(
        Certificate("\n".join(pem(part) for part in (bundle.cert, bundle.chain) if part), pem(bundle.key))
        for bundle in bundles
    )


def pem(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def group_of(group: Any) -> TargetGroup:
    port = group.health_check_port
    return TargetGroup(
        arn=group.arn,
        health_check=HealthCheck(
            path=group.health_check_path or "/",
            codes=(getattr(group, "matcher", None) or {}).get("HttpCode") or "200",
            interval_seconds=int(group.health_check_interval_seconds),
            timeout_seconds=int(group.health_check_timeout_seconds),
            healthy_threshold=int(group.healthy_threshold_count),
            unhealthy_threshold=int(group.unhealthy_threshold_count),
            port=None if port in (None, "traffic-port") else int(port),
        ),
        targets=tuple(Target(target["Id"], int(target["Port"])) for target in group.targets.values()),
        protocol_version=group.protocol_version or "HTTP1",
        algorithm=group.attributes["load_balancing.algorithm.type"],
        mitigates_anomalies=group.attributes.get("load_balancing.algorithm.anomaly_mitigation") == "on",
    )


def refused(error: Exception) -> ELBClientError:
    return ELBClientError("InvalidConfigurationRequest", str(error))


def install(balancers: Balancers) -> None:
    def followed(original: Any, self: Any) -> Any:
        """A change of the objects, then of Envoy: when the caller has its answer, Envoy has its files."""
        with balancers.lock:
            result = original(self)
            try:
                balancers.follow(snapshot(balancers.addresses))
            except FAILURES as error:
                raise refused(error) from error
        return result

    def create_load_balancer(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
        kind = named.get("loadbalancer_type") or "application"
        if kind != "application":
            raise ELBClientError("InvalidConfigurationRequest", f"a {kind} load balancer has no local data path")
        try:
            balancers.check_start()
        except AddressInUseError as error:
            raise refused(error) from error
        balancer = original(self, *arguments, **named)
        balancer.dns_name = balancers.addresses.take(balancer.arn)
        return balancer

    def delete_load_balancer(original: Any, self: Any, arn: str) -> None:
        original(self, arn)
        balancers.addresses.release(arn)

    def create_listener(original: Any, self: Any) -> Any:
        """The port must be free before, and open when the caller has its answer."""
        balancer = self.elbv2_backend.load_balancers.get(self._get_param("LoadBalancerArn"))
        port = int(self._get_param("Port"))
        if balancer is None or any(int(other.port) == port for other in balancer.listeners.values()):
            return original(self)  # which refuses
        try:
            balancers.check_port(balancer.dns_name, port)
        except AddressInUseError as error:
            raise refused(error) from error
        result = original(self)
        try:
            balancers.wait_for_listener(balancer.dns_name, port)
        except NotReadyError as error:
            raise refused(error) from error
        return result

    def activate(original: Any, self: Any) -> None:
        if balancers.ready():
            original(self)

    def deregister(original: Any, self: Any, targets: list[dict[str, Any]]) -> None:
        original(self, targets)
        for target in targets:
            self.deregistered_targets[target["Id"]]["since"] = time.monotonic()

    def describe_target_health(_original: Any, self: Any, target_group_arn: str, targets: list[Any]) -> list[Any]:
        group = self.target_groups.get(target_group_arn)
        if group is None:
            raise TargetGroupNotFoundError()
        return describe(group, targets, balancers)

    for name in CHANGES:
        wrap(ELBV2Response, name, followed)
    extend(ELBV2Response, create_listener)
    extend(ELBv2Backend, create_load_balancer, delete_load_balancer, describe_target_health)
    extend(FakeLoadBalancer, activate)
    extend(FakeTargetGroup, deregister)


def describe(group: Any, wanted: list[dict[str, Any]], balancers: Balancers) -> list[Any]:
    """The health of the wanted targets, or of all that are registered or draining."""
    delay = float(group.attributes["deregistration_delay.timeout_seconds"])
    leaving = {
        identifier: target
        for identifier, target in list(group.deregistered_targets.items())
        if time.monotonic() - target.get("since", 0.0) < delay
    }
    registered = dict(group.targets)
    used = bool(group.load_balancer_arns)
    live = balancers.health(group.arn) if used else {}

    def health(identifier: str) -> Health:
        if identifier in leaving and identifier not in registered:
            return DRAINING
        if identifier not in registered:
            return NOT_REGISTERED
        target = registered[identifier]
        return live.get(Target(identifier, int(target["Port"])), REGISTERING) if used else NOT_USED

    answers = []
    for target in wanted or [*registered.values(), *(leaving[name] for name in leaving if name not in registered)]:
        identifier = target["Id"]
        known = registered.get(identifier) or leaving.get(identifier) or target
        port = known.get("Port") or group.port
        check_port = port if group.health_check_port == "traffic-port" else group.health_check_port
        found = health(identifier)
        answers.append(
            FakeHealthStatus(identifier, port, str(check_port), found.state, found.reason, found.description)
        )
    return answers
