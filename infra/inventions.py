"""Made-up answers of a cloud, for rehearsals: deterministic, of the right shape, recognisable as invented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

ACCOUNT = "000000000000"
REGION = "nowhere-1"

Inputs = Mapping[str, Any]

OFFERINGS = "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings"
DATABASES = "aws:rds/getInstances:getInstances"

AUTONAMED: dict[str, str] = {
    "aws:cloudwatch/metricAlarm:MetricAlarm": "name",
    "aws:budgets/budget:Budget": "name",
    "aws:costexplorer/anomalyMonitor:AnomalyMonitor": "name",
    "aws:costexplorer/anomalySubscription:AnomalySubscription": "name",
    "aws:ec2/launchTemplate:LaunchTemplate": "name",
    "aws:ec2/securityGroup:SecurityGroup": "name",
    "aws:eks/nodeGroup:NodeGroup": "nodeGroupName",
    "aws:elasticache/replicationGroup:ReplicationGroup": "replicationGroupId",
    "aws:elasticache/subnetGroup:SubnetGroup": "name",
    "aws:cloudwatch/eventRule:EventRule": "name",
    "aws:iam/instanceProfile:InstanceProfile": "name",
    "aws:iam/role:Role": "name",
    "aws:iam/rolePolicy:RolePolicy": "name",
    "aws:kms/alias:Alias": "name",
    "aws:lb/loadBalancer:LoadBalancer": "name",
    "aws:lb/targetGroup:TargetGroup": "name",
    "aws:rds/instance:Instance": "identifier",
    "aws:rds/parameterGroup:ParameterGroup": "name",
    "aws:rds/subnetGroup:SubnetGroup": "name",
    "aws:s3/bucket:Bucket": "bucket",
    "aws:secretsmanager/secret:Secret": "name",
    "aws:wafv2/webAcl:WebAcl": "name",
    "aws:sns/topic:Topic": "name",
    "aws:sqs/queue:Queue": "name",
}
"""Types whose physical name Pulumi makes from the logical one, and the property that holds it."""


def _text(inputs: Inputs, key: str) -> str:
    return str(inputs.get(key, ""))


SPECIAL: dict[str, Callable[[str, Inputs], dict[str, Any]]] = {
    "aws:acm/certificate:Certificate": lambda name, inputs: {
        "domainValidationOptions": [
            {
                "domainName": _text(inputs, "domainName"),
                "resourceRecordName": f"_proof.{_text(inputs, 'domainName')}",
                "resourceRecordType": "CNAME",
                "resourceRecordValue": "_proof.acm-validations.invalid",
            }
        ]
    },
    "aws:ec2/launchTemplate:LaunchTemplate": lambda name, inputs: {"latestVersion": 1},
    "aws:ecr/repository:Repository": lambda name, inputs: {
        "repositoryUrl": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{_text(inputs, 'name')}"
    },
    "aws:eks/cluster:Cluster": lambda name, inputs: {
        "endpoint": "https://cluster.invalid",
        "certificateAuthority": {"data": "aW52ZW50ZWQ="},
        "vpcConfig": {**inputs["vpcConfig"], "clusterSecurityGroupId": "sg-of-the-cluster"},
    },
    "aws:elasticache/replicationGroup:ReplicationGroup": lambda name, inputs: {
        "primaryEndpointAddress": f"{name}.cache.invalid"
    },
    "aws:kms/key:Key": lambda name, inputs: {"keyId": f"{name}-key"},
    "aws:lb/loadBalancer:LoadBalancer": lambda name, inputs: {
        "dnsName": f"{name}.balancer.invalid",
        "arnSuffix": f"app/{name}/invented",
        "zoneId": "ZINVENTED",
    },
    "aws:lb/targetGroup:TargetGroup": lambda name, inputs: {"arnSuffix": f"targetgroup/{name}/invented"},
    "aws:route53/record:Record": lambda name, inputs: {"fqdn": _text(inputs, "name")},
    "aws:sqs/queue:Queue": lambda name, inputs: {"url": f"https://sqs.{REGION}.invalid/{ACCOUNT}/{name}"},
    "aws:rds/instance:Instance": lambda name, inputs: {
        "address": f"{name}.database.invalid",
        "masterUserSecrets": [
            {"secretArn": _arn("secretsmanager", "secret", name), "kmsKeyId": "", "secretStatus": ""}
        ],
    },
}


def invented_outputs(token: str, name: str, inputs: Inputs, *, preview: bool) -> tuple[str | None, dict[str, Any]]:
    """The id and the outputs that a cloud would add to the inputs; in a preview no id, and what Pulumi itself knows."""
    known: dict[str, Any] = {}
    if token in AUTONAMED and AUTONAMED[token] not in inputs:
        known[AUTONAMED[token]] = f"{name}-0000000"
    if token.startswith("kubernetes:") and "metadata" in inputs:
        metadata = dict(inputs["metadata"])
        metadata.setdefault("name", f"{name}-00000000")
        known["metadata"] = metadata
    if preview:
        return None, known
    service, _, kind = token.removeprefix("aws:").partition("/")
    if token.startswith("aws:"):
        known["arn"] = inputs.get("arn") or _arn(service, kind.partition(":")[0], name)
    if token in SPECIAL:
        known |= SPECIAL[token](name, inputs)
    return f"{name}-id", known


def invented_answer(token: str, arguments: Inputs) -> dict[str, Any]:
    """What a cloud would answer to a question of the program: all that is asked for is there, and no database yet.

    Raises LookupError for a function that has no answer here.
    """
    if token == DATABASES:
        return {"id": "invented", "instanceArns": [], "instanceIdentifiers": []}
    if token != OFFERINGS:
        raise LookupError(f"the program asked the cloud for {token}; a rehearsal has no answer to that")
    filters = {str(each["name"]): each["values"] for each in arguments["filters"]}
    there = [(kind, zone) for kind in filters["instance-type"] for zone in filters["location"]]
    return {
        "id": "invented",
        "instanceTypes": [kind for kind, _ in there],
        "locations": [zone for _, zone in there],
        "locationTypes": [str(arguments["locationType"])] * len(there),
    }


def _arn(service: str, kind: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}/{name}"
