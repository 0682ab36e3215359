"""The one way in which a bucket is made here: private, TLS only, versioned, encrypted, with an end to what is old."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import policies
from components.options import stateful

UNFINISHED_UPLOAD_DAYS = 7
"""Parts of an upload that never ended are paid for and shown nowhere."""


@dataclass(frozen=True)
class PrivateBucket:
    bucket: aws.s3.Bucket
    versioning: aws.s3.BucketVersioning
    policy: aws.s3.BucketPolicy


def private_bucket(
    parent: pulumi.Resource,
    name: str,
    *,
    protected: bool,
    policy: Callable[[str], dict[str, Any]] = policies.bucket_over_tls_only,
    key_arn: pulumi.Input[str] | None,
    rule: str,
    old_version_days: int,
    days: int | None = None,
    region: str | None = None,
) -> PrivateBucket:
    """`policy` makes the bucket's document from its ARN. Without `key_arn` S3's own key encrypts. `rule` is the
    lifecycle rule's id; files go after `days` (None: never), what was overwritten or deleted after `old_version_days`.
    `region`: another one than the provider's."""
    child = pulumi.ResourceOptions(parent=parent)
    # A new name is a new, empty bucket.
    bucket = aws.s3.Bucket(name, force_destroy=not protected, region=region, opts=stateful(parent, protected))
    versioning = aws.s3.BucketVersioning(
        name, bucket=bucket.bucket, versioning_configuration={"status": "Enabled"}, region=region, opts=child
    )
    aws.s3.BucketServerSideEncryptionConfiguration(
        name,
        bucket=bucket.bucket,
        rules=[
            {
                "apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key_arn}
                if key_arn is not None
                else {"sse_algorithm": "AES256"},
                # Fewer KMS calls: engines of a whole fleet start at once.
                "bucket_key_enabled": True,
            }
        ],
        region=region,
        opts=child,
    )
    private = aws.s3.BucketPublicAccessBlock(
        name,
        bucket=bucket.bucket,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        region=region,
        opts=child,
    )
    allowed = aws.s3.BucketPolicy(
        name,
        bucket=bucket.bucket,
        policy=bucket.arn.apply(lambda arn: policies.dumps(policy(arn))),
        region=region,
        # S3 refuses two changes of a bucket's access at the same time.
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[private]),
    )
    aws.s3.BucketLifecycleConfiguration(
        name,
        bucket=bucket.bucket,
        rules=lifecycle(rule, days, old_version_days),
        region=region,
        # S3 judges what is not current only where versions are kept.
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[versioning]),
    )
    return PrivateBucket(bucket, versioning, allowed)


def lifecycle(
    rule: str, days: int | None, old_version_days: int
) -> "Sequence[aws.s3.BucketLifecycleConfigurationRuleArgsDict]":
    return [
        {
            "id": rule,
            "status": "Enabled",
            "filter": {"prefix": ""},
            **({"expiration": {"days": days}} if days is not None else {}),
            "noncurrent_version_expiration": {"noncurrent_days": old_version_days},
            "abort_incomplete_multipart_upload": {"days_after_initiation": UNFINISHED_UPLOAD_DAYS},
        }
    ]
