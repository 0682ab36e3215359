"""How EC2 tags: the same two calls for all its resources, by id."""

from __future__ import annotations

from infra.local.aws.provider.row import Tagging

EC2_TAGS = Tagging(
    put="create_tags",
    remove="delete_tags",
    subject="[]Resources",
    keys="Tags",
    keys_as_tags=True,
    arn=False,
    listed="Tags",
)
