"""Who may write the logs of the network and of the account: policies as plain documents. Pure functions."""

from collections.abc import Sequence
from typing import Any

from components.policies import Statement, bucket_over_tls_only, document

LOAD_BALANCER_LOGS = "logdelivery.elasticloadbalancing.amazonaws.com"
S3_LOGS = "logging.s3.amazonaws.com"
TRAIL = "cloudtrail.amazonaws.com"


def write_flow_logs(group_arn: str) -> dict[str, Any]:
    """The actions that VPC flow logs ask for, less making groups: the group is there, with its key and retention."""
    all_groups = group_arn.partition(":log-group:")[0] + ":log-group:*"
    return document(
        {
            "Sid": "WriteFlowLogs",
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
            "Resource": f"{group_arn}:*",
        },
        {"Sid": "FindTheGroup", "Effect": "Allow", "Action": "logs:DescribeLogGroups", "Resource": all_groups},
    )


def trail_may_encrypt(trail_arn: str, account: str) -> Statement:
    """For the key of the trail's bucket: CloudTrail makes a data key for each file, for this one trail."""
    partition = trail_arn.split(":")[1]
    return {
        "Sid": "CloudTrailEncrypts",
        "Effect": "Allow",
        "Principal": {"Service": TRAIL},
        "Action": ["kms:GenerateDataKey*", "kms:DescribeKey"],
        "Resource": "*",
        "Condition": {
            "StringEquals": {"aws:SourceArn": trail_arn},
            "StringLike": {
                "kms:EncryptionContext:aws:cloudtrail:arn": f"arn:{partition}:cloudtrail:*:{account}:trail/*"
            },
        },
    }


def trail_bucket(bucket_arn: str, trail_arn: str, account: str) -> dict[str, Any]:
    """One trail writes, nobody reads in plain text."""
    only = {"aws:SourceArn": trail_arn}
    return document(
        {
            "Sid": "TrailLooks",
            "Effect": "Allow",
            "Principal": {"Service": TRAIL},
            "Action": "s3:GetBucketAcl",
            "Resource": bucket_arn,
            "Condition": {"StringEquals": only},
        },
        {
            "Sid": "TrailWrites",
            "Effect": "Allow",
            "Principal": {"Service": TRAIL},
            "Action": "s3:PutObject",
            "Resource": f"{bucket_arn}/AWSLogs/{account}/*",
            "Condition": {"StringEquals": {**only, "s3:x-amz-acl": "bucket-owner-full-control"}},
        },
        *bucket_over_tls_only(bucket_arn)["Statement"],
    )


def access_log_bucket(bucket_arn: str, account: str, prefixes: Sequence[str]) -> dict[str, Any]:
    """Load balancers and buckets of the account write under these prefixes, and nowhere else."""
    return document(
        {
            "Sid": "AccessLogsArrive",
            "Effect": "Allow",
            "Principal": {"Service": [LOAD_BALANCER_LOGS, S3_LOGS]},
            "Action": "s3:PutObject",
            "Resource": [f"{bucket_arn}/{prefix}/*" for prefix in prefixes],
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        },
        *bucket_over_tls_only(bucket_arn)["Statement"],
    )
