"""What a later inquiry needs: the trail of all calls to AWS, and who asked the load balancer and the buckets."""

from collections.abc import Callable
from typing import Any, TypedDict

import pulumi
import pulumi_aws as aws

from components import log_policies, policies
from components.options import stateful

EDGE_PREFIX, WEIGHTS_PREFIX = "edge", "weights"
UNFINISHED_UPLOAD_DAYS = 7


class AccessLogsArgs(TypedDict):
    account_id: str
    days: int
    """How long a log is kept."""
    protected: bool


class AccessLogs(pulumi.ComponentResource):
    """The bucket for access logs of the load balancer and of buckets. Both write only where S3's own key encrypts."""

    bucket: pulumi.Output[str]
    """The bucket's name; whoever waits for it may have logs written."""

    def __init__(self, name: str, args: AccessLogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:AccessLogs", name, None, opts)
        account = args["account_id"]
        bucket, allowed = _log_bucket(
            self,
            name,
            policy=lambda arn: log_policies.access_log_bucket(arn, account, EDGE_PREFIX, WEIGHTS_PREFIX),
            encryption={"sse_algorithm": "AES256"},
            days=args["days"],
            protected=args["protected"],
        )
        self.bucket = pulumi.Output.all(bucket.bucket, allowed.id).apply(lambda parts: parts[0])
        self.register_outputs({"bucket": self.bucket})


class AuditTrailArgs(TypedDict):
    partition: str
    region: str
    account_id: str
    trail_name: str
    key_arn: pulumi.Input[str]
    days: int
    """How long a file of the trail is kept."""
    protected: bool


class AuditTrail(pulumi.ComponentResource):
    """CloudTrail of every region, with digests that show a changed file, in an encrypted bucket of its own."""

    trail_arn: pulumi.Output[str]
    bucket: pulumi.Output[str]

    def __init__(self, name: str, args: AuditTrailArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:AuditTrail", name, None, opts)
        account = args["account_id"]
        # Known before the trail is: the bucket's policy must let it write from the first moment.
        arn = trail_arn(args["partition"], args["region"], account, args["trail_name"])
        bucket, allowed = _log_bucket(
            self,
            name,
            policy=lambda bucket_arn: log_policies.trail_bucket(bucket_arn, arn, account),
            encryption={"sse_algorithm": "aws:kms", "kms_master_key_id": args["key_arn"]},
            days=args["days"],
            protected=args["protected"],
        )
        trail = aws.cloudtrail.Trail(
            name,
            name=args["trail_name"],
            s3_bucket_name=bucket.bucket,
            kms_key_id=args["key_arn"],
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[allowed]),
        )
        self.trail_arn = trail.arn
        self.bucket = bucket.bucket
        self.register_outputs({"trailArn": self.trail_arn, "bucket": self.bucket})


def trail_arn(partition: str, region: str, account: str, trail: str) -> str:
    return f"arn:{partition}:cloudtrail:{region}:{account}:trail/{trail}"


def _log_bucket(
    parent: pulumi.Resource,
    name: str,
    *,
    policy: Callable[[str], dict[str, Any]],
    encryption: "aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgsDict",
    days: int,
    protected: bool,
) -> tuple[aws.s3.Bucket, aws.s3.BucketPolicy]:
    """A private bucket over TLS alone whose files go after `days`. Returns it with the policy that lets logs in."""
    child = pulumi.ResourceOptions(parent=parent)
    # A new name is a new, empty bucket.
    bucket = aws.s3.Bucket(name, force_destroy=not protected, opts=stateful(parent, protected))
    versioning = aws.s3.BucketVersioning(
        name, bucket=bucket.bucket, versioning_configuration={"status": "Enabled"}, opts=child
    )
    aws.s3.BucketServerSideEncryptionConfiguration(
        name,
        bucket=bucket.bucket,
        rules=[{"apply_server_side_encryption_by_default": encryption, "bucket_key_enabled": True}],
        opts=child,
    )
    private = aws.s3.BucketPublicAccessBlock(
        name,
        bucket=bucket.bucket,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=child,
    )
    allowed = aws.s3.BucketPolicy(
        name,
        bucket=bucket.bucket,
        policy=bucket.arn.apply(lambda arn: policies.dumps(policy(arn))),
        # S3 refuses two changes of a bucket's access at the same time.
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[private]),
    )
    aws.s3.BucketLifecycleConfiguration(
        name,
        bucket=bucket.bucket,
        rules=[
            {
                "id": "retention",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "expiration": {"days": days},
                # What was overwritten or deleted before its time stays as long as the rest.
                "noncurrent_version_expiration": {"noncurrent_days": days},
                "abort_incomplete_multipart_upload": {"days_after_initiation": UNFINISHED_UPLOAD_DAYS},
            }
        ],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[versioning]),
    )
    return bucket, allowed
