"""IAM and bucket documents of what stands before the first deployment. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GITHUB = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
PROJECT = "penstock"
Document = dict[str, Any]


@dataclass(frozen=True)
class Site:
    """Where the setup lives. One bucket, key and provider for an account and region; two roles for a stack."""

    partition: str
    account: str
    region: str
    stack: str
    repository: str | None

    @property
    def bucket(self) -> str:
        return f"penstock-state-{self.account}-{self.region}"

    @property
    def key_alias(self) -> str:
        return "alias/penstock-state"

    @property
    def backend(self) -> str:
        return f"s3://{self.bucket}?region={self.region}"

    @property
    def secrets_provider(self) -> str:
        return f"awskms://{self.key_alias}?region={self.region}"

    @property
    def provider_arn(self) -> str:
        return f"arn:{self.partition}:iam::{self.account}:oidc-provider/{GITHUB}"

    def policy_arn(self, name: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:policy/{name}"

    @property
    def boundary_arn(self) -> str:
        """Of the permissions boundary that `penstock init --own-boundary` makes."""
        return self.policy_arn(f"penstock-boundary-{self.stack}")

    @property
    def tags(self) -> dict[str, str]:
        return {"project": PROJECT, "purpose": "setup"}


def _document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def bucket_policy(site: Site) -> Document:
    """TLS alone, and of this account alone."""
    arn = f"arn:{site.partition}:s3:::{site.bucket}"
    everything = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    return _document(
        {"Sid": "TlsOnly", **everything, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "Tls12", **everything, "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}},
    )


def key_policy(site: Site) -> Document:
    """The account's IAM policies decide, as the roles' own name the key."""
    root = f"arn:{site.partition}:iam::{site.account}:root"
    return _document(
        {"Sid": "Account", "Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"}
    )


def trust(site: Site, environment: str) -> Document:
    """One environment of one repository; a branch or a pull request without it gets nothing."""
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": site.provider_arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    f"{GITHUB}:aud": AUDIENCE,
                    f"{GITHUB}:sub": f"repo:{site.repository}:environment:{environment}",
                }
            },
        }
    )


def state_access(site: Site, key_arn: str, *, write: bool) -> Document:
    """This stack's part of the state. The reading role writes locks alone, which a refresh takes."""
    bucket = f"arn:{site.partition}:s3:::{site.bucket}"
    stack = f"{PROJECT}/{site.stack}"
    own = [f"{bucket}/.pulumi/{kind}/{stack}{end}" for kind in ("stacks",) for end in (".json*", "/*")]
    own += [f"{bucket}/.pulumi/{kind}/{stack}/*" for kind in ("history", "backups")]
    locks = f"{bucket}/.pulumi/locks/organization/{stack}/*"
    meta = f"{bucket}/.pulumi/meta.yaml"
    statements: list[Document] = [
        {"Sid": "List", "Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:ListBucket"], "Resource": bucket},
        {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": [*own, locks, meta]},
        {
            "Sid": "Lock",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:DeleteObject"],
            "Resource": [*own, locks, meta] if write else [locks],
        },
        {
            "Sid": "Key",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey", *(["kms:Encrypt"] if write else [])],
            "Resource": key_arn,
        },
    ]
    return _document(*statements)


ENCRYPTION = "aws:kms"
OLD_VERSIONS_DAYS = 90
"""A state that was written over can be taken back so long."""
UNFINISHED_DAYS = 7


def encryption(key_arn: str) -> Document:
    rule = {"SSEAlgorithm": ENCRYPTION, "KMSMasterKeyID": key_arn}
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": rule, "BucketKeyEnabled": True}]}


LIFECYCLE: Document = {
    "Rules": [
        {
            "ID": "old-versions",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_VERSIONS_DAYS},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
        }
    ]
}
BLOCKED = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
OWNERSHIP: Document = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
