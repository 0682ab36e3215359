"""A bucket's objects copied to a bucket of another region: what is there already is left alone, so it may be cut off.

The bucket of weights takes an object only under a condition (components/registry_policies.py), which CopyObject does
not know: small objects pass this machine, large ones go in parts that S3 copies by itself where it can reach both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.ops.progress import Progress

PART_BYTES = 64 * 2**20
READ_BYTES = 2**20
"""Objects up to this size are compared byte by byte: manifests and pointers, which may change under one name."""
OURS = "moves/"
"""Archives of the database: they are carried by themselves."""


@dataclass(frozen=True)
class Bucket:
    client: Any
    name: str

    def objects(self) -> dict[str, int]:
        """Sizes in bytes, by key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        rows = [row for page in pages for row in page.get("Contents", [])]
        return {row["Key"]: row["Size"] for row in rows if not row["Key"].startswith(OURS)}

    def read(self, key: str, first: int = 0, size: int | None = None) -> bytes:
        span = {"Range": f"bytes={first}-{first + size - 1}"} if size else {}
        return self.client.get_object(Bucket=self.name, Key=key, **span)["Body"].read()

    def version(self, key: str) -> str:
        return self.client.head_object(Bucket=self.name, Key=key)["ETag"]


@dataclass(frozen=True)
class Copied:
    objects: int
    """In the first bucket."""
    bytes: int
    copied: int
    """By this run."""

    def as_dict(self) -> dict[str, int]:
        return {"objects": self.objects, "bytes": self.bytes, "copied": self.copied}


def copy(source: Bucket, target: Bucket, progress: Progress, *, reachable: bool) -> Copied:
    """`reachable`: the target's S3 reaches the source, so that large objects do not pass this machine.

    Raises botocore's errors, and AssertionError never: `missing` says whether all is there.
    """
    there = source.objects()
    todo = list(missing(source, target))
    for number, key in enumerate(todo, 1):
        progress.detail(f"{number} of {len(todo)}: {key}")
        if there[key] > PART_BYTES:
            _in_parts(source, target, key, there[key], reachable=reachable)
        else:
            target.client.put_object(
                Bucket=target.name, Key=key, Body=source.read(key), **_condition(source, target, key)
            )
    return Copied(len(there), sum(there.values()), len(todo))


def missing(source: Bucket, target: Bucket) -> Iterator[str]:
    """Keys that the target lacks, or has otherwise."""
    there = target.objects()
    for key, size in sorted(source.objects().items()):
        if there.get(key) != size or (size <= READ_BYTES and source.read(key) != target.read(key)):
            yield key


def _condition(source: Bucket, target: Bucket, key: str) -> dict[str, str]:
    """What stands there is written over only as it was read."""
    return {"IfMatch": target.version(key)} if key in target.objects() else {"IfNoneMatch": "*"}


def _in_parts(source: Bucket, target: Bucket, key: str, size: int, *, reachable: bool) -> None:
    client, where = target.client, {"Bucket": target.name, "Key": key}
    upload = client.create_multipart_upload(**where)["UploadId"]
    try:
        parts = []
        for number, first in enumerate(range(0, size, PART_BYTES), 1):
            length = min(PART_BYTES, size - first)
            part = {**where, "UploadId": upload, "PartNumber": number}
            if reachable:
                span = f"bytes={first}-{first + length - 1}"
                origin = {"Bucket": source.name, "Key": key}
                done = client.upload_part_copy(**part, CopySource=origin, CopySourceRange=span)["CopyPartResult"]
            else:
                done = client.upload_part(**part, Body=source.read(key, first, length))
            parts.append({"PartNumber": number, "ETag": done["ETag"]})
        client.complete_multipart_upload(
            **where, UploadId=upload, MultipartUpload={"Parts": parts}, **_condition(source, target, key)
        )
    except BaseException:
        client.abort_multipart_upload(**where, UploadId=upload)
        raise
