"""S3: replication rules are kept whole, and taken only between buckets that keep versions."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.s3.exceptions import ReplicationConfigurationNotFoundError, S3ClientError
from moto.s3.models import S3Backend
from moto.s3.responses import S3Response

from infra.local.aws.moto.patching import attach, extend


def get_bucket_replication(self: Any) -> Any:
    self.data["Action"] = "GetBucketReplication"
    replication = self.backend.get_bucket_replication(self.bucket_name)
    if not replication:
        raise ReplicationConfigurationNotFoundError(bucket_name=self.bucket_name)
    # moto answers with a rule of its own making.
    rules = [{**rule, "Filter": _filter(rule.get("Filter"))} for rule in replication["Rule"]]
    return self.serialized(ActionResult({"ReplicationConfiguration": {"Role": replication["Role"], "Rules": rules}}))


def _filter(given: Any) -> dict[str, Any]:
    """XML knows no empty text."""
    return {"Prefix": (given or {}).get("Prefix") or ""}


def put_bucket_replication(original: Any, self: Any, bucket_name: str, replication: dict[str, Any]) -> None:
    """moto looks at the source's versions alone."""
    rules = replication["Rule"] if isinstance(replication["Rule"], list) else [replication["Rule"]]
    for name in (rule["Destination"]["Bucket"].rsplit(":", 1)[1] for rule in rules):
        if self.get_bucket(name).versioning_status != "Enabled":
            raise S3ClientError("InvalidRequest", f"Destination bucket must have versioning enabled: {name}")
    original(self, bucket_name, replication)


def install() -> None:
    attach(S3Response, get_bucket_replication)
    extend(S3Backend, put_bucket_replication)
