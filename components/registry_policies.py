"""Who may write versions of models: the bucket's own policy, and the rights of those who add and who evaluate them.

Layout: `infra/ops/registry/manifest.py`. The bucket asks for S3's conditional writes wherever something is written once
or changed by several (S3 user guide, "Enforce conditional writes on Amazon S3 buckets"), whoever writes.
"""

from typing import Any

from components.policies import bucket_over_tls_only, document

VERSIONS = "*/sha256-*/*"
RECORDS = "registry/*/records/*"
MANIFESTS = ("registry/*/versions/*", "registry/*/pointers.json")


def weights_bucket(bucket_arn: str) -> dict[str, Any]:
    """TLS alone; files of a version and records are written once, manifests and pointers never over what was not read.

    Starts and parts of a multipart upload take no condition: they are no object creation.
    """
    created = {"Bool": {"s3:ObjectCreationOperation": "true"}}
    return document(
        *bucket_over_tls_only(bucket_arn)["Statement"],
        {
            "Sid": "VersionsAndRecordsAreWrittenOnce",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": [f"{bucket_arn}/{VERSIONS}", f"{bucket_arn}/{RECORDS}"],
            "Condition": {**created, "Null": {"s3:if-none-match": "true"}},
        },
        {
            "Sid": "ManifestsArePutUnderACondition",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": [f"{bucket_arn}/{each}" for each in MANIFESTS],
            "Condition": {**created, "Null": {"s3:if-none-match": "true", "s3:if-match": "true"}},
        },
    )


def read_models(bucket_arn: str, key_arn: str) -> dict[str, Any]:
    """What the release gate reads: manifests, records, pointers; no weights."""
    return document(
        {
            "Sid": "ListTheRegistry",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket_arn,
            "Condition": {"StringLike": {"s3:prefix": "registry/*"}},
        },
        {
            "Sid": "ReadTheRegistry",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": f"{bucket_arn}/registry/*",
        },
        {"Sid": "DecryptTheRegistry", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": key_arn},
    )


def validate_models(bucket_arn: str, key_arn: str) -> dict[str, Any]:
    """To read the registry and write records: who evaluates can neither add a version nor move a pointer."""
    return document(
        *read_models(bucket_arn, key_arn)["Statement"],
        {
            "Sid": "WriteRecords",
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": f"{bucket_arn}/{RECORDS}",
        },
        {"Sid": "EncryptRecords", "Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": key_arn},
    )


def keep_models(bucket_arn: str, key_arn: str) -> dict[str, Any]:
    """To add, promote and remove versions. Records are read: who adds a version cannot say that it is good."""
    return document(
        {
            "Sid": "ListVersionsAndUploads",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
            "Resource": bucket_arn,
        },
        {
            "Sid": "KeepVersions",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListMultipartUploadParts"],
            "Resource": [f"{bucket_arn}/{VERSIONS}", *(f"{bucket_arn}/{each}" for each in MANIFESTS)],
        },
        {"Sid": "ReadRecords", "Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{bucket_arn}/{RECORDS}"},
        {
            "Sid": "EncryptAndDecrypt",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": key_arn,
        },
    )
