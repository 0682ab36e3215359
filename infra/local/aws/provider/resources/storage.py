"""aws:s3: bucket, and its settings as resources of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.aws.provider.row import GONE, Delete, Find, Naming, Row, Scope, Tagging
from infra.local.aws.provider.schema import Property, block, block_set, document, flag, out, same_name, text
from infra.local.aws.provider.values import Values


@dataclass(frozen=True)
class BucketTagging(Tagging):
    """S3 replaces a bucket's tags as a whole."""

    def change(self, client: Any, subject: str, live: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        if wanted:
            client.put_bucket_tagging(Bucket=subject, Tagging={"TagSet": self.encode(wanted)})
        else:
            client.delete_bucket_tagging(Bucket=subject)


S3_TAGS = BucketTagging(put="", remove="", subject="Bucket", arn=False)

# Where the website and alias records of a bucket point: AWS General Reference, Amazon S3 endpoints.
HOSTED_ZONES = {"eu-central-1": "Z21DNDUVLTQW6Q", "eu-west-1": "Z1BKCTXD74EZPE", "us-east-1": "Z3AQBSTGFYJSTF"}


def _create_bucket(scope: Scope, values: Values) -> str:
    place: Values = {}
    if scope.region != "us-east-1":  # the one region that must not be named
        place = {"CreateBucketConfiguration": {"LocationConstraint": scope.region}}
    locked = bool(values.get("objectLockEnabled"))
    scope.api.create_bucket(Bucket=values["bucket"], ObjectLockEnabledForBucket=locked, **place)
    return values["bucket"]


def _settle_bucket(scope: Scope, bucket: str, values: Values) -> None:
    if values.get("tagsAll"):
        S3_TAGS.change(scope.api, bucket, {}, values["tagsAll"])


def _find_bucket(scope: Scope, bucket: str, state: Values) -> Values | None:
    scope.api.get_bucket_location(Bucket=bucket)
    return {"Bucket": bucket}


def _bucket_outputs(scope: Scope, bucket: str, raw: Values, state: Values) -> Values:
    tags = _optional(lambda: scope.api.get_bucket_tagging(Bucket=bucket)["TagSet"]) or []
    lock = _optional(lambda: scope.api.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"])
    return {
        "arn": scope.arn("s3", bucket, region=False, account=False),
        "bucketDomainName": f"{bucket}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{bucket}.s3.{scope.region}.amazonaws.com",
        "bucketRegion": scope.region,
        "hostedZoneId": HOSTED_ZONES.get(scope.region),
        "objectLockEnabled": bool(lock),
        "tagsAll": S3_TAGS.decode(tags),
    }


def _optional(call: Any) -> Any:
    """The call's result, or None where S3 says that the bucket has no such setting."""
    from botocore.exceptions import ClientError

    try:
        return call()
    except ClientError as error:
        if GONE.search(error.response["Error"]["Code"]) and error.response["Error"]["Code"] != "NoSuchBucket":
            return None
        raise


def _delete_bucket(scope: Scope, bucket: str, state: Values) -> None:
    if state.get("forceDestroy"):
        for page in scope.api.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            keys = [{"Key": it["Key"], "VersionId": it["VersionId"]} for it in found]
            if keys:
                scope.api.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    scope.api.delete_bucket(Bucket=bucket)


BUCKET = Row(
    kind="aws:s3/bucket:Bucket",
    service="s3",
    fields={
        "bucket": text(replace=True),
        "bucketPrefix": text(False, replace=True, write_only=True),
        "forceDestroy": flag(False, default=False, write_only=True),
        "objectLockEnabled": flag(False, default=False, replace=True),
        "arn": out(text(False)),
        "bucketDomainName": out(text(False)),
        "bucketRegionalDomainName": out(text(False)),
        "bucketRegion": out(text(False)),
        "hostedZoneId": out(text(False)),
    },
    create=_create_bucket,
    settle=_settle_bucket,
    find=_find_bucket,
    derive=_bucket_outputs,
    delete=_delete_bucket,
    tagging=S3_TAGS,
    naming=Naming(field="bucket", limit=63, lower=True, prefix_field="bucketPrefix"),
)


def setting(kind: str, fields: Mapping[str, Property], put: str, find: Find, delete: Delete, wrap: str = "") -> Row:
    """A setting of a bucket, which one call puts as a whole: its id is the bucket's name. `wrap` is the call's field
    that holds the setting."""

    def write(scope: Scope, values: Values) -> str:
        asked = scope.request(values)
        bucket = asked.pop("Bucket")
        getattr(scope.api, put)(Bucket=bucket, **({wrap: asked} if wrap else asked))
        return bucket

    def update(scope: Scope, bucket: str, values: Values, changed: frozenset[str]) -> None:
        write(scope, values)

    def found(scope: Scope, bucket: str, state: Values) -> Values | None:
        content = find(scope, bucket, state)
        return None if content is None else {**content, "Bucket": bucket}

    return Row(
        kind=kind,
        service="s3",
        fields={"bucket": text(required=True, replace=True), **fields},
        create=write,
        find=found,
        update=update,
        delete=delete,
        delete_before_replace=True,
    )


def _find_versioning(scope: Scope, bucket: str, state: Values) -> Values | None:
    live = scope.api.get_bucket_versioning(Bucket=bucket)
    status = live.get("Status") or "Disabled"
    return {"VersioningConfiguration": {"Status": status, "MFADelete": live.get("MFADelete")}}


def _suspend_versioning(scope: Scope, bucket: str, state: Values) -> None:
    if (state.get("versioningConfiguration") or {}).get("status") == "Enabled":
        scope.api.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


VERSIONING = setting(
    "aws:s3/bucketVersioning:BucketVersioning",
    {
        "versioningConfiguration": block(
            {"status": text(required=True), "mfaDelete": text("MFADelete", computed=True)}, required=True
        )
    },
    put="put_bucket_versioning",
    find=_find_versioning,
    delete=_suspend_versioning,
)

ENCRYPTION = setting(
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    {
        "rules": block_set(
            {
                "applyServerSideEncryptionByDefault": block(
                    {
                        "sseAlgorithm": text("SSEAlgorithm", required=True),
                        "kmsMasterKeyId": text("KMSMasterKeyID", same=same_name),
                    }
                ),
                "bucketKeyEnabled": flag(),
            },
            "ServerSideEncryptionConfiguration.Rules",
            required=True,
        )
    },
    put="put_bucket_encryption",
    find=lambda scope, bucket, state: scope.api.get_bucket_encryption(Bucket=bucket),
    delete=lambda scope, bucket, state: scope.api.delete_bucket_encryption(Bucket=bucket),
)

PUBLIC_ACCESS = setting(
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    {
        "blockPublicAcls": flag(default=False),
        "blockPublicPolicy": flag(default=False),
        "ignorePublicAcls": flag(default=False),
        "restrictPublicBuckets": flag(default=False),
        "skipDestroy": flag(False, write_only=True),
    },
    put="put_public_access_block",
    find=lambda scope, bucket, state: scope.api.get_public_access_block(Bucket=bucket)[
        "PublicAccessBlockConfiguration"
    ],
    delete=lambda scope, bucket, state: (
        None if state.get("skipDestroy") else scope.api.delete_public_access_block(Bucket=bucket)
    ),
    wrap="PublicAccessBlockConfiguration",
)

POLICY = setting(
    "aws:s3/bucketPolicy:BucketPolicy",
    {"policy": document(required=True)},
    put="put_bucket_policy",
    find=lambda scope, bucket, state: scope.api.get_bucket_policy(Bucket=bucket),
    delete=lambda scope, bucket, state: scope.api.delete_bucket_policy(Bucket=bucket),
)

ROWS = (BUCKET, VERSIONING, ENCRYPTION, PUBLIC_ACCESS, POLICY)
