"""EC2: launch templates without their own tags in the data, rules' descriptions, gateway endpoints' routes."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.models.vpcs import VPCBackend

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


def modify_vpc_endpoint(original: Any, self: Any, vpc_id: str, *arguments: Any, **named: Any) -> None:
    """A gateway endpoint is routes: they come and go with its route tables. moto's `vpc_id` is the endpoint's id."""
    endpoint = self.describe_vpc_endpoints(vpc_end_point_ids=[vpc_id])[0]
    before = set(endpoint.route_table_ids or [])
    original(self, vpc_id, *arguments, **named)
    if prefixes := endpoint.destination_prefix_list_id:
        after = set(endpoint.route_table_ids or [])
        for table in after - before:
            self.create_route(table, None, gateway_id=endpoint.id, destination_prefix_list_id=prefixes)
        for table in before - after:
            self.delete_route(table, prefixes)


def install() -> None:
    extend(LaunchTemplate, create_version)
    extend(VPCBackend, modify_vpc_endpoint)
    setattr(SecurityGroupRule, "description", property(description_of))  # noqa: B010  (no such attribute in moto)
