"""From an operation of an AWS API, as boto3 names it, to the IAM action that it needs."""

from __future__ import annotations

PREFIXES = {"elbv2": "elasticloadbalancing", "amp": "aps"}
"""Where IAM names a service otherwise than boto3."""

EXACT = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:DeleteBucketTagging": "s3:PutBucketTagging",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:PutBucketReplication": "s3:PutReplicationConfiguration",
    "s3:DeleteBucketReplication": "s3:PutReplicationConfiguration",
    "s3:DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
}
"""Operations whose action has another name (S3 user guide, "Required permissions for Amazon S3 API operations")."""


def iam_action(operation: str) -> str:
    """`elbv2:CreateRule` -> `elasticloadbalancing:CreateRule`."""
    service, name = operation.split(":")
    if service == "budgets" and "Tag" not in name:
        return "budgets:ViewBudget" if name.startswith("Describe") else "budgets:ModifyBudget"
    return EXACT.get(operation, f"{PREFIXES.get(service, service)}:{name}")
