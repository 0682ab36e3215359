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


EDGE_RULES = (a_zone_holds_a_name, a_certificate_has_the_usual_port)
