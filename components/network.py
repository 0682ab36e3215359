"""The network: three kinds of subnets in each zone, NAT, endpoints, and a default security group that opens nothing."""

from collections.abc import Sequence
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components import policies
from components.log_policies import write_flow_logs
from components.role import ServiceRole
from components.subnets import ZonePlan, plan

ANYWHERE = "0.0.0.0/0"


class NetworkArgs(TypedDict):
    region: str
    cidr: str
    """The VPC's range, /16 to /20. A change replaces the VPC."""
    zones: Sequence[str]
    """Zone letters. A zone added at the end moves no range."""
    nat_gateways: str
    """`perZone`: one in each zone; `one`: one in the first; `none`: no way out, only endpoints."""
    interface_endpoints: Sequence[str]
    """AWS services that are reached without NAT, such as `ecr.api`."""
    flow_log_group: str
    """Name of the log group for the VPC's flow logs."""
    flow_log_days: int
    """How long flow logs are kept, in days: a number that CloudWatch takes, such as 30 or 365."""
    logs_key_arn: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """A VPC with public, private and intra subnets, one of each in each zone."""

    vpc_id: pulumi.Output[str]
    """Id of the VPC, for security groups, target groups and controllers."""
    public_subnet_ids: pulumi.Output[Sequence[str]]
    """Load balancers and NAT; in the order of the zones."""
    private_subnet_ids: pulumi.Output[Sequence[str]]
    """Nodes and pods; out through NAT; in the order of the zones."""
    intra_subnet_ids: pulumi.Output[Sequence[str]]
    """Databases and caches; no way out; in the order of the zones."""
    zone_ids: pulumi.Output[dict[str, str]]
    """Id of each zone, such as euc1-az2, by its letter: letters differ between accounts, ids do not."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Network", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self._region = args["region"]
        zones = plan(args["cidr"], args["zones"])

        # A VPC holds everything else: a new name is a new platform.
        self._vpc = aws.ec2.Vpc(
            name,
            cidr_block=args["cidr"],
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": "penstock"},
            opts=self._child,
        )
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=self._vpc.id, ingress=[], egress=[], opts=self._child)

        public = self._subnets("public", zones, {"kubernetes.io/role/elb": "1"})
        private = self._subnets("private", zones, {"kubernetes.io/role/internal-elb": "1"})
        intra = self._subnets("intra", zones, {})

        self._public_routes(public)
        private_tables = self._private_routes(public, private, args["nat_gateways"])
        intra_table = self._table("intra")
        self._associate("intra", intra, [intra_table] * len(intra))

        aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=self._vpc.id,
            service_name=f"com.amazonaws.{self._region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in [*private_tables, intra_table]],
            tags={"Name": "penstock-s3"},
            opts=self._child,
        )
        if args["interface_endpoints"]:
            self._endpoints(args["cidr"], args["interface_endpoints"], private)

        self._flow_logs(args)

        self.vpc_id = self._vpc.id
        self.public_subnet_ids = pulumi.Output.all(*[subnet.id for subnet in public.values()])
        self.private_subnet_ids = pulumi.Output.all(*[subnet.id for subnet in private.values()])
        self.zone_ids = pulumi.Output.all(**{zone: subnet.availability_zone_id for zone, subnet in private.items()})
        self.intra_subnet_ids = pulumi.Output.all(*[subnet.id for subnet in intra.values()])
        self.register_outputs(
            {
                "vpcId": self.vpc_id,
                "publicSubnetIds": self.public_subnet_ids,
                "privateSubnetIds": self.private_subnet_ids,
                "zoneIds": self.zone_ids,
                "intraSubnetIds": self.intra_subnet_ids,
            }
        )

    def _subnets(self, kind: str, zones: Sequence[ZonePlan], tags: dict[str, str]) -> dict[str, aws.ec2.Subnet]:
        return {
            zone.zone: aws.ec2.Subnet(
                f"{self.pulumi_resource_name}-{kind}-{zone.zone}",
                vpc_id=self._vpc.id,
                availability_zone=f"{self._region}{zone.zone}",
                cidr_block=getattr(zone, kind),
                map_public_ip_on_launch=False,
                tags={"Name": f"penstock-{kind}-{zone.zone}", **tags},
                opts=self._child,
            )
            for zone in zones
        }

    def _table(self, name: str) -> aws.ec2.RouteTable:
        return aws.ec2.RouteTable(
            f"{self.pulumi_resource_name}-{name}",
            vpc_id=self._vpc.id,
            tags={"Name": f"penstock-{name}"},
            opts=self._child,
        )

    def _associate(self, kind: str, subnets: dict[str, aws.ec2.Subnet], tables: Sequence[aws.ec2.RouteTable]) -> None:
        for (zone, subnet), table in zip(subnets.items(), tables, strict=True):
            aws.ec2.RouteTableAssociation(
                f"{self.pulumi_resource_name}-{kind}-{zone}",
                subnet_id=subnet.id,
                route_table_id=table.id,
                opts=self._child,
            )

    def _public_routes(self, public: dict[str, aws.ec2.Subnet]) -> None:
        gateway = aws.ec2.InternetGateway(
            f"{self.pulumi_resource_name}-internet", vpc_id=self._vpc.id, tags={"Name": "penstock"}, opts=self._child
        )
        table = self._table("public")
        aws.ec2.Route(
            f"{self.pulumi_resource_name}-public",
            route_table_id=table.id,
            destination_cidr_block=ANYWHERE,
            gateway_id=gateway.id,
            opts=self._child,
        )
        self._associate("public", public, [table] * len(public))

    def _flow_logs(self, args: NetworkArgs) -> None:
        """Every connection, taken and refused, each minute."""
        name = f"{self.pulumi_resource_name}-flow-logs"
        group = aws.cloudwatch.LogGroup(
            name,
            name=args["flow_log_group"],
            kms_key_id=args["logs_key_arn"],
            retention_in_days=args["flow_log_days"],
            opts=self._child,
        )
        role = ServiceRole(
            name,
            {
                "services": ["vpc-flow-logs.amazonaws.com"],
                "description": "Flow logs of the VPC: write to their log group",
                "managed_policies": [],
                "policy": group.arn.apply(lambda arn: policies.dumps(write_flow_logs(arn))),
            },
            self._child,
        )
        aws.ec2.FlowLog(
            name,
            vpc_id=self._vpc.id,
            traffic_type="ALL",
            iam_role_arn=role.arn,
            log_destination=group.arn,
            max_aggregation_interval=60,
            tags={"Name": "penstock"},
            opts=self._child,
        )

    def _private_routes(
        self, public: dict[str, aws.ec2.Subnet], private: dict[str, aws.ec2.Subnet], nat: str
    ) -> list[aws.ec2.RouteTable]:
        """One table in each zone in either case, so that a change of NAT moves routes and no subnet."""
        with_nat = {"perZone": list(public), "one": list(public)[:1], "none": []}[nat]
        gateways = {}
        for zone in with_nat:
            address = aws.ec2.Eip(
                f"{self.pulumi_resource_name}-nat-{zone}",
                domain="vpc",
                tags={"Name": f"penstock-nat-{zone}"},
                opts=self._child,
            )
            gateways[zone] = aws.ec2.NatGateway(
                f"{self.pulumi_resource_name}-nat-{zone}",
                subnet_id=public[zone].id,
                allocation_id=address.id,
                tags={"Name": f"penstock-nat-{zone}"},
                opts=self._child,
            )
        tables = []
        for zone in private:
            table = self._table(f"private-{zone}")
            if with_nat:
                aws.ec2.Route(
                    f"{self.pulumi_resource_name}-private-{zone}",
                    route_table_id=table.id,
                    destination_cidr_block=ANYWHERE,
                    nat_gateway_id=gateways.get(zone, gateways[with_nat[0]]).id,
                    opts=self._child,
                )
            tables.append(table)
        self._associate("private", private, tables)
        return tables

    def _endpoints(self, cidr: str, services: Sequence[str], private: dict[str, aws.ec2.Subnet]) -> None:
        group = aws.ec2.SecurityGroup(
            f"{self.pulumi_resource_name}-endpoints",
            vpc_id=self._vpc.id,
            description="AWS services inside the VPC",
            opts=self._child,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{self.pulumi_resource_name}-endpoints-from-vpc",
            security_group_id=group.id,
            description="HTTPS from the VPC",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            cidr_ipv4=cidr,
            opts=self._child,
        )
        for service in services:
            aws.ec2.VpcEndpoint(
                f"{self.pulumi_resource_name}-{service}",
                vpc_id=self._vpc.id,
                service_name=f"com.amazonaws.{self._region}.{service}",
                vpc_endpoint_type="Interface",
                subnet_ids=[subnet.id for subnet in private.values()],
                security_group_ids=[group.id],
                private_dns_enabled=True,
                tags={"Name": f"penstock-{service}"},
                opts=self._child,
            )
