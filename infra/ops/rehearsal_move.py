"""A move to another region, rehearsed: two platforms beside each other, rows and objects carried, the first one gone.

Each platform is one region of the account, with an embedded AWS, a PostgreSQL and an S3 of its own. Pods are objects
only; what a pod of the move would do is done by the same command on this machine.
"""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from infra.ops import kube, rehearsal_data, rehearsal_plan
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.move import name, objects
from infra.ops.move.data import BUCKETS, Carried, Move, Side
from infra.ops.move.pods import ARCHIVE, DatabasePods, last_line
from infra.ops.move.stack_file import Destination, moved
from infra.ops.rehearsal_edit import Config
from infra.ops.rehearse import DEFAULT_HOSTNAME, Rehearsal
from infra.ops.stacks import StackAccess, State, access_on

if TYPE_CHECKING:
    from infra.local.layout import Layout

DATABASE_SECONDS = 300
ZONE = "example.com"
AWS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True)
class PodsHere(DatabasePods):
    """The Job is made, admitted and placed in the cluster; its command runs as a process of this machine."""

    access: StackAccess

    def said(self, name: str, job: dict[str, Any]) -> str:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        return self.process(container["args"], given)

    def process(self, arguments: list[str], given: dict[str, str]) -> str:
        """Raises PenstockError. The local PostgreSQL has no TLS."""
        environment = {
            "PATH": os.defpath,
            **{key: self.access.environment[key] for key in AWS},
            **given,
            "PENSTOCK_DATABASE_TLS": "prefer",
        }
        done = subprocess.run(
            [sys.executable, "-m", "app.gateway.database", *arguments],
            env=environment, cwd=self.access.checkout, capture_output=True, text=True, timeout=DATABASE_SECONDS,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise PenstockError(f"`{arguments[0]}` failed: {last_line(done.stderr)}")
        return done.stdout


@dataclass
class MoveRehearsal(Rehearsal):
    """The first stack is deployed, filled, moved and destroyed; the second one is destroyed at the end."""

    region: str = "eu-south-2"
    carried: Carried | None = None

    def _run(self, config: Config, target: Config) -> None:
        config = self._allowing(config)
        there = Rehearsal(self.checkout, f"{self.stack}-moved", self.progress)
        there.report = self.report
        try:
            self._both(there, config)
        finally:
            with there._step("stop the platform"):
                there.end()

    def _allowing(self, config: Config) -> Config:
        """Nothing rests anywhere in a rehearsal; of the real file `penstock move file` asks it."""
        allowed = config["penstock:aws"]["allowedRegions"]
        config["penstock:aws"]["allowedRegions"] = list(dict.fromkeys([*allowed, self.region]))
        return config

    def _both(self, there: Rehearsal, config: Config) -> None:
        layout, access, before = self._begun(self, config)
        self._write(access, layout, config)
        self._up(access, "up")
        self.report.resources = len(access.state().resources)
        second = self._elsewhere(config, there.stack)
        other_layout, other, other_before = self._begun(there, second)
        there._write(other, other_layout, second)
        there._up(other, f"{there.stack}: up in {self.region}, beside the first")

        source, target = Side.of(access), Side.of(other)
        with self._step("fill database and buckets") as counted:
            counted.append(self._fill(source, target))
        self._carry(source, target)
        with self._step("point the name there"):
            self._point(source, target)
        self._destroy(access, layout, config)
        with self._step("look for leftovers"):
            self._cleared(access, layout, before)
        there._nothing(there._preview(other, f"{there.stack}: preview after the move"), "The preview after the move")
        with self._step("compare what is there with what was"):
            self._compare(target)
        there._destroy(other, other_layout, second)
        with there._step(f"{there.stack}: look for leftovers"):
            there._cleared(other, other_layout, other_before)

    def _begun(self, rehearsal: Rehearsal, config: Config) -> tuple[Layout, StackAccess, set[str]]:
        from infra.local import cloud

        purpose = cloud.Purpose(rehearsal.state, rehearsal.stack, rehearsal_plan.stack_file(config), objects_only=True)
        with rehearsal._step("start a platform"):
            layout = cloud.up(self.checkout, self.progress, purpose)
        access = access_on(layout)
        rehearsal._presume(access, config)
        if rehearsal is self:
            # So that the first stack keeps the record of its name, which a move has to take over.
            zone = access.aws("route53").create_hosted_zone(Name=ZONE, CallerReference=self.stack)["HostedZone"]["Id"]
            config["penstock:edge"] |= {
                "hostname": config["penstock:edge"]["hostname"] or DEFAULT_HOSTNAME,
                "hostedZoneId": zone.rpartition("/")[2],
            }
        return layout, access, rehearsal._live(access, layout)

    def _elsewhere(self, config: Config, stack: str) -> Config:
        """As `penstock move file` writes it; `_presume` makes its certificate."""
        certificate = f"arn:aws:acm:{self.region}:{config['penstock:aws']['accountId']}:certificate/to-be-made"
        destination = Destination(stack, self.region, certificate=certificate)
        plain = copy.deepcopy(config)
        text = moved(rehearsal_plan.stack_file(plain), self.stack, destination).text
        return yaml.safe_load(text)["config"]

    def _pods(self, access: StackAccess, state: State) -> PodsHere:
        (cluster,) = state.of_type("eks/cluster:Cluster")
        connected = kube.connect(access, *kube.name_and_region(cluster))
        return PodsHere(connected, str(state.output("namespace")), self.progress, access)

    def _fill(self, source: Side, target: Side) -> int:
        for side in (source, target):
            pods = self._pods(side.access, side.state)
            (container,) = pods.job("dump", "")["spec"]["template"]["spec"]["containers"]
            given = {each["name"]: each["value"] for each in container["env"] if each["name"] != ARCHIVE}
            pods.process(rehearsal_data.MIGRATE, given | rehearsal_data.LOGINS)
            if side is source:
                rehearsal_data.plant(given, {key: side.access.environment[key] for key in AWS})
        for bucket in filter(None, map(source.bucket, BUCKETS)):
            rehearsal_data.put(bucket)
        return rehearsal_data.ROWS

    def _carry(self, source: Side, target: Side) -> None:
        """Refused while pods write; cut off between dump and restore, and in the middle of a bucket; then whole."""
        work = Move(source, target, self.progress, self._pods)
        with self._step("move the data: refused while pods write"):
            try:
                work.run(stop=False)
            except RefusedError:
                pass
            else:
                raise PenstockError("Data was carried while gateways still wrote.")
        with self._step("move the data: cut off before the restore"), contextlib.suppress(rehearsal_data.CutOff):
            replace(work, pods=self._cut).run(stop=True)
        with self._step("move the data") as counted:
            self.carried = work.run(stop=False)
            counted.append(sum(self.carried.rows.values()))
        with self._step("move the data again"):
            again = work.run(stop=False)
            if not again.already or any(each.copied for each in again.buckets.values()):
                raise PenstockError("A second run carried something again.")
        self._compare(target)

    def _cut(self, access: StackAccess, state: State) -> DatabasePods:
        pods = self._pods(access, state)

        class Cut(PodsHere):
            def said(self, name: str, job: dict[str, Any]) -> str:
                if job["spec"]["template"]["spec"]["containers"][0]["args"] == ["restore"]:
                    raise rehearsal_data.CutOff
                return super().said(name, job)

        return Cut(pods.cluster, pods.namespace, pods.progress, access)

    def _compare(self, target: Side) -> None:
        """Counts of the planted rows by table, and each object's bytes. Raises PenstockError."""
        assert self.carried is not None  # noqa: S101 - what `_carry` sets
        pods = self._pods(target.access, target.state)
        (container,) = pods.job("dump", "")["spec"]["template"]["spec"]["containers"]
        given = {each["name"]: each["value"] for each in container["env"] if each["name"] != ARCHIVE}
        found = rehearsal_data.count(given, {key: target.access.environment[key] for key in AWS})
        if wrong := {key: found.get(key) for key, rows in rehearsal_data.PLANTED.items() if found.get(key) != rows}:
            raise PenstockError(f"Rows were planted and are not there: {wrong} of {rehearsal_data.PLANTED}.")
        for bucket in filter(None, map(target.bucket, BUCKETS)):
            if lost := [key for key, body in rehearsal_data.OBJECTS.items() if bucket.read(key) != body]:
                raise PenstockError(f"{bucket.name}: {', '.join(lost)} are not as they were.")
            if list(bucket.client.list_object_versions(Bucket=bucket.name, Prefix=objects.OURS).get("Versions", [])):
                raise PenstockError(f"{bucket.name} still has the database's archive.")

    def _point(self, source: Side, target: Side) -> None:
        found = name.planned(source, target)
        for _ in range(2):  # it may be cut off between the record and the state
            name.point(found, source)
        fresh = Side.of(source.access)
        if name.planned(fresh, target).hostname is not None:
            raise PenstockError("The first stack still has the record of its name.")
        rows = source.access.aws("route53").list_resource_record_sets(HostedZoneId=str(found.zone))
        led = [row["AliasTarget"]["DNSName"].rstrip(".") for row in rows["ResourceRecordSets"] if "AliasTarget" in row]
        if led != [found.to]:
            raise PenstockError(f"The name leads to {led} and not to {found.to}.")
