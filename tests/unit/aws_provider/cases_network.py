"""Life cycles of the network: VPC, subnets, routes, endpoints, security groups and their rules, node templates."""

from __future__ import annotations

import base64

from tests.unit.aws_provider.cases import Case, policy


def rule(direction: str) -> Case:
    base = {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "cidrIpv4": "10.0.0.0/8", "description": "TLS"}
    title = direction.capitalize()
    return Case(
        f"aws:vpc/securityGroup{title}Rule:SecurityGroup{title}Rule",
        lambda w: {**base, "securityGroupId": w.group.id, "tags": {"a": "b"}},
        lambda w: {"cidrIpv4": "10.1.0.0/16", "description": "TLS from inside"},
    )


USER_DATA = base64.b64encode(b"#!/bin/sh\ntrue\n").decode()

NETWORK_CASES = (
    Case(
        "aws:ec2/vpc:Vpc",
        lambda w: {"cidrBlock": "10.9.0.0/16", "enableDnsHostnames": True, "tags": {"Name": "main"}},
        lambda w: {"enableDnsHostnames": False, "tags": {"Name": "other"}},
    ),
    Case(
        "aws:ec2/subnet:Subnet",
        lambda w: {
            "vpcId": w.vpc.id,
            "cidrBlock": "10.0.100.0/24",
            "availabilityZone": "eu-central-1b",
            "mapPublicIpOnLaunch": True,
            "tags": {"kubernetes.io/role/elb": "1"},
        },
        lambda w: {"mapPublicIpOnLaunch": False},
    ),
    Case("aws:ec2/internetGateway:InternetGateway", lambda w: {}, lambda w: {"tags": {"Name": "door"}}),
    Case("aws:ec2/eip:Eip", lambda w: {"domain": "vpc"}, lambda w: {"tags": {"Name": "nat"}}),
    Case(
        "aws:ec2/natGateway:NatGateway",
        lambda w: {"subnetId": w.subnets[0], "allocationId": w.address},
        lambda w: {"tags": {"Name": "nat"}},
    ),
    Case(
        "aws:ec2/routeTable:RouteTable",
        lambda w: {"vpcId": w.vpc.id, "routes": [{"cidrBlock": "0.0.0.0/0", "gatewayId": w.gateway}]},
        lambda w: {"routes": [{"cidrBlock": "192.0.2.0/24", "gatewayId": w.gateway}]},
    ),
    Case(
        "aws:ec2/route:Route",
        lambda w: {
            "routeTableId": w.route_tables[0],
            "destinationCidrBlock": "198.51.100.0/24",
            "gatewayId": w.gateway,
        },
        lambda w: {"gatewayId": w.make("aws:ec2/internetGateway:InternetGateway", "second").id},
    ),
    Case(
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        lambda w: {"routeTableId": w.route_tables[0], "subnetId": w.subnets[0]},
    ),
    Case(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        lambda w: {
            "vpcId": w.vpc.id,
            "serviceName": "com.amazonaws.eu-central-1.s3",
            "routeTableIds": w.route_tables[:1],
        },
        lambda w: {"policy": policy("s3:GetObject", principal="*"), "tags": {"a": "b"}},
    ),
    Case(
        "aws:ec2/securityGroup:SecurityGroup",
        lambda w: {
            "vpcId": w.vpc.id,
            "description": "nodes",
            "ingress": [
                {"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/8"], "description": "TLS"},
                {"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True},
            ],
        },
        lambda w: {
            "ingress": [{"protocol": "tcp", "fromPort": 80, "toPort": 80, "securityGroups": [w.group.id]}],
            "egress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}],
        },
    ),
    Case(
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        lambda w: {"vpcId": w.vpc.id},
        lambda w: {"tags": {"closed": "yes"}},
        gone=False,
    ),
    Case(
        "aws:ec2/launchTemplate:LaunchTemplate",
        lambda w: {
            "updateDefaultVersion": True,
            "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
            "blockDeviceMappings": [
                {
                    "deviceName": "/dev/xvda",
                    "ebs": {"volumeSize": 100, "volumeType": "gp3", "encrypted": "true", "deleteOnTermination": "true"},
                }
            ],
            "tagSpecifications": [{"resourceType": "instance", "tags": {"Name": "gpu"}}],
            "vpcSecurityGroupIds": [w.group.id],
            "userData": USER_DATA,
            "monitoring": {"enabled": True},
        },
        lambda w: {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 2}},
    ),
    rule("ingress"),
    rule("egress"),
)
