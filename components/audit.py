"""What a later inquiry needs: the trail of all calls to AWS, and who asked the load balancer and the buckets."""

from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components import log_policies
from components.arns import supported
from components.buckets import private_bucket

EDGE_PREFIX, WEIGHTS_PREFIX = "edge", "weights"


class AccessLogsArgs(TypedDict):
    account_id: str
    days: int
    """How many days a log is kept."""
    protected: bool
    """Refuses to delete the bucket; without it a destroy empties and deletes it."""


class AccessLogs(pulumi.ComponentResource):
    """The bucket for access logs of the load balancer and of buckets. Both write only where S3's own key encrypts."""

    bucket: pulumi.Output[str]
    """The bucket's name; whoever waits for it may have logs written."""

    def __init__(self, name: str, args: AccessLogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:AccessLogs", name, None, opts)
        account = args["account_id"]
        made = private_bucket(
            self,
            name,
            protected=args["protected"],
            policy=lambda arn: log_policies.access_log_bucket(arn, account, EDGE_PREFIX, WEIGHTS_PREFIX),
            key_arn=None,
            rule="retention",
            days=args["days"],
            old_version_days=args["days"],
        )
        self.bucket = pulumi.Output.all(made.bucket.bucket, made.policy.id).apply(lambda parts: parts[0])
        self.register_outputs({"bucket": self.bucket})


class AuditTrailArgs(TypedDict):
    partition: str
    region: str
    account_id: str
    trail_name: str
    """Physical name of the trail: its bucket's policy names it before it is there."""
    key_arn: pulumi.Input[str]
    """KMS key that encrypts the trail's files; CloudTrail must be allowed to use it (`audit` of `DataKeys`)."""
    days: int
    """How many days a file of the trail is kept."""
    protected: bool
    """Refuses to delete the trail and its bucket; without it a destroy empties and deletes the bucket."""


class AuditTrail(pulumi.ComponentResource):
    """CloudTrail of every region, with digests that show a changed file, in an encrypted bucket of its own."""

    trail_arn: pulumi.Output[str]
    """ARN of the trail, known once its bucket takes its files."""
    bucket: pulumi.Output[str]
    """Name of the bucket; its files lie under `AWSLogs/<account>/`."""

    def __init__(self, name: str, args: AuditTrailArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:AuditTrail", name, None, opts)
        partition, account = supported(args["partition"]), args["account_id"]
        # Known before the trail is: the bucket's policy must let it write from the first moment.
        arn = trail_arn(partition, args["region"], account, args["trail_name"])
        made = private_bucket(
            self,
            name,
            protected=args["protected"],
            policy=lambda bucket_arn: log_policies.trail_bucket(bucket_arn, arn, account),
            key_arn=args["key_arn"],
            rule="retention",
            days=args["days"],
            # What was overwritten or deleted before its time stays as long as the rest.
            old_version_days=args["days"],
        )
        trail = aws.cloudtrail.Trail(
            name,
            name=args["trail_name"],
            s3_bucket_name=made.bucket.bucket,
            kms_key_id=args["key_arn"],
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[made.policy], protect=args["protected"]),
        )
        self.trail_arn = trail.arn
        self.bucket = made.bucket.bucket
        self.register_outputs({"trailArn": self.trail_arn, "bucket": self.bucket})


def trail_arn(partition: str, region: str, account: str, trail: str) -> str:
    return f"arn:{partition}:cloudtrail:{region}:{account}:trail/{trail}"
