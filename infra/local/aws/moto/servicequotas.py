"""Service Quotas: the vCPU limits that decide whether GPUs start."""

from __future__ import annotations

from typing import Any

from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse

from infra.local.aws.moto.patching import attach, extend

QUOTAS = {
    ("ec2", "L-DB2E81BA"): ("Running On-Demand G and VT instances", 768.0),
    ("ec2", "L-417A185B"): ("Running On-Demand P instances", 192.0),
    ("ec2", "L-3819A6DF"): ("All G and VT Spot Instance Requests", 384.0),
    ("ec2", "L-7212CCBC"): ("All P4, P3 and P2 Spot Instance Requests", 0.0),
    ("ec2", "L-C4BD4855"): ("All P5 Spot Instance Requests", 0.0),
    ("ec2", "L-1216C47A"): ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 256.0),
    ("ec2", "L-0263D0A3"): ("EC2-VPC Elastic IPs", 5.0),
    ("vpc", "L-F678F1CE"): ("VPCs per Region", 5.0),
    ("vpc", "L-FE5A380F"): ("NAT gateways per Availability Zone", 5.0),
    ("vpc", "L-29B6F2EB"): ("Interface VPC endpoints per VPC", 50.0),
    ("elasticloadbalancing", "L-53DA6B97"): ("Application Load Balancers per Region", 50.0),
    ("eks", "L-1194D53C"): ("Clusters", 100.0),
}
"""(service, quota code) -> (name, value: vCPUs for instances, a count for the rest)."""


def get_service_quota(original: Any, self: Any, service_code: str, quota_code: str) -> Any:
    if (service_code, quota_code) not in QUOTAS:
        return original(self, service_code, quota_code)
    name, value = QUOTAS[service_code, quota_code]
    return {
        "ServiceCode": service_code,
        "ServiceName": service_code,
        "QuotaCode": quota_code,
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaArn": f"arn:aws:servicequotas:{self.region_name}:{self.account_id}:{service_code}/{quota_code}",
    }


def get_aws_default_service_quota(self: Any) -> Any:
    return self.get_service_quota()


def install() -> None:
    extend(ServiceQuotasBackend, get_service_quota)
    attach(ServiceQuotasResponse, get_aws_default_service_quota)
