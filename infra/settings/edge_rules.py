"""The rules of the edge: a name, its zone and its certificate fit each other."""

from __future__ import annotations

from collections.abc import Iterator

from infra.settings.errors import Problem
from infra.settings.model import Shape


def a_zone_holds_a_name(shape: Shape) -> Iterator[Problem]:
    edge = shape.edge
    if edge.hosted_zone_id and not edge.hostname:
        yield Problem("edge.hostname", "is missing; edge.hostedZoneId is given, so the name to put there must be too")


def a_certificate_has_the_usual_port(shape: Shape) -> Iterator[Problem]:
    edge = shape.edge
    if edge.port == 80 and (edge.certificate_arn or edge.hosted_zone_id):
        yield Problem("edge.port", "80 is not allowed with a certificate; allowed: another port, 443 as a rule")


def admins_are_named(shape: Shape) -> Iterator[Problem]:
    """Its key is one secret: without TLS, or open to all, it would be the only wall."""
    edge = shape.edge
    for index, cidr in enumerate(edge.admin_cidrs):
        if cidr.endswith("/0"):
            yield Problem(f"edge.adminCidrs[{index}]", f"{cidr} is not allowed; allowed: named ranges")
    if shape.protected and edge.admin_cidrs and not (edge.certificate_arn or edge.hosted_zone_id):
        yield Problem("edge.adminCidrs", "an admin's key would travel in plain text; allowed: none without HTTPS")


EDGE_RULES = (a_zone_holds_a_name, a_certificate_has_the_usual_port, admins_are_named)
