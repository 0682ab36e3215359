"""A node pool of Karpenter's, as the plan takes it."""

from components.karpenter_manifests import PoolShape

POOL: PoolShape = {
    "zones": ["eu-central-1a", "eu-central-1b"],
    "instance_types": ["g6e.2xlarge"],
    "architecture": "amd64",
    "labels": {},
    "max_gpus": 8,
    "expire_after_hours": 720,
    "termination_grace_hours": 24,
    "consolidate_after_minutes": 30,
}
