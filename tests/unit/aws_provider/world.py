"""What the tested resources stand on, made by the plug-in itself: network, roles, keys, cluster, load balancer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
ZONES = ("eu-central-1a", "eu-central-1b", "eu-central-1c")


@dataclass
class World:
    """Resources that tests share; each is made when it is first asked for. `plugin`: conftest's Plugin."""

    plugin: Any

    def make(self, kind: str, name: str, /, **inputs: Any) -> Any:
        return self.plugin.create(kind, name, inputs)

    @cached_property
    def vpc(self) -> Any:
        return self.make("aws:ec2/vpc:Vpc", "shared", cidrBlock="10.0.0.0/16", enableDnsHostnames=True)

    @cached_property
    def subnets(self) -> list[str]:
        return [
            self.make(
                "aws:ec2/subnet:Subnet",
                f"shared-{n}",
                vpcId=self.vpc.id,
                cidrBlock=f"10.0.{n}.0/24",
                availabilityZone=zone,
            ).id
            for n, zone in enumerate(ZONES)
        ]

    @cached_property
    def route_tables(self) -> list[str]:
        return [self.make("aws:ec2/routeTable:RouteTable", f"shared-{n}", vpcId=self.vpc.id).id for n in range(2)]

    @cached_property
    def gateway(self) -> str:
        return self.make("aws:ec2/internetGateway:InternetGateway", "shared", vpcId=self.vpc.id).id

    @cached_property
    def address(self) -> str:
        return self.make("aws:ec2/eip:Eip", "shared").id

    @cached_property
    def group(self) -> Any:
        return self.make("aws:ec2/securityGroup:SecurityGroup", "shared", vpcId=self.vpc.id)

    @cached_property
    def key(self) -> Any:
        return self.make("aws:kms/key:Key", "shared", description="shared")

    @cached_property
    def role(self) -> Any:
        return self.make("aws:iam/role:Role", "shared", assumeRolePolicy=TRUST)

    @cached_property
    def cluster(self) -> Any:
        return self.make(
            "aws:eks/cluster:Cluster",
            "shared",
            name="shared",
            roleArn=self.role["arn"],
            vpcConfig={"subnetIds": self.subnets},
            accessConfig={"authenticationMode": "API"},
        )

    @cached_property
    def access_entry(self) -> Any:
        arn = self.make("aws:iam/role:Role", "operator", assumeRolePolicy=TRUST)["arn"]
        return self.make("aws:eks/accessEntry:AccessEntry", "shared", clusterName=self.cluster.id, principalArn=arn)

    @cached_property
    def repository(self) -> str:
        return self.make("aws:ecr/repository:Repository", "shared").id

    @cached_property
    def bucket(self) -> Any:
        return self.make("aws:s3/bucket:Bucket", "shared", forceDestroy=True)

    @cached_property
    def versioned_bucket(self) -> str:
        bucket = self.make("aws:s3/bucket:Bucket", "versioned", forceDestroy=True).id
        kept = {"status": "Enabled"}
        self.make("aws:s3/bucketVersioning:BucketVersioning", "versioned", bucket=bucket, versioningConfiguration=kept)
        return bucket

    @cached_property
    def copies(self) -> Any:
        """A bucket of another region that keeps versions."""
        bucket = self.make("aws:s3/bucket:Bucket", "copies", forceDestroy=True, region="eu-west-1")
        self.make(
            "aws:s3/bucketVersioning:BucketVersioning",
            "copies",
            bucket=bucket.id,
            versioningConfiguration={"status": "Enabled"},
            region="eu-west-1",
        )
        return bucket

    @cached_property
    def database(self) -> Any:
        return self.make(
            "aws:rds/instance:Instance",
            "shared",
            engine="postgres",
            engineVersion="17",
            instanceClass="db.t4g.medium",
            allocatedStorage=20,
            username="penstock",
            manageMasterUserPassword=True,
            backupRetentionPeriod=7,
            skipFinalSnapshot=True,
        )

    @cached_property
    def log_bucket(self) -> str:
        """A bucket to which S3 may write access logs."""
        bucket = self.make("aws:s3/bucket:Bucket", "logs", forceDestroy=True)
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": f"{bucket['arn']}/*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.make("aws:s3/bucketPolicy:BucketPolicy", "logs", bucket=bucket.id, policy=policy)
        return bucket.id

    @cached_property
    def balancer(self) -> Any:
        inputs = {"subnets": self.subnets, "securityGroups": [self.group.id]}
        return self.make("aws:lb/loadBalancer:LoadBalancer", "shared", **inputs)

    @cached_property
    def targets(self) -> list[Any]:
        inputs = {"port": 8080, "protocol": "HTTP", "vpcId": self.vpc.id, "targetType": "ip"}
        return [self.make("aws:lb/targetGroup:TargetGroup", colour, **inputs) for colour in ("blue", "green")]

    @cached_property
    def listener(self) -> Any:
        return self.make(
            "aws:lb/listener:Listener",
            "shared",
            loadBalancerArn=self.balancer.id,
            port=80,
            protocol="HTTP",
            defaultActions=[
                {"type": "fixed-response", "fixedResponse": {"contentType": "text/plain", "statusCode": "404"}}
            ],
        )

    @cached_property
    def topic(self) -> Any:
        return self.make("aws:sns/topic:Topic", "shared")

    @cached_property
    def queue(self) -> Any:
        return self.make("aws:sqs/queue:Queue", "shared")

    @cached_property
    def monitor(self) -> Any:
        specification = json.dumps({"Tags": {"Key": "project", "Values": ["penstock"]}})
        inputs = {"monitorType": "CUSTOM", "monitorSpecification": specification}
        return self.make("aws:costexplorer/anomalyMonitor:AnomalyMonitor", "shared", **inputs)

    @cached_property
    def secret(self) -> Any:
        return self.make("aws:secretsmanager/secret:Secret", "shared", recoveryWindowInDays=0)

    @cached_property
    def web_acl(self) -> Any:
        seen = {"cloudwatchMetricsEnabled": True, "metricName": "all", "sampledRequestsEnabled": False}
        inputs = {"scope": "REGIONAL", "defaultAction": {"allow": {}}, "visibilityConfig": seen}
        return self.make("aws:wafv2/webAcl:WebAcl", "shared", **inputs)

    @cached_property
    def firewall_logs(self) -> str:
        return self.make("aws:cloudwatch/logGroup:LogGroup", "waf", name="aws-waf-logs-shared")["arn"]

    @cached_property
    def zone(self) -> str:
        """A hosted zone, which no stack makes: names are delegated by people."""
        names = self.plugin.servicer.engine.clients.get("route53", "eu-central-1")
        made = names.create_hosted_zone(Name="example.com", CallerReference="shared")
        return made["HostedZone"]["Id"].rsplit("/", 1)[-1]

    @cached_property
    def proven_certificate(self) -> Any:
        inputs = {"domainName": "llm.example.com", "validationMethod": "DNS"}
        certificate = self.make("aws:acm/certificate:Certificate", "shared", **inputs)
        (asked,) = certificate["domainValidationOptions"]
        self.make(
            "aws:route53/record:Record",
            "proof",
            zoneId=self.zone,
            name=asked["resourceRecordName"],
            type=asked["resourceRecordType"],
            ttl=60,
            records=[asked["resourceRecordValue"]],
        )
        return certificate

    @cached_property
    def cache_subnets(self) -> str:
        return self.make("aws:elasticache/subnetGroup:SubnetGroup", "shared", subnetIds=self.subnets).id

    @cached_property
    def database_subnets(self) -> str:
        return self.make("aws:rds/subnetGroup:SubnetGroup", "shared", subnetIds=self.subnets).id

    def weighted(self, blue: int, green: int) -> list[dict[str, Any]]:
        arns = [target.id for target in self.targets]
        groups = [{"arn": arn, "weight": weight} for arn, weight in zip(arns, (blue, green), strict=True)]
        return [{"type": "forward", "forward": {"targetGroups": groups}}]
