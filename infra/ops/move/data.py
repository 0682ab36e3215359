"""All data of a stack carried to another one: weights while it still answers, then database and files of jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from infra.ops import kube
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.move import objects
from infra.ops.move.objects import Bucket, Copied
from infra.ops.move.pods import SECONDS, DatabasePods
from infra.ops.progress import Progress
from infra.ops.stacks import StackAccess, State

BUCKETS = {"weights": True, "files": False}
"""Logical names of what is carried, and whether a stack must have it."""
Pods = Callable[[StackAccess, State], DatabasePods]


@dataclass(frozen=True)
class Carried:
    archive: str
    """Its id: the same rows make the same."""
    already: bool
    """The rows were there from an earlier run."""
    rows: dict[str, int]
    """By table; the same on both sides."""
    buckets: dict[str, Copied]

    def as_dict(self) -> dict[str, Any]:
        return {
            "archive": self.archive,
            "already": self.already,
            "rows": self.rows,
            "buckets": {name: each.as_dict() for name, each in self.buckets.items()},
        }


@dataclass(frozen=True)
class Side:
    """A deployed stack, with clients of its own region."""

    access: StackAccess
    state: State

    @classmethod
    def of(cls, access: StackAccess) -> Side:
        """Raises NotRunningError where the stack is not deployed."""
        state = access.state()
        region = str(state.output("region"))
        return cls(replace(access, environment={**access.environment, "AWS_REGION": region}), state)

    def bucket(self, name: str) -> Bucket | None:
        found = [each for each in self.state.of_type("s3/bucket:Bucket") if each.name == name]
        return Bucket(self._signing(), str(found[0].id)) if found else None

    def _signing(self) -> Any:
        """A client whose signed URLs S3 takes for objects that a key of KMS encrypts."""
        from botocore.config import Config

        session = self.access.session()
        return session.boto.client("s3", endpoint_url=session.endpoint, config=Config(signature_version="s3v4"))


def pods_of(progress: Progress) -> Pods:
    def made(access: StackAccess, state: State) -> DatabasePods:
        clusters = state.of_type("eks/cluster:Cluster")
        if not clusters:
            raise PenstockError(f"The stack {access.name} has no cluster.")
        cluster = kube.connect(access, *kube.name_and_region(clusters[0]))
        return DatabasePods(cluster, str(state.output("namespace")), progress)

    return made


@dataclass(frozen=True)
class Move:
    """Each step may be cut off, and the whole run again: what has been carried is known by what is there."""

    source: Side
    target: Side
    progress: Progress
    pods: Pods

    def run(self, *, stop: bool) -> Carried:
        """`stop`: gateways and workers of the source are ended first; else they must have gone already.

        Raises PenstockError, RefusedError.
        """
        pairs = self._buckets()
        copied = {"weights": self._copy("weights", *pairs["weights"])}
        old = self.pods(self.source.access, self.source.state)
        new = self.pods(self.target.access, self.target.state)
        if stop:
            with self.progress.step(f"{self.source.access.name}: ending gateways and workers"):
                old.still()
        elif writing := [pod.name for pod in old.cluster.pods(old.namespace) if pod.app in ("gateway", "jobs")]:
            raise RefusedError(
                f"{len(writing)} pods of {self.source.access.name} still write, such as {writing[0]}.",
                "Weights are carried. Pass --stop to end them, which is when the downtime begins.",
            )
        archive, already = self._database(old, new)
        if "files" in pairs:
            copied["files"] = self._copy("files", *pairs["files"])
        for name, pair in pairs.items():
            if left := list(objects.missing(*pair)):
                raise PenstockError(f"{name}: {len(left)} objects are not there, such as {left[0]}.", "Run it again.")
        return Carried(archive["id"], already, archive["rows"], copied)

    def _buckets(self) -> dict[str, tuple[Bucket, Bucket]]:
        """Raises PenstockError where one side has a bucket and the other has none."""
        found = {}
        for name, needed in BUCKETS.items():
            one, other = self.source.bucket(name), self.target.bucket(name)
            if one and other:
                found[name] = (one, other)
            elif one or needed:
                lacking = (self.target if one else self.source).access.name
                raise PenstockError(f"The stack {lacking} has no bucket {name}.", "Deploy it with the same settings.")
        return found

    def _copy(self, name: str, source: Bucket, target: Bucket) -> Copied:
        same_cloud = self.source.access.layout is None and self.target.access.layout is None
        with self.progress.step(f"copying the bucket {name}"):
            return objects.copy(source, target, self.progress, reachable=same_cloud)

    def _database(self, old: DatabasePods, new: DatabasePods) -> tuple[dict[str, Any], bool]:
        """Raises PenstockError where a count differs; the restore itself keeps nothing then."""
        bucket = self.target.bucket("files") or self.target.bucket("weights")
        assert bucket is not None  # noqa: S101 - `_buckets` has looked
        key = f"{objects.OURS}{self.source.access.name}.zip"
        where = {"Bucket": bucket.name, "Key": key}
        try:
            with self.progress.step(f"{self.source.access.name}: dumping the database"):
                url = bucket.client.generate_presigned_url("put_object", Params=where, ExpiresIn=SECONDS)
                out = old.run("dump", url)
            with self.progress.step(f"{self.target.access.name}: restoring it"):
                url = bucket.client.generate_presigned_url("get_object", Params=where, ExpiresIn=SECONDS)
                back = new.run("restore", url)
        finally:
            self._forget(bucket, key)
        if (out["id"], out["rows"]) != (back["id"], back["rows"]):
            raise PenstockError(f"The archive {out['id']} was written and {back['id']} was read.", "Run it again.")
        return out, bool(back["already"])

    def _forget(self, bucket: Bucket, key: str) -> None:
        """Every version: it holds what tenants wrote."""
        found = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=key)
        for row in (*found.get("Versions", []), *found.get("DeleteMarkers", [])):
            bucket.client.delete_object(Bucket=bucket.name, Key=row["Key"], VersionId=row["VersionId"])
