"""GPUs of the EC2 instance types that engines may run on (AWS's instance type pages, DescribeInstanceTypes)."""

from __future__ import annotations

from typing import NamedTuple

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


class Gpu(NamedTuple):
    name: str
    memory_gib: float
    """As EC2 counts it, a little under the name's."""
    capability: tuple[int, int]
    """NVIDIA's compute capability: 8.0 and 8.6 are Ampere, 8.9 is Ada, 9.0 is Hopper."""


_L4 = Gpu("L4", 22.4, (8, 9))
_H200 = Gpu("H200", 141, (9, 0))
GPU_OF_FAMILY: dict[str, Gpu] = {
    "g5": Gpu("A10G", 22.4, (8, 6)),
    "g6": _L4,
    "g6e": Gpu("L40S", 44.7, (8, 9)),
    "gr6": _L4,
    "p4d": Gpu("A100-40", 40, (8, 0)),
    "p4de": Gpu("A100-80", 80, (8, 0)),
    "p5": Gpu("H100", 80, (9, 0)),
    "p5e": _H200,
    "p5en": _H200,
}

CAPABILITY_OF: dict[str, tuple[int, int]] = {"awq": (7, 5), "gptq": (6, 0), "fp8": (8, 9)}
"""The oldest GPU on which vLLM computes in a quantisation (its table of supported hardware)."""

REFUSED = {"g7": "needs NVIDIA driver 595 and a custom AMI, the EKS AMIs carry 580"}
"""Families that must not be used, with the reason (awslabs/amazon-eks-ami, doc/usage/g7-ami.md)."""

RESERVATION_ONLY = {"p5.48xlarge", "p5e.48xlarge", "p5en.48xlarge"}
"""Types that start in a Capacity Block or another reservation alone (modelplaneai/modelplane#113)."""


BLOCK_FAMILIES = ("p4d", "p4de", "p5", "p5e", "p5en")
"""Families with Capacity Blocks for ML, as far as they are known here (EC2 user guide, Capacity Blocks)."""


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


def gpu_of(instance_type: str) -> Gpu:
    """Raises KeyError for a family that is not in the table."""
    return GPU_OF_FAMILY[instance_type.partition(".")[0]]


def has_gpu(instance_type: str, gpu: str) -> bool:
    """Whether nodes of this type have that GPU; False for a type that is not known here."""
    known = GPU_OF_FAMILY.get(instance_type.partition(".")[0])
    return known is not None and known.name == gpu


def types_with(gpu: str) -> tuple[str, ...]:
    """All instance types that have a GPU of this name, in order."""
    return tuple(
        f"{family}.{size}"
        for family, found in sorted(GPU_OF_FAMILY.items())
        if found.name == gpu
        for size in GPUS_BY_FAMILY[family]
    )
