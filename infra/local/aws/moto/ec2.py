"""EC2: launch templates without their own tags in the data, descriptions of rules whose source is a group."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.security_groups import SecurityGroupRule

from infra.local.aws.moto.patching import extend


def create_version(original: Any, self: Any, data: dict[str, Any], description: Any) -> Any:
    if "TagSpecifications" in data:
        kept = [item for item in data["TagSpecifications"] if item.get("ResourceType") != "launch-template"]
        data = {**data, "TagSpecifications": kept}
        if not kept:
            del data["TagSpecifications"]
    return original(self, data, description)


def description_of(rule: Any) -> str | None:
    return (rule.ip_range or {}).get("Description") or (rule.source_group or {}).get("Description")


def install() -> None:
    extend(LaunchTemplate, create_version)
    setattr(SecurityGroupRule, "description", property(description_of))  # noqa: B010  (no such attribute in moto)
