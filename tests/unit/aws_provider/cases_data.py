"""Life cycles of what keeps data: keys, buckets, image repositories, caches, databases."""

from __future__ import annotations

import json

from tests.unit.aws_provider.cases import Case, policy


def key_policy(*extra: str) -> str:
    return policy("kms:*", *extra, principal="arn:aws:iam::123456789012:root")


def lifecycle(count: int) -> str:
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count}
    return json.dumps({"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]})


DATA_CASES = (
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
)
