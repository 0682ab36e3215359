"""EC2: launch templates without their own tags, descriptions of rules, gateway endpoints as routes, subnets in use."""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import DependencyViolationError
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.models.subnets import SubnetBackend
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


def create_nat_gateway(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
    """Its interface says whose it is, as in DescribeNetworkInterfaces on AWS."""
    gateway = original(self, *arguments, **named)
    interface = self.enis[gateway._eni.id]
    interface.interface_type, interface.description = "nat_gateway", f"Interface for NAT Gateway {gateway.id}"
    return gateway


def create_vpc_endpoint(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
    """As for a NAT gateway."""
    endpoint = original(self, *arguments, **named)
    for held in endpoint.network_interface_ids:
        interface = self.enis[held]
        interface.interface_type, interface.description = "vpc_endpoint", f"VPC Endpoint Interface {endpoint.id}"
    return endpoint


def delete_nat_gateway(original: Any, self: Any, nat_gateway_id: str) -> Any:
    """Its interface goes with it, which moto leaves."""
    gateway = original(self, nat_gateway_id)
    interface = getattr(gateway, "_eni", None)
    if interface is not None and interface.id in self.enis:
        del self.enis[interface.id]
    return gateway


def delete_subnet(original: Any, self: Any, subnet_id: str) -> Any:
    """A subnet with an interface stays (EC2 API reference, DeleteSubnet), which moto does not check."""
    held = [each.id for each in self.enis.values() if each.subnet.id == subnet_id]
    if held:
        raise DependencyViolationError(
            f"The subnet '{subnet_id}' has dependencies and cannot be deleted: {', '.join(held)}."
        )
    return original(self, subnet_id)


def install() -> None:
    extend(LaunchTemplate, create_version)
    extend(VPCBackend, create_vpc_endpoint, modify_vpc_endpoint)
    extend(NatGatewayBackend, create_nat_gateway, delete_nat_gateway)
    extend(SubnetBackend, delete_subnet)
    setattr(SecurityGroupRule, "description", property(description_of))  # noqa: B010  (no such attribute in moto)
