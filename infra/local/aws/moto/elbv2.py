"""Elastic Load Balancing: a port once per balancer, and target groups that know which balancers use them now."""

from __future__ import annotations

from typing import Any

from moto.elbv2.exceptions import DuplicateListenerError
from moto.elbv2.models import ELBv2Backend, FakeTargetGroup, elbv2_backends

from infra.local.aws.moto.patching import extend


def create_listener(original: Any, self: Any, load_balancer_arn: str, protocol: str, port: str, **rest: Any) -> Any:
    balancer = self.load_balancers.get(load_balancer_arn)
    # moto compares the port with ARNs, so it never finds a duplicate
    if balancer is not None and any(str(other.port) == str(port) for other in balancer.listeners.values()):
        raise DuplicateListenerError()
    return original(self, load_balancer_arn=load_balancer_arn, protocol=protocol, port=port, **rest)


def balancers_of(group: Any) -> list[str]:
    """The balancers with a rule that names the group. moto adds at creation and never removes."""
    backend = elbv2_backends[group.account_id][group.region_name]
    return [
        balancer.arn
        for balancer in list(backend.load_balancers.values())
        if any(
            group.arn in backend._get_target_group_arns_from(action.data)
            for listener in list(balancer.listeners.values())
            for rule in listener.rules.values()
            for action in rule.actions
        )
    ]


def forget(_group: Any, _value: Any) -> None:
    """moto's own bookkeeping has no place to go: the list is computed."""


def install() -> None:
    extend(ELBv2Backend, create_listener)
    setattr(FakeTargetGroup, "load_balancer_arns", property(balancers_of, forget))  # noqa: B010  (a property over it)
