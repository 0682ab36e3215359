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

ROWS = (LIFECYCLE, LOGGING)
