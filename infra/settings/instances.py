"""What a quota counts of an EC2 instance type: its vCPUs, and the class that it belongs to.

Sources: AWS's instance type pages (sizes mean the same vCPUs in every family here), and the EC2 user guide on
On-Demand and Spot instance quotas, which count vCPUs by class.
"""

from __future__ import annotations

import re
from typing import Literal

QuotaClass = Literal["G and VT", "P", "standard"]
Capacity = Literal["on demand", "spot", "reserved"]

VCPUS_OF_XLARGE = 4
_SMALL = {"medium": 1, "large": 2}
_BURSTABLE_SMALL = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2}


def family_of(instance_type: str) -> str:
    return instance_type.partition(".")[0]


def vcpus_of(instance_type: str) -> int:
    """vCPUs of one node. Raises ValueError for a size whose vCPUs do not follow from its name, such as metal."""
    family, _, size = instance_type.partition(".")
    if match := re.fullmatch(r"([0-9]*)xlarge", size):
        return VCPUS_OF_XLARGE * int(match[1] or 1)
    small = _BURSTABLE_SMALL if re.match(r"t[0-9]", family) else _SMALL
    if size not in small:
        raise ValueError(f"{instance_type} has no known vCPUs; allowed sizes: {', '.join(small)}, xlarge, 2xlarge, ...")
    return small[size]


def quota_class(instance_type: str) -> QuotaClass:
    """Raises ValueError for a family that is counted by a quota of its own (Inf, Trn, X, F, DL, HPC, mac, u)."""
    family = family_of(instance_type)
    letters = re.match(r"[a-z]+", family)
    name = letters[0] if letters else ""
    if name in ("g", "gr", "vt"):
        return "G and VT"
    if name == "p":
        return "P"
    if name in ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"):
        return "standard"
    raise ValueError(f"{instance_type} belongs to no quota that is known here; allowed: G, VT, P and standard families")
