"""Which versions fit together: Kubernetes, add-ons, Karpenter, node images. Pure tables and look-ups.

The tables hold what has a source. A pair that is not here is not judged: AWS refuses it at the update.
"""

from __future__ import annotations

import re

KUBERNETES = ("1.35", "1.36")
"""EKS versions in standard support for some time (endoflife.date, November 2026)."""
KUBE_PROXY_BEHIND = 3
"""Minor versions that kube-proxy may be older than the API server; it may never be newer (Kubernetes skew policy)."""
KUBELET_BEHIND = 3
"""The same of nodes (Kubernetes skew policy)."""
NETWORK_POLICIES_FROM = (1, 14)
"""The first VPC CNI that enforces NetworkPolicy (EKS user guide)."""
KARPENTER_FLOOR = {"1.35": (1, 9), "1.36": (1, 13)}
"""The first Karpenter for each Kubernetes version (Karpenter's compatibility matrix)."""
RETIRED_AMI = "AL2_"
"""Amazon Linux 2: EKS makes no such image from Kubernetes 1.33 on."""
_ARM = re.compile(r"^(a1|[a-z]+[0-9]+[a-z]*g[a-z]*|[a-z0-9]+-gb[0-9]+)$")
"""Families of ARM processors: a g behind the generation is Graviton, `-gb` a Grace Blackwell (EC2's naming)."""


def numbers(version: str) -> tuple[int, int]:
    """Major and minor of `v1.22.4-eksbuild.3`, `1.14.1` or `1.36`. Raises ValueError for anything else."""
    found = re.match(r"^v?([0-9]+)\.([0-9]+)(\.|$)", version)
    if found is None:
        raise ValueError(f"{version!r} is not a version")
    return int(found[1]), int(found[2])


def architecture_of(instance_type: str) -> str:
    """`arm64` or `x86_64`, by the family's name."""
    return "arm64" if _ARM.match(instance_type.partition(".")[0]) else "x86_64"


def architecture_of_image(ami_type: str) -> str:
    return "arm64" if "ARM_64" in ami_type else "x86_64"


def carries_driver(ami_type: str) -> bool:
    """Whether an EKS AMI type has NVIDIA's driver."""
    return "NVIDIA" in ami_type


def needs_device_plugin_alias(alias: str) -> bool:
    """The same of Karpenter's names of images, such as al2023@v20260714."""
    return not alias.startswith("bottlerocket@")


def needs_device_plugin(ami_type: str) -> bool:
    """Bottlerocket's NVIDIA images carry the device plugin, Amazon Linux's do not (EKS best practices)."""
    return carries_driver(ami_type) and not ami_type.startswith("BOTTLEROCKET")
