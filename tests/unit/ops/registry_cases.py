"""A tiny model's folder, a played bucket, and a registry over it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.ops.progress import Progress
from infra.ops.registry.operate import Registry
from infra.ops.registry.store import Bucket

PART = 1000
CARD = "---\nlicense: apache-2.0\n---\n# Tiny\n"


def tensors(count: int = 300, fill: int = 1, dtype: str = "F32") -> bytes:
    """A safetensors file of one tensor; F32 has 4 bytes a number."""
    data = bytes([fill]) * (count * 4)
    header = json.dumps({"w": {"dtype": dtype, "shape": [count], "data_offsets": [0, len(data)]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


def model_folder(path: Path, fill: int = 1, config: dict[str, Any] | None = None) -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(tensors(fill=fill))
    content = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048, **(config or {})}
    (path / "config.json").write_text(json.dumps(content))
    (path / "README.md").write_text(CARD)
    return path


class Crash(BaseException):
    """Stands for kill -9, which no `except Exception` sees."""


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "call")


class PlayedS3:
    """The calls that the registry makes, with S3's conditions and checksums. `before` is called with each effect's
    name; what it raises happens before the effect, `after` after it."""

    class exceptions:  # noqa: N801 - boto3's name
        ClientError = ClientError

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None
        self.encryption = "aws:kms"

    def _done(self, name: str) -> None:
        self.calls.append(name)
        self.after(name)

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise refused("NoSuchKey")
        one = self.objects[Key]

        class Body(io.BytesIO):
            def iter_chunks(self, size: int) -> Iterator[bytes]:
                while piece := self.read(size):
                    yield piece

        return {"Body": Body(one["body"]), "ETag": one["etag"]}

    def head_object(self, Bucket: str, Key: str, ChecksumMode: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise refused("404")
        one = self.objects[Key]
        return {
            "ContentLength": len(one["body"]), "Metadata": one["metadata"], "ChecksumSHA256": one["checksum"],
            "ServerSideEncryption": self.encryption,
        }  # fmt: skip

    def _write(self, key: str, body: bytes, metadata: dict[str, str], checksum: str, match: Any, none: Any) -> None:
        there = self.objects.get(key)
        if none == "*" and there is not None:
            raise refused("PreconditionFailed")
        if match is not None and (there is None or there["etag"] != match):
            raise refused("PreconditionFailed")
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        self.objects[key] = {"body": body, "metadata": metadata, "checksum": checksum, "etag": etag}

    def put_object(self, Bucket: str, Key: str, Body: bytes, **more: Any) -> None:  # noqa: N803
        self.before("put")
        checksum = text(hashlib.sha256(Body).digest())
        assert more.get("ChecksumSHA256", checksum) == checksum, "S3 refuses what arrives damaged"
        self._write(Key, Body, more.get("Metadata", {}), checksum, more.get("IfMatch"), more.get("IfNoneMatch"))
        self._done("put")

    def create_multipart_upload(self, Bucket: str, Key: str, **more: Any) -> dict[str, Any]:  # noqa: N803
        self.before("create")
        name = f"upload-{len(self.uploads)}"
        self.uploads[name] = {"key": Key, "parts": {}, "metadata": more["Metadata"]}
        self._done("create")
        return {"UploadId": name}

    def upload_part(self, **asked: Any) -> dict[str, Any]:
        self.before("part")
        assert text(hashlib.sha256(asked["Body"]).digest()) == asked["ChecksumSHA256"]
        self.uploads[asked["UploadId"]]["parts"][asked["PartNumber"]] = asked["Body"]
        self._done("part")
        return {"ETag": f"etag-{asked['PartNumber']}"}

    def list_multipart_uploads(self, Bucket: str, Prefix: str) -> dict[str, Any]:  # noqa: N803
        return {
            "Uploads": [
                {"Key": one["key"], "UploadId": name, "ChecksumAlgorithm": "SHA256"}
                for name, one in self.uploads.items()
                if one["key"].startswith(Prefix)
            ]
        }

    def complete_multipart_upload(self, Bucket: str, Key: str, UploadId: str, MultipartUpload: Any, IfNoneMatch: str):  # noqa: N803
        self.before("complete")
        one = self.uploads[UploadId]
        numbers = [part["PartNumber"] for part in MultipartUpload["Parts"]]
        assert numbers == sorted(one["parts"])
        bodies = [one["parts"][number] for number in numbers]
        digests = b"".join(hashlib.sha256(body).digest() for body in bodies)
        checksum = f"{text(hashlib.sha256(digests).digest())}-{len(bodies)}"
        self._write(Key, b"".join(bodies), one["metadata"], checksum, None, IfNoneMatch)
        del self.uploads[UploadId]
        self._done("complete")

    def delete_object(self, Bucket: str, Key: str) -> None:  # noqa: N803
        self.before("delete")
        self.objects.pop(Key, None)
        self._done("delete")

    def get_paginator(self, name: str) -> Any:
        outer = self

        class Pages:
            def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
                if name == "list_objects_v2":
                    keys = sorted(key for key in outer.objects if key.startswith(asked["Prefix"]))
                    yield {"Contents": [{"Key": key} for key in keys]}
                else:
                    parts = outer.uploads[asked["UploadId"]]["parts"]
                    yield {
                        "Parts": [
                            {
                                "PartNumber": number, "Size": len(body), "ETag": f"etag-{number}",
                                "ChecksumSHA256": text(hashlib.sha256(body).digest()),
                            }
                            for number, body in sorted(parts.items())
                        ]
                    }  # fmt: skip

        return Pages()


def text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def registry_on(s3: PlayedS3, *stack_files: Path, by: str = "ann", deployed: str = "") -> Registry:
    return Registry(Bucket(s3, "weights"), by, Progress(quiet=True), stack_files, deployed, PART)
