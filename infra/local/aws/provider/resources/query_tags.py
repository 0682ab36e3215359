"""How ElastiCache and RDS tag: by the resource's ARN."""

from __future__ import annotations

from infra.local.aws.provider.row import Tagging

NAMED_TAGS = Tagging(
    put="add_tags_to_resource",
    remove="remove_tags_from_resource",
    subject="ResourceName",
    listing="list_tags_for_resource",
    listed="TagList",
)
