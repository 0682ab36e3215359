"""Who may write the logs of the network and of the account: policies as plain documents. Pure functions."""

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


def trail_may_encrypt(partition: str, region: str, account: str) -> Statement:
    """For the key of a trail's bucket: CloudTrail makes a data key for each file of a trail of the account."""
    return {
        "Sid": "CloudTrailEncrypts",
        "Effect": "Allow",
        "Principal": {"Service": TRAIL},
        "Action": ["kms:GenerateDataKey*", "kms:DescribeKey"],
        "Resource": "*",
        "Condition": {
            "ArnLike": {"aws:SourceArn": f"arn:{partition}:cloudtrail:{region}:{account}:trail/*"},
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


def access_log_bucket(bucket_arn: str, account: str, edge_prefix: str, weights_prefix: str) -> dict[str, Any]:
    """Load balancers and buckets of the account write, each under its prefix and nowhere else."""
    return document(
        {
            "Sid": "LoadBalancersWrite",
            "Effect": "Allow",
            "Principal": {"Service": LOAD_BALANCER_LOGS},
            "Action": "s3:PutObject",
            # The service puts the account of the load balancer into the path, and no other.
            "Resource": f"{bucket_arn}/{edge_prefix}/AWSLogs/{account}/*",
        },
        {
            "Sid": "BucketsWrite",
            "Effect": "Allow",
            "Principal": {"Service": S3_LOGS},
            "Action": "s3:PutObject",
            "Resource": f"{bucket_arn}/{weights_prefix}/*",
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        },
        *bucket_over_tls_only(bucket_arn)["Statement"],
    )
