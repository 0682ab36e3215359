"""JSON documents in the weights bucket, written under conditions: nobody overwrites what was written meanwhile.

S3 does the deciding: `If-None-Match: *` writes what is not there yet, `If-Match` replaces exactly what was read (S3
user guide, "Conditional writes"). The bucket's policy asks for these conditions: no client can do without.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.ops.errors import NotRunningError, PenstockError
from infra.ops.registry.manifest import encoded
from infra.ops.stacks import StackAccess

ATTEMPTS = 8
"""Of a change that others outrun."""
CONNECT_SECONDS, READ_SECONDS, CALLS = 5, 60, 5
"""S3 may take long to put a large upload together."""
LOST = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
ABSENT = {"NoSuchKey", "404", "NotFound", "NoSuchUpload"}
BUCKET = "weights"
"""The bucket's logical name in the program."""


class OutrunError(PenstockError):
    """Somebody else wrote it first."""


@dataclass(frozen=True)
class Bucket:
    """`client`: boto3's for S3."""

    client: Any
    name: str

    def read(self, key: str) -> tuple[dict[str, Any], str] | None:
        """Content and ETag, or None. Raises PenstockError for what is not JSON."""
        try:
            answer = self.client.get_object(Bucket=self.name, Key=key)
        except self.client.exceptions.ClientError as error:
            if code_of(error) in ABSENT:
                return None
            raise
        try:
            content = json.loads(answer["Body"].read())
        except ValueError:
            raise PenstockError(f"s3://{self.name}/{key} is not JSON.") from None
        return content, answer["ETag"]

    def create(self, key: str, content: Mapping[str, Any]) -> None:
        """Raises OutrunError where something else is there. What this very call wrote is no such thing: a call whose
        answer was lost is sent again by boto3."""
        self._put(key, content, IfNoneMatch="*")

    def replace(self, key: str, content: Mapping[str, Any], etag: str) -> None:
        """Raises OutrunError where it is no more what was read."""
        self._put(key, content, IfMatch=etag)

    def change(self, key: str, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Reads, edits and writes until nobody was in between. `edit` gets {} where nothing is there yet."""
        for _ in range(ATTEMPTS):
            found = self.read(key)
            wanted = edit(json.loads(json.dumps(found[0])) if found else {})
            try:
                if found is None:
                    self.create(key, wanted)
                else:
                    self.replace(key, wanted, found[1])
            except OutrunError:
                continue
            return wanted
        raise OutrunError(f"s3://{self.name}/{key} is changed by others all the time.", "Try again.")

    def keys(self, prefix: str) -> Iterator[str]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            yield from (entry["Key"] for entry in page.get("Contents", []))

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def _put(self, key: str, content: Mapping[str, Any], **condition: str) -> None:
        body = encoded(content)
        try:
            self.client.put_object(
                Bucket=self.name, Key=key, Body=body, ContentType="application/json", ChecksumAlgorithm="SHA256",
                **condition,
            )  # fmt: skip
        except self.client.exceptions.ClientError as error:
            if code_of(error) not in LOST | ABSENT:
                raise
            now = self.read(key)
            if now is None or encoded(now[0]) != body:
                raise OutrunError(f"s3://{self.name}/{key} was changed by somebody else.", "Try again.") from None


def code_of(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def weights_bucket(access: StackAccess) -> Bucket:
    """The stack's bucket of weights. Raises NotRunningError where the stack has none."""
    from botocore.config import Config

    found = [each for each in access.state().of_type("aws:s3/bucket:Bucket") if each.name == BUCKET]
    if not found:
        raise NotRunningError(f"The stack {access.name} has no bucket of weights.", "Run `penstock up`.")
    session = access.session()
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": CALLS, "mode": "standard"},
        max_pool_connections=16,
    )
    client = session.boto.client("s3", endpoint_url=session.endpoint, config=config)
    return Bucket(client, found[0].id)


def caller(access: StackAccess) -> str:
    """Who acts, for the history: the ARN that the credentials are of."""
    return str(access.aws("sts").get_caller_identity()["Arn"])
