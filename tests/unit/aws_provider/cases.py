"""For every resource type of the table: inputs as Penstock gives them, and a change that must not replace it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.unit.aws_provider import world as worlds

Values = dict[str, Any]
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
MANAGED = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"


def policy(*actions: str, resource: str = "*", principal: str = "") -> str:
    statement: Values = {"Sid": "One", "Effect": "Allow", "Action": list(actions), "Resource": resource}
    if principal:
        statement["Principal"] = {"AWS": principal}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=1)


def key_policy(*extra: str) -> str:
    return policy("kms:*", *extra, principal="arn:aws:iam::123456789012:root")


def lifecycle(count: int) -> str:
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count}
    return json.dumps({"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]})


@dataclass(frozen=True)
class Case:
    """`inputs` for a World; `change`: inputs to update in place with (none where AWS has nothing to change);
    `gone`: whether a deletion leaves nothing."""

    kind: str
    inputs: Callable[[worlds.World], Values]
    change: Callable[[worlds.World], Values] | None = None
    gone: bool = True


def rule(direction: str) -> Case:
    base = {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "cidrIpv4": "10.0.0.0/8", "description": "TLS"}
    title = direction.capitalize()
    return Case(
        f"aws:vpc/securityGroup{title}Rule:SecurityGroup{title}Rule",
        lambda w: {**base, "securityGroupId": w.group.id, "tags": {"a": "b"}},
        lambda w: {"cidrIpv4": "10.1.0.0/16", "description": "TLS from inside"},
    )


USER_DATA = base64.b64encode(b"#!/bin/sh\ntrue\n").decode()
NOTIFICATION = {"comparisonOperator": "GREATER_THAN", "notificationType": "FORECASTED", "thresholdType": "PERCENTAGE"}

CASES = (
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
    Case(
        "aws:kms/key:Key",
        lambda w: {
            "description": "volumes",
            "enableKeyRotation": True,
            "rotationPeriodInDays": 180,
            "policy": key_policy(),
            "deletionWindowInDays": 7,
        },
        lambda w: {"description": "disks", "rotationPeriodInDays": 365, "policy": key_policy("kms:Decrypt")},
    ),
    Case(
        "aws:kms/alias:Alias",
        lambda w: {"targetKeyId": w.key.id},
        lambda w: {"targetKeyId": w.make("aws:kms/key:Key", "second")["arn"]},
    ),
    Case(
        "aws:iam/role:Role",
        lambda w: {
            "assumeRolePolicy": worlds.TRUST,
            "description": "nodes",
            "managedPolicyArns": [MANAGED],
            "inlinePolicies": [{"name": "one", "policy": policy("s3:GetObject")}],
        },
        lambda w: {"description": "node role", "maxSessionDuration": 7200, "managedPolicyArns": []},
    ),
    Case(
        "aws:iam/rolePolicy:RolePolicy",
        lambda w: {"role": w.role.id, "policy": policy("s3:GetObject")},
        lambda w: {"policy": policy("s3:GetObject", "s3:ListBucket")},
    ),
    Case(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        lambda w: {"role": w.role.id, "policyArn": MANAGED},
    ),
    Case(
        "aws:eks/cluster:Cluster",
        lambda w: {
            "roleArn": w.role["arn"],
            "version": "1.33",
            "vpcConfig": {"subnetIds": w.subnets, "endpointPrivateAccess": True, "publicAccessCidrs": ["192.0.2.0/24"]},
            "accessConfig": {
                "authenticationMode": "API",
                "bootstrapClusterCreatorAdminPermissions": False,
            },
            "enabledClusterLogTypes": ["audit", "api"],
            "encryptionConfig": {"provider": {"keyArn": w.key["arn"]}, "resources": ["secrets"]},
            "upgradePolicy": {"supportType": "STANDARD"},
            "zonalShiftConfig": {"enabled": True},
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.21.0.0/16"},
            "bootstrapSelfManagedAddons": False,
            "deletionProtection": False,
            "tags": {"a": "b"},
        },
        lambda w: {
            "version": "1.34",
            "enabledClusterLogTypes": ["audit", "api", "authenticator"],
            "vpcConfig": {"subnetIds": w.subnets, "endpointPrivateAccess": True, "publicAccessCidrs": ["10.0.0.0/8"]},
            "upgradePolicy": {"supportType": "EXTENDED"},
            "tags": {"a": "c"},
        },
    ),
    Case(
        "aws:eks/nodeGroup:NodeGroup",
        lambda w: {
            "clusterName": w.cluster.id,
            "nodeRoleArn": w.role["arn"],
            "subnetIds": w.subnets,
            "scalingConfig": {"desiredSize": 3, "minSize": 3, "maxSize": 6},
            "amiType": "AL2023_x86_64_NVIDIA",
            "capacityType": "SPOT",
            "instanceTypes": ["g6.xlarge", "g5.xlarge"],
            "labels": {"penstock.dev/pool": "gpu-spot"},
            "taints": [{"key": "nvidia.com/gpu", "effect": "NO_SCHEDULE"}],
            "updateConfig": {"maxUnavailable": 1},
            "nodeRepairConfig": {"enabled": True},
        },
        lambda w: {
            "scalingConfig": {"desiredSize": 4, "minSize": 3, "maxSize": 6},
            "labels": {"penstock.dev/pool": "gpu", "more": "yes"},
            "taints": [{"key": "nvidia.com/gpu", "value": "yes", "effect": "NO_EXECUTE"}],
            "tags": {"a": "b"},
        },
    ),
    Case(
        "aws:eks/addon:Addon",
        lambda w: {
            "clusterName": w.cluster.id,
            "addonName": "vpc-cni",
            "configurationValues": '{"enableNetworkPolicy": "true"}',
            "resolveConflictsOnCreate": "OVERWRITE",
            "resolveConflictsOnUpdate": "PRESERVE",
        },
        lambda w: {"configurationValues": '{"enableNetworkPolicy": "false"}'},
    ),
    Case(
        "aws:eks/accessEntry:AccessEntry",
        lambda w: {"clusterName": w.cluster.id, "principalArn": w.role["arn"], "kubernetesGroups": ["readers"]},
        lambda w: {"kubernetesGroups": ["readers", "writers"], "tags": {"a": "b"}},
    ),
    Case(
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        lambda w: {
            "clusterName": w.cluster.id,
            "principalArn": w.access_entry["principalArn"],
            "policyArn": ADMIN,
            "accessScope": {"type": "cluster"},
        },
    ),
    Case(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        lambda w: {
            "clusterName": w.cluster.id,
            "namespace": "penstock",
            "serviceAccount": "engine",
            "roleArn": w.role["arn"],
        },
        lambda w: {"roleArn": w.make("aws:iam/role:Role", "engine", assumeRolePolicy=worlds.TRUST)["arn"]},
    ),
    Case(
        "aws:ecr/repository:Repository",
        lambda w: {
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": w.key["arn"]}],
            "forceDelete": True,
        },
        lambda w: {"imageTagMutability": "MUTABLE", "imageScanningConfiguration": {"scanOnPush": False}},
    ),
    Case(
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        lambda w: {"repository": w.repository, "policy": lifecycle(10)},
        lambda w: {"policy": lifecycle(20)},
    ),
    Case(
        "aws:s3/bucket:Bucket",
        lambda w: {"forceDestroy": True, "tags": {"class": "weights"}},
        lambda w: {"tags": {"class": "files"}},
    ),
    Case(
        "aws:s3/bucketVersioning:BucketVersioning",
        lambda w: {"bucket": w.bucket.id, "versioningConfiguration": {"status": "Enabled"}},
        lambda w: {"versioningConfiguration": {"status": "Suspended"}},
        gone=False,
    ),
    Case(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        lambda w: {
            "bucket": w.bucket.id,
            "rules": [
                {
                    "applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": w.key["arn"]},
                    "bucketKeyEnabled": True,
                }
            ],
        },
        lambda w: {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
    ),
    Case(
        "aws:s3/bucketReplicationConfig:BucketReplicationConfig",
        lambda w: {
            "bucket": w.versioned_bucket,
            "role": w.role["arn"],
            "rules": [
                {
                    "id": "all",
                    "status": "Enabled",
                    "priority": 0,
                    "filter": {"prefix": ""},
                    "deleteMarkerReplication": {"status": "Disabled"},
                    "sourceSelectionCriteria": {"sseKmsEncryptedObjects": {"status": "Enabled"}},
                    "destination": {
                        "bucket": w.copies["arn"],
                        "storageClass": "STANDARD_IA",
                        "encryptionConfiguration": {"replicaKmsKeyId": w.key["arn"]},
                    },
                }
            ],
        },
        lambda w: {
            "rules": [
                {
                    "id": "all",
                    "status": "Disabled",
                    "priority": 0,
                    "filter": {"prefix": "new/"},
                    "deleteMarkerReplication": {"status": "Enabled"},
                    "destination": {"bucket": w.copies["arn"]},
                }
            ]
        },
    ),
    Case(
        "aws:rds/instanceAutomatedBackupsReplication:InstanceAutomatedBackupsReplication",
        lambda w: {"sourceDbInstanceArn": w.database["arn"], "retentionPeriod": 7, "region": "eu-west-1"},
    ),
    Case(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        lambda w: {"bucket": w.bucket.id, "blockPublicAcls": True, "restrictPublicBuckets": True},
        lambda w: {"blockPublicPolicy": True},
    ),
    Case(
        "aws:s3/bucketPolicy:BucketPolicy",
        lambda w: {
            "bucket": w.bucket.id,
            "policy": policy("s3:GetObject", resource=f"{w.bucket['arn']}/*", principal="*"),
        },
        lambda w: {"policy": policy("s3:PutObject", resource=f"{w.bucket['arn']}/*", principal="*")},
    ),
    Case(
        "aws:elasticache/subnetGroup:SubnetGroup",
        lambda w: {"subnetIds": w.subnets[:2], "description": "cache"},
        lambda w: {"subnetIds": w.subnets, "description": "three zones"},
    ),
    Case(
        "aws:elasticache/replicationGroup:ReplicationGroup",
        lambda w: {
            "description": "sessions",
            "engine": "valkey",
            "engineVersion": "8.0",
            "nodeType": "cache.t4g.small",
            "numCacheClusters": 2,
            "automaticFailoverEnabled": True,
            "multiAzEnabled": True,
            "subnetGroupName": w.cache_subnets,
            "securityGroupIds": [w.group.id],
            "atRestEncryptionEnabled": True,
            "transitEncryptionEnabled": True,
            "kmsKeyId": w.key["arn"],
            "port": 6379,
            "snapshotRetentionLimit": 1,
            "maintenanceWindow": "sun:02:00-sun:03:00",
        },
        lambda w: {"description": "limits", "snapshotRetentionLimit": 3, "maintenanceWindow": "mon:02:00-mon:03:00"},
    ),
    Case(
        "aws:rds/subnetGroup:SubnetGroup",
        lambda w: {"subnetIds": w.subnets[:2], "description": "database"},
        lambda w: {"tags": {"a": "b"}},
    ),
    Case(
        "aws:rds/parameterGroup:ParameterGroup",
        lambda w: {
            "family": "postgres17",
            "parameters": [
                {"name": "rds.force_ssl", "value": "1"},
                {"name": "shared_preload_libraries", "value": "pg_stat_statements", "applyMethod": "pending-reboot"},
            ],
        },
        lambda w: {
            "parameters": [
                {"name": "rds.force_ssl", "value": "0"},
                {"name": "shared_preload_libraries", "value": "pg_stat_statements", "applyMethod": "pending-reboot"},
            ]
        },
    ),
    Case(
        "aws:rds/instance:Instance",
        lambda w: {
            "engine": "postgres",
            "engineVersion": "17",
            "instanceClass": "db.t4g.medium",
            "allocatedStorage": 20,
            "maxAllocatedStorage": 100,
            "storageType": "gp3",
            "dbName": "penstock",
            "username": "penstock",
            "manageMasterUserPassword": True,
            "dbSubnetGroupName": w.database_subnets,
            "vpcSecurityGroupIds": [w.group.id],
            "storageEncrypted": True,
            "kmsKeyId": w.key["arn"],
            "multiAz": True,
            "backupRetentionPeriod": 7,
            "enabledCloudwatchLogsExports": ["postgresql"],
            "performanceInsightsEnabled": True,
            "iamDatabaseAuthenticationEnabled": True,
            "copyTagsToSnapshot": True,
            "skipFinalSnapshot": True,
            "applyImmediately": True,
        },
        lambda w: {"instanceClass": "db.t4g.large", "backupRetentionPeriod": 14, "multiAz": False},
    ),
    Case(
        "aws:lb/loadBalancer:LoadBalancer",
        lambda w: {
            "subnets": w.subnets,
            "securityGroups": [w.group.id],
            "idleTimeout": 300,
            "dropInvalidHeaderFields": True,
            "accessLogs": {"bucket": w.bucket.id, "prefix": "alb", "enabled": True},
        },
        lambda w: {"idleTimeout": 600, "dropInvalidHeaderFields": False},
    ),
    Case(
        "aws:lb/targetGroup:TargetGroup",
        lambda w: {
            "port": 8080,
            "protocol": "HTTP",
            "vpcId": w.vpc.id,
            "targetType": "ip",
            "deregistrationDelay": 120,
            "loadBalancingAlgorithmType": "least_outstanding_requests",
            "healthCheck": {"path": "/readyz", "interval": 5, "timeout": 2, "healthyThreshold": 2, "matcher": "200"},
        },
        lambda w: {"deregistrationDelay": 60, "healthCheck": {"path": "/healthz", "interval": 10}},
    ),
    Case(
        "aws:lb/listener:Listener",
        lambda w: {
            "loadBalancerArn": w.balancer.id,
            "port": 8081,
            "protocol": "HTTP",
            "defaultActions": [
                {"type": "fixed-response", "fixedResponse": {"contentType": "text/plain", "statusCode": "404"}}
            ],
        },
        lambda w: {"port": 8082, "defaultActions": w.weighted(50, 50)},
    ),
    Case(
        "aws:lb/listenerRule:ListenerRule",
        lambda w: {
            "listenerArn": w.listener.id,
            "priority": 10,
            "actions": w.weighted(100, 0),
            "conditions": [
                {"pathPattern": {"values": ["/v1/*"]}},
                {"httpHeader": {"httpHeaderName": "X-Colour", "values": ["green"]}},
                {"queryStrings": [{"key": "a", "value": "b"}]},
            ],
        },
        lambda w: {"actions": w.weighted(95, 5), "conditions": [{"pathPattern": {"values": ["/v2/*"]}}]},
    ),
    Case(
        "aws:cloudwatch/logGroup:LogGroup",
        lambda w: {"retentionInDays": 7, "kmsKeyId": w.key["arn"], "tags": {"a": "b"}},
        lambda w: {"retentionInDays": 30, "tags": {"a": "c"}},
    ),
    Case(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        lambda w: {
            "comparisonOperator": "GreaterThanThreshold",
            "evaluationPeriods": 3,
            "metricName": "TargetResponseTime",
            "namespace": "AWS/ApplicationELB",
            "extendedStatistic": "p99",
            "period": 60,
            "threshold": 2.5,
            "dimensions": {"LoadBalancer": "app/one"},
            "alarmActions": [w.topic.id],
            "treatMissingData": "notBreaching",
        },
        lambda w: {"threshold": 3, "tags": {"a": "b"}},
    ),
    Case(
        "aws:sns/topic:Topic",
        lambda w: {"displayName": "alarms", "kmsMasterKeyId": w.key.id},
        lambda w: {"displayName": "events", "tags": {"a": "b"}},
    ),
    Case(
        "aws:sns/topicPolicy:TopicPolicy",
        lambda w: {"arn": w.topic.id, "policy": policy("sns:Publish", resource=w.topic.id, principal="*")},
        lambda w: {"policy": policy("sns:Publish", "sns:Subscribe", resource=w.topic.id, principal="*")},
    ),
    Case(
        "aws:budgets/budget:Budget",
        lambda w: {
            "budgetType": "COST",
            "timeUnit": "MONTHLY",
            "limitAmount": "500",
            "limitUnit": "USD",
            "costFilters": [{"name": "TagKeyValue", "values": ["user:project$penstock"]}],
            "notifications": [{**NOTIFICATION, "threshold": 80, "subscriberSnsTopicArns": [w.topic.id]}],
        },
        lambda w: {
            "limitAmount": "600",
            "notifications": [{**NOTIFICATION, "threshold": 90, "subscriberEmailAddresses": ["platform@example.com"]}],
        },
    ),
    Case(
        "aws:secretsmanager/secret:Secret",
        lambda w: {"description": "API key", "kmsKeyId": w.key["arn"], "recoveryWindowInDays": 0},
        lambda w: {"description": "the API key", "tags": {"a": "b"}},
    ),
    Case(
        "aws:secretsmanager/secretVersion:SecretVersion",
        lambda w: {"secretId": w.secret.id, "secretString": "first"},
        gone=False,
    ),
)
