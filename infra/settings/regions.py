"""What a region's name tells."""

from __future__ import annotations


def partition_of(region: str) -> str:
    """The AWS partition, the second part of every ARN."""
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rsplit("-", 2)[0], "aws")
