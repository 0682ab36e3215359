"""Files into the bucket: in parts, with a SHA-256 that S3 checks, taken up again after any interruption.

What is there already is found out from S3 alone, so another process or machine goes on where one was killed: whole
files by their checksum, parts of an unfinished upload by theirs. A file lies under its version's digest and is written
once, by `If-None-Match`.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.ops.errors import PenstockError
from infra.ops.registry.manifest import File
from infra.ops.registry.store import ABSENT, LOST, Bucket, code_of

PART_BYTES = 64 << 20
MOST_PARTS = 10_000
"""S3's limit."""
CHUNK_BYTES = 4 << 20
SIDE_BY_SIDE = 4
"""Parts; each is held in memory."""
METADATA = "sha256"
"""Of the whole file: S3's own checksum of a file in parts is one over the parts' checksums."""


@dataclass(frozen=True)
class Measured:
    """A local file with the digests that S3 has to confirm."""

    file: File
    path: Path
    part_bytes: int
    parts: tuple[bytes, ...]
    """SHA-256 of each part; one for a file that goes in one piece."""

    @property
    def checksum(self) -> str:
        """As S3 tells it: of the bytes, or of the parts' digests with their number."""
        if len(self.parts) == 1:
            return _text(self.parts[0])
        return f"{_text(hashlib.sha256(b''.join(self.parts)).digest())}-{len(self.parts)}"

    def part(self, number: int) -> bytes:
        """The bytes of a part, counted from 1. Raises PenstockError where they are not what was measured."""
        with self.path.open("rb") as file:
            file.seek((number - 1) * self.part_bytes)
            content = file.read(self.part_bytes)
        if hashlib.sha256(content).digest() != self.parts[number - 1]:
            raise PenstockError(f"{self.file.path} changed while it was read.", "Add it again once nothing writes it.")
        return content


def part_bytes_for(size: int, least: int = PART_BYTES) -> int:
    """The same for the same size, for the checksum depends on it."""
    return max(least, math.ceil(size / MOST_PARTS))


def measure(name: str, path: Path, read: Callable[[int], None], least: int = PART_BYTES) -> Measured:
    """Reads the file once. `read` is told of each piece's bytes."""
    part_bytes = part_bytes_for(path.stat().st_size, least)
    whole, parts, size = hashlib.sha256(), list[bytes](), 0
    part, room = hashlib.sha256(), part_bytes
    with path.open("rb") as file:
        while content := file.read(min(CHUNK_BYTES, room)):
            whole.update(content)
            part.update(content)
            size, room = size + len(content), room - len(content)
            read(len(content))
            if room == 0:
                parts.append(part.digest())
                part, room = hashlib.sha256(), part_bytes
    if room < part_bytes or not parts:
        parts.append(part.digest())
    return Measured(File(name, size, whole.hexdigest()), path, part_bytes, tuple(parts))


@dataclass(frozen=True)
class Uploader:
    """`sent` is told of bytes that S3 has, also of those that it had before."""

    bucket: Bucket
    sent: Callable[[int], None]

    def put(self, key: str, measured: Measured) -> bool:
        """Sees to it that S3 has the file; False where it had it. Raises PenstockError, botocore's errors."""
        problem = self.fault(key, measured)
        if problem == "":
            self.sent(measured.file.size)
            return False
        if problem is not None:
            raise PenstockError(
                f"s3://{self.bucket.name}/{key} is there and {problem}.", "`penstock model remove` clears it away."
            )
        try:
            if len(measured.parts) == 1:
                self._whole(key, measured)
            else:
                self._parts(key, measured)
        except self.bucket.client.exceptions.ClientError as error:
            if code_of(error) not in LOST:  # another process was as quick, with the same file
                raise
        if problem := self.fault(key, measured, absent="it is not there"):
            raise PenstockError(f"s3://{self.bucket.name}/{key} was written, but {problem}.")
        return True

    def fault(self, key: str, measured: Measured, absent: str | None = None) -> str | None:
        """What is wrong with a file in the bucket; empty where nothing is."""
        head = head_of(self.bucket, key)
        if head is None:
            return absent
        return fault_of(head, measured.file, measured.checksum)

    def _whole(self, key: str, measured: Measured) -> None:
        self.bucket.client.put_object(
            Bucket=self.bucket.name, Key=key, Body=measured.part(1), Metadata={METADATA: measured.file.sha256},
            ChecksumAlgorithm="SHA256", ChecksumSHA256=_text(measured.parts[0]), IfNoneMatch="*",
        )  # fmt: skip
        self.sent(measured.file.size)

    def _parts(self, key: str, measured: Measured) -> None:
        client, name = self.bucket.client, self.bucket.name
        upload, there = self._unfinished(key, measured)
        if not upload:
            upload = client.create_multipart_upload(
                Bucket=name, Key=key, ChecksumAlgorithm="SHA256", Metadata={METADATA: measured.file.sha256}
            )["UploadId"]

        def send(number: int) -> dict[str, Any]:
            content = measured.part(number)
            done = client.upload_part(
                Bucket=name, Key=key, UploadId=upload, PartNumber=number, Body=content,
                ChecksumAlgorithm="SHA256", ChecksumSHA256=_text(measured.parts[number - 1]),
            )  # fmt: skip
            self.sent(len(content))
            return {"ETag": done["ETag"]}

        missing = [number for number in range(1, len(measured.parts) + 1) if number not in there]
        with ThreadPoolExecutor(SIDE_BY_SIDE, "upload") as pool:
            there |= dict(zip(missing, pool.map(send, missing), strict=True))
        parts = [
            {"PartNumber": number, "ChecksumSHA256": _text(measured.parts[number - 1]), **there[number]}
            for number in sorted(there)
        ]
        client.complete_multipart_upload(
            Bucket=name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
        )

    def _unfinished(self, key: str, measured: Measured) -> tuple[str, dict[int, dict[str, Any]]]:
        """The unfinished upload that has most of the file, with its good parts. Others are left to the bucket's
        lifecycle: their process may still be alive."""
        best: tuple[str, dict[int, dict[str, Any]]] = ("", {})
        listed = self.bucket.client.list_multipart_uploads(Bucket=self.bucket.name, Prefix=key)
        for upload in listed.get("Uploads") or []:
            if upload["Key"] != key or upload.get("ChecksumAlgorithm") != "SHA256":
                continue
            try:
                found = {part["PartNumber"]: part for part in self._listed(key, upload["UploadId"])}
            except self.bucket.client.exceptions.ClientError as error:
                if code_of(error) in ABSENT:
                    continue
                raise
            good = {number: {"ETag": part["ETag"]} for number, part in found.items() if _same(part, measured)}
            if len(good) > len(best[1]):
                best = (upload["UploadId"], good)
        for number in best[1]:
            self.sent(_part_size(measured, number))
        return best

    def _listed(self, key: str, upload: str) -> Iterator[dict[str, Any]]:
        pages = self.bucket.client.get_paginator("list_parts")
        for page in pages.paginate(Bucket=self.bucket.name, Key=key, UploadId=upload):
            yield from page.get("Parts") or []


def head_of(bucket: Bucket, key: str) -> dict[str, Any] | None:
    try:
        return bucket.client.head_object(Bucket=bucket.name, Key=key, ChecksumMode="ENABLED")
    except bucket.client.exceptions.ClientError as error:
        if code_of(error) in ABSENT:
            return None
        raise


def fault_of(head: dict[str, Any], file: File, checksum: str | None) -> str:
    """What is wrong with a file that S3 has; empty where nothing is. `checksum`: where the local file is at hand."""
    if head["ContentLength"] != file.size:
        return f"has {head['ContentLength']} bytes where {file.size} are right"
    if head.get("Metadata", {}).get(METADATA) != file.sha256:
        return "was written from another file"
    told = head.get("ChecksumSHA256")
    if not told:
        return "has no SHA-256 that S3 has checked"
    if checksum is not None and told != checksum:
        return f"has the checksum {told} where {checksum} is right"
    if head.get("ServerSideEncryption") not in ("aws:kms", "aws:kms:dsse"):
        return "is not encrypted by a key of KMS"
    return ""


def read_back(bucket: Bucket, key: str, file: File, read: Callable[[int], None]) -> str:
    """Reads the file from S3 and says what is wrong with its bytes; empty where nothing is."""
    found, size = hashlib.sha256(), 0
    body = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"]
    for content in body.iter_chunks(CHUNK_BYTES):
        found.update(content)
        size += len(content)
        read(len(content))
    return "" if (size, found.hexdigest()) == (file.size, file.sha256) else "holds other bytes than were added"


def _same(part: dict[str, Any], measured: Measured) -> bool:
    """Whether a part that S3 has is this file's. Where no checksum is listed, an ETag that is the part's MD5 counts."""
    number = part["PartNumber"]
    if number > len(measured.parts) or part["Size"] != _part_size(measured, number):
        return False
    if told := part.get("ChecksumSHA256"):
        return told == _text(measured.parts[number - 1])
    content = measured.part(number)
    return part["ETag"].strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest()


def _part_size(measured: Measured, number: int) -> int:
    return min(measured.part_bytes, measured.file.size - (number - 1) * measured.part_bytes)


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def total(measured: Sequence[Measured]) -> int:
    return sum(each.file.size for each in measured)
