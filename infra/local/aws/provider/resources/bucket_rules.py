"""aws:s3: a bucket's lifecycle and access log, as resources of their own."""

from __future__ import annotations

from infra.local.aws.provider.resources.storage import setting
from infra.local.aws.provider.row import Scope
from infra.local.aws.provider.schema import block, block_set, flag, integer, text
from infra.local.aws.provider.values import Values

TRANSITION = {"days": integer(), "date": text(), "storageClass": text(required=True)}
NONCURRENT_TRANSITION = {
    "noncurrentDays": integer(required=True),
    "newerNoncurrentVersions": integer(),
    "storageClass": text(required=True),
}

LIFECYCLE = setting(
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    {
        "rules": block_set(
            {
                "id": text("ID", required=True),
                "status": text(required=True),
                "filter": block({"prefix": text()}),
                "abortIncompleteMultipartUpload": block({"daysAfterInitiation": integer()}),
                "expiration": block({"days": integer(), "date": text(), "expiredObjectDeleteMarker": flag()}),
                "noncurrentVersionExpiration": block(
                    {"noncurrentDays": integer(required=True), "newerNoncurrentVersions": integer()}
                ),
                "transitions": block_set(TRANSITION),
                "noncurrentVersionTransitions": block_set(NONCURRENT_TRANSITION),
            },
            "LifecycleConfiguration.Rules",
            reply="Rules",
            required=True,
        )
    },
    put="put_bucket_lifecycle_configuration",
    find=lambda scope, bucket, state: scope.api.get_bucket_lifecycle_configuration(Bucket=bucket),
    delete=lambda scope, bucket, state: scope.api.delete_bucket_lifecycle(Bucket=bucket),
)


def _find_logging(scope: Scope, bucket: str, state: Values) -> Values | None:
    return scope.api.get_bucket_logging(Bucket=bucket).get("LoggingEnabled")


LOGGING = setting(
    "aws:s3/bucketLogging:BucketLogging",
    {
        "targetBucket": text("BucketLoggingStatus.LoggingEnabled.TargetBucket", reply="TargetBucket", required=True),
        "targetPrefix": text("BucketLoggingStatus.LoggingEnabled.TargetPrefix", reply="TargetPrefix", required=True),
    },
    put="put_bucket_logging",
    find=_find_logging,
    delete=lambda scope, bucket, state: scope.api.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={}),
)

STATUS = {"status": text(required=True)}


def _find_replication(scope: Scope, bucket: str, state: Values) -> Values | None:
    return scope.api.get_bucket_replication(Bucket=bucket).get("ReplicationConfiguration")


REPLICATION = setting(
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig",
    {
        "role": text("ReplicationConfiguration.Role", reply="Role", required=True),
        "rules": block_set(
            {
                "id": text("ID", required=True),
                "status": text(required=True),
                "priority": integer(),
                "filter": block({"prefix": text()}),
                "deleteMarkerReplication": block(STATUS),
                "sourceSelectionCriteria": block({"sseKmsEncryptedObjects": block(STATUS)}),
                "destination": block(
                    {
                        "bucket": text(required=True),
                        "storageClass": text(),
                        "account": text(),
                        "encryptionConfiguration": block({"replicaKmsKeyId": text("ReplicaKmsKeyID", required=True)}),
                    },
                    required=True,
                ),
            },
            "ReplicationConfiguration.Rules",
            reply="Rules",
            required=True,
        ),
    },
    put="put_bucket_replication",
    find=_find_replication,
    delete=lambda scope, bucket, state: scope.api.delete_bucket_replication(Bucket=bucket),
)

ROWS = (LIFECYCLE, LOGGING, REPLICATION)
