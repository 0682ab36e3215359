"""The bucket that keeps Pulumi's state, and the key that encrypts it and the secrets in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from infra.ops.errors import RefusedError
from infra.ops.setup import documents
from infra.ops.setup.documents import Site
from infra.ops.setup.plan import Change, Cloud

WAITING_DAYS = 30
"""Before a key is gone: the longest that KMS takes."""
NO_BUCKET = ("404", "NoSuchBucket")
NO_KEY = ("NotFoundException",)


def changes(cloud: Cloud, site: Site) -> Iterator[Change]:
    yield from _key(cloud, site)
    yield from _bucket(cloud, site)


def key_arn(cloud: Cloud, site: Site) -> str | None:
    found = cloud.ask("kms", "describe_key", NO_KEY, KeyId=site.key_alias)
    return str(found["KeyMetadata"]["Arn"]) if found else None


def _key(cloud: Cloud, site: Site) -> Iterator[Change]:
    found = cloud.ask("kms", "describe_key", NO_KEY, KeyId=site.key_alias)
    if found is None:
        yield Change(
            "create", "KMS key", site.key_alias, "encrypts the state and its secrets", lambda: _make_key(cloud, site)
        )
        return
    state, key = found["KeyMetadata"]["KeyState"], found["KeyMetadata"]["KeyId"]
    if state != "Enabled":
        yield Change("change", "KMS key", site.key_alias, f"{state}: enable it", lambda: _revive(cloud, key, state))
    rotates = state == "Enabled" and cloud.call("kms", "get_key_rotation_status", KeyId=key)["KeyRotationEnabled"]
    if rotates:
        yield Change("keep", "KMS key", site.key_alias, "rotates once a year")
    else:
        yield Change(
            "change", "KMS key", site.key_alias, "rotate once a year",
            lambda: cloud.call("kms", "enable_key_rotation", KeyId=key),
        )  # fmt: skip


def _make_key(cloud: Cloud, site: Site) -> None:
    """A key of an earlier run that was killed before it got its name is taken up again."""
    key = _nameless(cloud, site) or str(
        cloud.call(
            "kms", "create_key", Description="Pulumi state of penstock", Policy=json.dumps(documents.key_policy(site)),
            Tags=[{"TagKey": name, "TagValue": value} for name, value in site.tags.items()],
        )["KeyMetadata"]["KeyId"]
    )  # fmt: skip
    cloud.call("kms", "enable_key_rotation", KeyId=key)
    cloud.call("kms", "create_alias", AliasName=site.key_alias, TargetKeyId=key)


def _nameless(cloud: Cloud, site: Site) -> str | None:
    wanted = {(name, value) for name, value in site.tags.items()}
    for key in _listed(cloud, "list_keys", "Keys"):
        identity = key["KeyId"]
        meta = cloud.call("kms", "describe_key", KeyId=identity)["KeyMetadata"]
        if meta["KeyManager"] != "CUSTOMER" or meta["KeyState"] != "Enabled":
            continue
        tags = cloud.ask("kms", "list_resource_tags", ("AccessDeniedException",), KeyId=identity) or {"Tags": []}
        if wanted <= {(tag["TagKey"], tag["TagValue"]) for tag in tags["Tags"]}:
            return str(identity)
    return None


def _listed(cloud: Cloud, operation: str, name: str) -> Iterator[dict[str, Any]]:
    reply = cloud.call("kms", operation)
    yield from reply[name]
    while reply.get("Truncated"):
        reply = cloud.call("kms", operation, Marker=reply["NextMarker"])
        yield from reply[name]


def _revive(cloud: Cloud, key: str, state: str) -> None:
    if state == "PendingDeletion":
        cloud.call("kms", "cancel_key_deletion", KeyId=key)
    cloud.call("kms", "enable_key", KeyId=key)


def _bucket(cloud: Cloud, site: Site) -> Iterator[Change]:
    there = _there(cloud, site)
    if not there:
        yield Change("create", "S3 bucket", site.bucket, "keeps the state", lambda: _make_bucket(cloud, site))
    else:
        yield Change("keep", "S3 bucket", site.bucket, "keeps the state")
    for detail, look, operation, wanted in _settings(cloud, site):
        if there and look() == wanted():
            yield Change("keep", "S3 bucket", site.bucket, detail)
        else:
            yield Change("change", "S3 bucket", site.bucket, detail, _setter(cloud, site, operation, wanted))


def _setter(cloud: Cloud, site: Site, operation: str, wanted: Any) -> Any:
    name, argument = operation.split(":")

    def make() -> None:
        value = wanted()
        cloud.call("s3", name, Bucket=site.bucket, **{argument: json.dumps(value) if argument == "Policy" else value})

    return make


def _settings(cloud: Cloud, site: Site) -> Iterator[tuple[str, Any, str, Any]]:
    """(what, how to see it, call and argument that set it, what is wanted), the guards first."""

    def see(operation: str, key: str, *missing: str) -> Any:
        def look() -> Any:
            found = cloud.ask("s3", operation, missing, Bucket=site.bucket)
            return found.get(key) if found else None

        return look

    def policy() -> Any:
        found = see("get_bucket_policy", "Policy", "NoSuchBucketPolicy")()
        return json.loads(found) if found else None

    def versioned() -> Any:
        return {"Status": see("get_bucket_versioning", "Status")()}

    def encrypted() -> Any:
        found = see("get_bucket_encryption", "ServerSideEncryptionConfiguration",
                    "ServerSideEncryptionConfigurationNotFoundError")()  # fmt: skip
        return _trimmed(found, documents.encryption(""))

    def lived() -> Any:
        rules = see("get_bucket_lifecycle_configuration", "Rules", "NoSuchLifecycleConfiguration")()
        return _trimmed({"Rules": rules}, documents.LIFECYCLE) if rules else None

    def tagged() -> Any:
        rows = see("get_bucket_tagging", "TagSet", "NoSuchTagSet")() or []
        return {"TagSet": sorted(rows, key=lambda tag: tag["Key"])}

    tags = {"TagSet": [{"Key": key, "Value": value} for key, value in sorted(site.tags.items())]}
    yield (
        "no public access",
        see("get_public_access_block", "PublicAccessBlockConfiguration", "NoSuchPublicAccessBlockConfiguration"),
        "put_public_access_block:PublicAccessBlockConfiguration",
        lambda: documents.BLOCKED,
    )
    yield (
        "no access control lists",
        see("get_bucket_ownership_controls", "OwnershipControls", "OwnershipControlsNotFoundError"),
        "put_bucket_ownership_controls:OwnershipControls",
        lambda: documents.OWNERSHIP,
    )
    yield "TLS 1.2 or later alone", policy, "put_bucket_policy:Policy", lambda: documents.bucket_policy(site)
    yield (
        "every version is kept", versioned, "put_bucket_versioning:VersioningConfiguration",
        lambda: {"Status": "Enabled"},
    )  # fmt: skip
    yield (
        "encrypted with the key", encrypted, "put_bucket_encryption:ServerSideEncryptionConfiguration",
        lambda: documents.encryption(key_arn(cloud, site) or ""),
    )  # fmt: skip
    yield (
        f"old versions go after {documents.OLD_VERSIONS_DAYS} days",
        lived,
        "put_bucket_lifecycle_configuration:LifecycleConfiguration",
        lambda: documents.LIFECYCLE,
    )
    yield "tags", tagged, "put_bucket_tagging:Tagging", lambda: tags


def _trimmed(found: Any, wanted: Any) -> Any:
    """What AWS adds to a reply is left out: only keys that we set count."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {key: _trimmed(found[key], each) for key, each in wanted.items() if key in found}
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [_trimmed(each, other) for each, other in zip(found, wanted, strict=True)]
    return found


def _there(cloud: Cloud, site: Site) -> bool:
    found = cloud.ask("s3", "head_bucket", NO_BUCKET, Bucket=site.bucket, ExpectedBucketOwner=site.account)
    return found is not None


def _make_bucket(cloud: Cloud, site: Site) -> None:
    place = {} if site.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": site.region}}
    cloud.ask("s3", "create_bucket", ("BucketAlreadyOwnedByYou",), Bucket=site.bucket, **place)


def removals(cloud: Cloud, site: Site) -> Iterator[Change]:
    """Bucket and key, once no stack is in them. Raises RefusedError while this one is."""
    if _there(cloud, site):
        stacks = _stacks(cloud, site)
        if site.stack in stacks:
            raise RefusedError(
                f"{site.bucket} keeps the state of {site.stack}; nothing was removed.",
                f"Destroy and remove it first: `pulumi destroy -s {site.stack}`, `pulumi stack rm {site.stack}`.",
            )
        if stacks:
            kept = f"keeps the state of {', '.join(stacks)}"
            yield Change("keep", "S3 bucket", site.bucket, kept)
            yield Change("keep", "KMS key", site.key_alias, kept)
            return
        yield Change(
            "delete", "S3 bucket", site.bucket, "no stack is in it; old versions go", lambda: _empty(cloud, site)
        )
    key = cloud.ask("kms", "describe_key", NO_KEY, KeyId=site.key_alias)
    if key:
        identity, state = key["KeyMetadata"]["KeyId"], key["KeyMetadata"]["KeyState"]
        yield Change(
            "delete", "KMS key", site.key_alias, f"can be taken back for {WAITING_DAYS} days",
            lambda: _bury(cloud, site, identity, state),
        )  # fmt: skip


def _stacks(cloud: Cloud, site: Site) -> list[str]:
    found = cloud.call("s3", "list_objects_v2", Bucket=site.bucket, Prefix=".pulumi/stacks/")
    names = [each["Key"].rsplit("/", 1)[-1] for each in found.get("Contents", [])]
    return sorted({name.partition(".json")[0] for name in names if ".json" in name and not name.endswith(".bak")})


def _empty(cloud: Cloud, site: Site) -> None:
    while True:
        page = cloud.call("s3", "list_object_versions", Bucket=site.bucket)
        rows = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not rows:
            break
        objects = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
        cloud.call("s3", "delete_objects", Bucket=site.bucket, Delete={"Objects": objects, "Quiet": True})
    cloud.call("s3", "delete_bucket", Bucket=site.bucket)


def _bury(cloud: Cloud, site: Site, identity: str, state: str) -> None:
    if state != "PendingDeletion":
        cloud.call("kms", "schedule_key_deletion", KeyId=identity, PendingWindowInDays=WAITING_DAYS)
    cloud.call("kms", "delete_alias", AliasName=site.key_alias)
