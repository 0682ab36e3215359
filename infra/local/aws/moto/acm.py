"""ACM: a certificate is issued once its record stands in Route 53, not by the clock alone."""

from __future__ import annotations

from typing import Any

from moto.acm.models import CertBundle
from moto.route53.models import route53_backends

from infra.local.aws.moto.patching import extend

PENDING = "PENDING_VALIDATION"


def check(original: Any, self: Any) -> None:
    if self.status == PENDING and not _proven(self):
        return
    original(self)


def _proven(bundle: Any) -> bool:
    """Whether every name of the certificate has the CNAME that ACM asks for, in any zone of the account."""
    account, partition = bundle.arn.split(":")[4], bundle.arn.split(":")[1]
    zones = list(route53_backends[account][partition].zones.values())
    there = {record.name.rstrip(".") for zone in zones for record in zone.rrsets if record.type == "CNAME"}
    asked = {it["ResourceRecord"]["Name"].rstrip(".") for it in _asked(bundle)}
    return asked <= there


def _asked(bundle: Any) -> list[dict[str, Any]]:
    return bundle.describe()["Certificate"].get("DomainValidationOptions", [])


def install() -> None:
    extend(CertBundle, check)
