"""aws:ec2: VPC, subnet, internet gateway, address, NAT gateway, VPC endpoint."""

from __future__ import annotations

from infra.local.aws.provider.resources.ec2_tags import EC2_TAGS
from infra.local.aws.provider.row import Row, Scope, arn_output, creating, deleting, dig, finding
from infra.local.aws.provider.schema import block, block_set, document, flag, out, text, text_set, texts
from infra.local.aws.provider.values import Values

VPC_FLAGS = ("enableDnsHostnames", "enableDnsSupport", "enableNetworkAddressUsageMetrics")


def _set_vpc_flags(scope: Scope, vpc: str, values: Values, names: frozenset[str] = frozenset(VPC_FLAGS)) -> None:
    for name in VPC_FLAGS:  # ModifyVpcAttribute takes one attribute a call
        if name in names and values.get(name) is not None:
            scope.api.modify_vpc_attribute(VpcId=vpc, **{name[0].upper() + name[1:]: {"Value": values[name]}})


def _vpc_outputs(scope: Scope, vpc: str, raw: Values, state: Values) -> Values:
    api, mine = scope.api, [{"Name": "vpc-id", "Values": [vpc]}]
    flags = {
        name: api.describe_vpc_attribute(VpcId=vpc, Attribute=name)[name[0].upper() + name[1:]]["Value"]
        for name in VPC_FLAGS
    }
    default = [*mine, {"Name": "default", "Values": ["true"]}]
    group = [*mine, {"Name": "group-name", "Values": ["default"]}]
    main = [*mine, {"Name": "association.main", "Values": ["true"]}]
    table = dig(api.describe_route_tables(Filters=main), "RouteTables.0.RouteTableId")
    return {
        **flags,
        "arn": scope.arn("ec2", f"vpc/{vpc}"),
        "ownerId": raw.get("OwnerId", scope.account),
        "mainRouteTableId": table,
        "defaultRouteTableId": table,
        "defaultNetworkAclId": dig(api.describe_network_acls(Filters=default), "NetworkAcls.0.NetworkAclId"),
        "defaultSecurityGroupId": dig(api.describe_security_groups(Filters=group), "SecurityGroups.0.GroupId"),
        "assignGeneratedIpv6CidrBlock": bool(raw.get("Ipv6CidrBlockAssociationSet")),
        "ipv6CidrBlock": dig(raw, "Ipv6CidrBlockAssociationSet.0.Ipv6CidrBlock"),
        "ipv6AssociationId": dig(raw, "Ipv6CidrBlockAssociationSet.0.AssociationId"),
    }


VPC = Row(
    kind="aws:ec2/vpc:Vpc",
    service="ec2",
    fields={
        "cidrBlock": text(required=True, replace=True),
        "instanceTenancy": text(default="default", replace=True),
        "assignGeneratedIpv6CidrBlock": flag("AmazonProvidedIpv6CidrBlock", default=False, replace=True),
        "enableDnsHostnames": flag(False, default=False),
        "enableDnsSupport": flag(False, default=True),
        "enableNetworkAddressUsageMetrics": flag(False, default=False),
        "arn": arn_output(),
        "ownerId": out(text(False)),
        "mainRouteTableId": out(text(False)),
        "defaultRouteTableId": out(text(False)),
        "defaultNetworkAclId": out(text(False)),
        "defaultSecurityGroupId": out(text(False)),
        "dhcpOptionsId": out(text()),
        "ipv6CidrBlock": out(text(False)),
        "ipv6AssociationId": out(text(False)),
    },
    create=creating("create_vpc", "Vpc.VpcId", resource_type="vpc"),
    settle=_set_vpc_flags,
    find=finding("describe_vpcs", "Vpcs.0", lambda vpc: {"VpcIds": [vpc]}),
    derive=_vpc_outputs,
    update=_set_vpc_flags,
    delete=deleting("delete_vpc", lambda vpc: {"VpcId": vpc}),
    tagging=EC2_TAGS,
)

SUBNET_FLAGS = {
    "mapPublicIpOnLaunch": "MapPublicIpOnLaunch",
    "assignIpv6AddressOnCreation": "AssignIpv6AddressOnCreation",
    "enableDns64": "EnableDns64",
    "enableResourceNameDnsARecordOnLaunch": "EnableResourceNameDnsARecordOnLaunch",
    "enableResourceNameDnsAaaaRecordOnLaunch": "EnableResourceNameDnsAAAARecordOnLaunch",
}


def _settle_subnet(scope: Scope, subnet: str, values: Values) -> None:
    asked = {name for name in SUBNET_FLAGS if values.get(name)}
    if values.get("privateDnsHostnameTypeOnLaunch"):
        asked.add("privateDnsHostnameTypeOnLaunch")
    _update_subnet(scope, subnet, values, frozenset(asked))


def _update_subnet(scope: Scope, subnet: str, values: Values, changed: frozenset[str]) -> None:
    for name in sorted(changed & set(SUBNET_FLAGS)):
        scope.api.modify_subnet_attribute(SubnetId=subnet, **{SUBNET_FLAGS[name]: {"Value": bool(values.get(name))}})
    if "privateDnsHostnameTypeOnLaunch" in changed and values.get("privateDnsHostnameTypeOnLaunch"):
        kind = values["privateDnsHostnameTypeOnLaunch"]
        scope.api.modify_subnet_attribute(SubnetId=subnet, PrivateDnsHostnameTypeOnLaunch=kind)


def _subnet_outputs(scope: Scope, subnet: str, raw: Values, state: Values) -> Values:
    records = raw.get("PrivateDnsNameOptionsOnLaunch") or {}
    return {
        "arn": raw.get("SubnetArn") or scope.arn("ec2", f"subnet/{subnet}"),
        "mapPublicIpOnLaunch": bool(raw.get("MapPublicIpOnLaunch")),
        "assignIpv6AddressOnCreation": bool(raw.get("AssignIpv6AddressOnCreation")),
        "enableDns64": bool(raw.get("EnableDns64")),
        "enableResourceNameDnsARecordOnLaunch": bool(records.get("EnableResourceNameDnsARecord")),
        "enableResourceNameDnsAaaaRecordOnLaunch": bool(records.get("EnableResourceNameDnsAAAARecord")),
        "privateDnsHostnameTypeOnLaunch": records.get("HostnameType", "ip-name"),
        "ipv6CidrBlock": dig(raw, "Ipv6CidrBlockAssociationSet.0.Ipv6CidrBlock"),
    }


SUBNET = Row(
    kind="aws:ec2/subnet:Subnet",
    service="ec2",
    fields={
        "vpcId": text(required=True, replace=True),
        "cidrBlock": text(replace=True),
        "ipv6CidrBlock": text(replace=True),
        "ipv6Native": flag(default=False, replace=True),
        "availabilityZone": text(computed=True, replace=True),
        "availabilityZoneId": text(computed=True, replace=True),
        **{name: flag(False, default=False) for name in SUBNET_FLAGS},
        "privateDnsHostnameTypeOnLaunch": text(False, computed=True),
        "arn": arn_output(),
        "ownerId": out(text()),
    },
    create=creating("create_subnet", "Subnet.SubnetId", resource_type="subnet"),
    settle=_settle_subnet,
    find=finding("describe_subnets", "Subnets.0", lambda subnet: {"SubnetIds": [subnet]}),
    derive=_subnet_outputs,
    update=_update_subnet,
    delete=deleting("delete_subnet", lambda subnet: {"SubnetId": subnet}),
    tagging=EC2_TAGS,
    delete_before_replace=True,  # the address range is still taken
)


def _attach_gateway(scope: Scope, gateway: str, values: Values) -> None:
    if values.get("vpcId"):
        scope.api.attach_internet_gateway(InternetGatewayId=gateway, VpcId=values["vpcId"])


def _detach_gateway(scope: Scope, gateway: str) -> None:
    listed = scope.api.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"]
    for attachment in listed[0].get("Attachments", []):
        scope.api.detach_internet_gateway(InternetGatewayId=gateway, VpcId=attachment["VpcId"])


def _move_gateway(scope: Scope, gateway: str, values: Values, changed: frozenset[str]) -> None:
    _detach_gateway(scope, gateway)
    _attach_gateway(scope, gateway, values)


def _delete_gateway(scope: Scope, gateway: str, state: Values) -> None:
    _detach_gateway(scope, gateway)
    scope.api.delete_internet_gateway(InternetGatewayId=gateway)


INTERNET_GATEWAY = Row(
    kind="aws:ec2/internetGateway:InternetGateway",
    service="ec2",
    fields={"vpcId": text(False), "arn": arn_output(), "ownerId": out(text(False))},
    create=creating("create_internet_gateway", "InternetGateway.InternetGatewayId", resource_type="internet-gateway"),
    settle=_attach_gateway,
    find=finding("describe_internet_gateways", "InternetGateways.0", lambda it: {"InternetGatewayIds": [it]}),
    derive=lambda scope, gateway, raw, state: {
        "arn": scope.arn("ec2", f"internet-gateway/{gateway}"),
        "ownerId": raw.get("OwnerId", scope.account),
        "vpcId": dig(raw, "Attachments.0.VpcId"),
    },
    update=_move_gateway,
    delete=_delete_gateway,
    tagging=EC2_TAGS,
)

EIP = Row(
    kind="aws:ec2/eip:Eip",
    service="ec2",
    fields={
        # What an address is associated with changes behind its back (a NAT gateway takes it): not tracked here.
        "domain": text(default="vpc", replace=True),
        "address": text(replace=True, write_only=True),
        "publicIpv4Pool": text(computed=True, replace=True),
        "networkBorderGroup": text(computed=True, replace=True),
        "allocationId": out(text()),
        "arn": arn_output(),
        "publicIp": out(text()),
        "publicDns": out(text(False)),
    },
    create=creating("allocate_address", "AllocationId", resource_type="elastic-ip"),
    find=finding("describe_addresses", "Addresses.0", lambda it: {"AllocationIds": [it]}),
    derive=lambda scope, address, raw, state: {
        "arn": scope.arn("ec2", f"elastic-ip/{address}"),
        "publicDns": f"ec2-{raw['PublicIp'].replace('.', '-')}.{scope.region}.compute.amazonaws.com",
    },
    delete=deleting("release_address", lambda it: {"AllocationId": it}),
    tagging=EC2_TAGS,
)


def _find_nat(scope: Scope, nat: str, state: Values) -> Values | None:
    found = dig(scope.api.describe_nat_gateways(NatGatewayIds=[nat]), "NatGateways.0")
    return None if found is None or found["State"] in {"deleting", "deleted"} else found


def _delete_nat(scope: Scope, nat: str, state: Values) -> None:
    scope.api.delete_nat_gateway(NatGatewayId=nat)
    scope.wait_gone(f"NAT gateway {nat}", nat, state)


NAT_GATEWAY = Row(
    kind="aws:ec2/natGateway:NatGateway",
    service="ec2",
    fields={
        "subnetId": text(required=True, replace=True),
        "allocationId": text(replace=True),
        "connectivityType": text(default="public", replace=True),
        "privateIp": text("PrivateIpAddress", computed=True, replace=True),
        "associationId": out(text(False)),
        "networkInterfaceId": out(text(False)),
        "publicIp": out(text(False)),
    },
    create=creating("create_nat_gateway", "NatGateway.NatGatewayId", resource_type="natgateway"),
    settle=lambda scope, nat, values: scope.wait(
        f"NAT gateway {nat} available", lambda: (_find_nat(scope, nat, values) or {}).get("State") == "available"
    ),
    find=_find_nat,
    derive=lambda scope, nat, raw, state: {
        "allocationId": dig(raw, "NatGatewayAddresses.0.AllocationId"),
        "associationId": dig(raw, "NatGatewayAddresses.0.AssociationId"),
        "networkInterfaceId": dig(raw, "NatGatewayAddresses.0.NetworkInterfaceId"),
        "privateIp": dig(raw, "NatGatewayAddresses.0.PrivateIp"),
        "publicIp": dig(raw, "NatGatewayAddresses.0.PublicIp"),
    },
    delete=_delete_nat,
    tagging=EC2_TAGS,
    delete_before_replace=True,  # the address is still taken
)

ENDPOINT_LISTS = {"routeTableIds": "RouteTableIds", "subnetIds": "SubnetIds", "securityGroupIds": "SecurityGroupIds"}


def _settle_endpoint(scope: Scope, endpoint: str, values: Values) -> None:
    def ready() -> bool:
        found = _find_endpoint(scope, endpoint, values)
        return found is not None and found["State"].lower() == "available"

    scope.wait(f"VPC endpoint {endpoint} available", ready)


def _find_endpoint(scope: Scope, endpoint: str, state: Values) -> Values | None:
    found = dig(scope.api.describe_vpc_endpoints(VpcEndpointIds=[endpoint]), "VpcEndpoints.0")
    return None if found is None or found["State"].lower() in {"deleting", "deleted"} else found


def _update_endpoint(scope: Scope, endpoint: str, values: Values, changed: frozenset[str]) -> None:
    request = scope.request(values, changed - set(ENDPOINT_LISTS))
    live = _find_endpoint(scope, endpoint, values) or {}
    for name in sorted(changed & set(ENDPOINT_LISTS)):
        wire = ENDPOINT_LISTS[name]
        there = (
            {it["GroupId"] for it in live.get("Groups", [])} if wire == "SecurityGroupIds" else set(live.get(wire, []))
        )
        wanted = set(values.get(name) or [])
        request |= {f"Add{wire}": sorted(wanted - there)} if wanted - there else {}
        request |= {f"Remove{wire}": sorted(there - wanted)} if there - wanted else {}
    if request:
        scope.api.modify_vpc_endpoint(VpcEndpointId=endpoint, **request)


def _endpoint_outputs(scope: Scope, endpoint: str, raw: Values, state: Values) -> Values:
    prefix_list: Values = {}
    if raw.get("VpcEndpointType") == "Gateway":
        named = [{"Name": "prefix-list-name", "Values": [raw["ServiceName"]]}]
        prefix_list = dig(scope.api.describe_prefix_lists(Filters=named), "PrefixLists.0") or {}
    return {
        "arn": scope.arn("ec2", f"vpc-endpoint/{endpoint}"),
        "ownerId": raw.get("OwnerId", scope.account),
        "securityGroupIds": sorted(group["GroupId"] for group in raw.get("Groups", [])),
        "prefixListId": prefix_list.get("PrefixListId"),
        "cidrBlocks": prefix_list.get("Cidrs"),
        "privateDnsEnabled": bool(raw.get("PrivateDnsEnabled")),
        "state": raw["State"].lower(),
    }


VPC_ENDPOINT = Row(
    kind="aws:ec2/vpcEndpoint:VpcEndpoint",
    service="ec2",
    fields={
        "vpcId": text(required=True, replace=True),
        "serviceName": text(required=True, replace=True),
        "vpcEndpointType": text(default="Gateway", replace=True),
        "policy": document("PolicyDocument", computed=True),
        "privateDnsEnabled": flag(default=False),
        "ipAddressType": text(computed=True),
        "dnsOptions": block({"dnsRecordIpType": text()}, computed=True),
        "routeTableIds": text_set(computed=True),
        "subnetIds": text_set(computed=True),
        "securityGroupIds": text_set(computed=True),
        "arn": arn_output(),
        "ownerId": out(text(False)),
        "state": out(text(False)),
        "prefixListId": out(text(False)),
        "cidrBlocks": out(texts(False)),
        "networkInterfaceIds": out(text_set()),
        "requesterManaged": out(flag()),
        "dnsEntries": out(block_set({"dnsName": text(), "hostedZoneId": text()})),
    },
    create=creating("create_vpc_endpoint", "VpcEndpoint.VpcEndpointId", resource_type="vpc-endpoint"),
    settle=_settle_endpoint,
    find=_find_endpoint,
    derive=_endpoint_outputs,
    update=_update_endpoint,
    delete=deleting("delete_vpc_endpoints", lambda it: {"VpcEndpointIds": [it]}),
    tagging=EC2_TAGS,
)

ROWS = (VPC, SUBNET, INTERNET_GATEWAY, EIP, NAT_GATEWAY, VPC_ENDPOINT)
