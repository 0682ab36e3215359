"""GPUs of the EC2 instance types that engines may run on (AWS's instance type pages, DescribeInstanceTypes)."""

from __future__ import annotations

_G_SIZES = {
    "xlarge": 1,
    "2xlarge": 1,
    "4xlarge": 1,
    "8xlarge": 1,
    "16xlarge": 1,
    "12xlarge": 4,
    "24xlarge": 4,
    "48xlarge": 8,
}

GPUS_BY_FAMILY: dict[str, dict[str, int]] = {
    "g5": _G_SIZES,
    "g6": _G_SIZES,
    "g6e": _G_SIZES,
    "gr6": {"4xlarge": 1, "8xlarge": 1},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
}

REFUSED = {"g7": "needs NVIDIA driver 595 and a custom AMI, the EKS AMIs carry 580"}
"""Families that must not be used, with the reason (awslabs/amazon-eks-ami, doc/usage/g7-ami.md)."""

RESERVATION_ONLY = {"p5.48xlarge", "p5e.48xlarge", "p5en.48xlarge"}
"""Types that start in a Capacity Block or another reservation alone (modelplaneai/modelplane#113)."""


def gpus_of(instance_type: str) -> int:
    """GPUs of one node. Raises ValueError, with what is allowed, for a type without GPUs or unknown here."""
    family, _, size = instance_type.partition(".")
    if family in REFUSED:
        raise ValueError(f"{instance_type} is not allowed: it {REFUSED[family]}")
    if family not in GPUS_BY_FAMILY:
        raise ValueError(f"{instance_type} has no known GPUs; allowed families: {', '.join(sorted(GPUS_BY_FAMILY))}")
    if size not in GPUS_BY_FAMILY[family]:
        sizes = ", ".join(GPUS_BY_FAMILY[family])
        raise ValueError(f"{instance_type} is not an instance type; allowed sizes of {family}: {sizes}")
    return GPUS_BY_FAMILY[family][size]
