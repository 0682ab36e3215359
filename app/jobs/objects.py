"""Files in S3, through botocore in threads. botocore is imported here: import this late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PART_BYTES = 8 * 1024 * 1024
"""Of an upload; S3 takes 5 MiB or more."""
THREADS = 8
CONFIG = Config(connect_timeout=3, read_timeout=20, retries={"mode": "standard", "max_attempts": 3})


class StorageError(Exception):
    """S3 is away, full, or refuses. The message is for the operator."""


class Objects:
    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._client: Any = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")

    async def _call(self, name: str, **arguments: Any) -> Any:
        def work() -> Any:
            if self._client is None:  # making it reads files, and takes 0.1 s
                self._client = botocore.session.get_session().create_client("s3", config=CONFIG)
            found = getattr(self._client, name)(Bucket=self._bucket, **arguments)
            if name == "get_object":
                found["Content"] = found["Body"].read()
            return found

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (ClientError, BotoCoreError, OSError) as error:
            raise StorageError(f"{name}: {type(error).__name__}: {error}") from error

    async def put(self, key: str, data: bytes) -> None:
        """Raises StorageError."""
        await self._call("put_object", Key=key, Body=data)

    async def get(self, key: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes from `start`. Raises StorageError."""
        if size == 0:
            return b""
        where = (
            {}
            if size is None and start == 0
            else {"Range": f"bytes={start}-{'' if size is None else start + size - 1}"}
        )
        return (await self._call("get_object", Key=key, **where))["Content"]

    async def parts(self, key: str, size: int) -> AsyncIterator[bytes]:
        """A whole file, in parts of PART_BYTES. Raises StorageError."""
        for start in range(0, size, PART_BYTES):
            yield await self.get(key, start, min(PART_BYTES, size - start))

    async def delete(self, *keys: str) -> None:
        """Raises StorageError. What is not there is no error."""
        for first in range(0, len(keys), 1000):
            some = [{"Key": key} for key in keys[first : first + 1000]]
            await self._call("delete_objects", Delete={"Objects": some, "Quiet": True})

    async def delete_under(self, prefix: str) -> None:
        """Raises StorageError."""
        while found := (await self._call("list_objects_v2", Prefix=prefix)).get("Contents"):
            await self.delete(*(one["Key"] for one in found))

    def writer(self, key: str) -> Writer:
        return Writer(self._call, key)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Writer:
    """Writes a file of unknown size in bounded memory. It is there once `finish` returned, and not before."""

    def __init__(self, call: Callable[..., Any], key: str) -> None:
        self._call = call
        self._key = key
        self._waiting = bytearray()
        self._upload = ""
        self._parts: list[dict[str, Any]] = []
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Raises StorageError."""
        self._waiting += data
        self.size += len(data)
        if len(self._waiting) >= PART_BYTES:
            await self._send()

    async def _send(self) -> None:
        if not self._upload:
            self._upload = (await self._call("create_multipart_upload", Key=self._key))["UploadId"]
        number, data = len(self._parts) + 1, bytes(self._waiting)
        said = await self._call("upload_part", Key=self._key, UploadId=self._upload, PartNumber=number, Body=data)
        self._parts.append({"ETag": said["ETag"], "PartNumber": number})
        self._waiting.clear()

    async def finish(self) -> None:
        """Raises StorageError."""
        if not self._upload:
            await self._call("put_object", Key=self._key, Body=bytes(self._waiting))
            return
        if self._waiting:
            await self._send()
        await self._call(
            "complete_multipart_upload", Key=self._key, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
        )

    async def abort(self) -> None:
        """Forgets what was written. Raises StorageError."""
        if self._upload:
            await self._call("abort_multipart_upload", Key=self._key, UploadId=self._upload)
