"""Route 53: a hosted zone with a VPC is a private one; its id begins with Z."""

from __future__ import annotations

from typing import Any

from moto.route53.models import HostedZoneIdentifier
from moto.route53.responses import Route53

from infra.local.aws.moto.patching import extend


def create_hosted_zone(original: Any, self: Any) -> Any:
    if self._get_param("VPC.VPCId"):
        self.params.setdefault("HostedZoneConfig", {})["PrivateZone"] = True
    return original(self)


def get_hosted_zone(original: Any, self: Any) -> Any:
    answer = original(self)
    if answer.result["VPCs"]:
        answer.result["VPCs"] = [
            {"VPCId": vpc["vpc_id"], "VPCRegion": vpc["vpc_region"]} for vpc in answer.result["VPCs"]
        ]
    return answer


def generate(original: Any, self: Any, *arguments: Any, **named: Any) -> str:
    """AWS's own form, which stack files are held to; moto draws any letters."""
    return f"Z{original(self, *arguments, **named)[1:]}"


def install() -> None:
    extend(Route53, create_hosted_zone, get_hosted_zone)
    extend(HostedZoneIdentifier, generate)
