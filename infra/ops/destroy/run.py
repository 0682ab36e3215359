"""`penstock destroy`: phase by phase, with what Pulumi cannot know looked after in between."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.ops import deploy
from infra.ops.destroy import cloud, finalizers, orphans, phases
from infra.ops.destroy.watch import Watch
from infra.ops.errors import NotRunningError, PenstockError, RefusedError

if TYPE_CHECKING:
    from infra.ops.cost.prices import Table
    from infra.ops.progress import Progress
    from infra.ops.stacks import Resource, StackAccess, State

CLUSTER, VPC = "aws:eks/cluster:Cluster", "aws:ec2/vpc:Vpc"
PATIENCE_SECONDS = 120.0
"""How long a controller has for its finalizers. Karpenter drains a node first, which a disruption budget can delay."""
CLAIMS_SECONDS = 900.0
INTERFACES_SECONDS = 300.0
"""AWS takes back the interfaces of load balancers and clusters within minutes (measured by others: one to three)."""
LOOK_SECONDS = 2.0
ARN_COLONS = 5


@dataclass(frozen=True)
class Done:
    phase: str
    resources: int
    seconds: float


@dataclass
class Report:
    stack: str
    done: list[Done] = field(default_factory=list)
    freed: list[finalizers.Freed] = field(default_factory=list)
    interfaces: list[cloud.Interface] = field(default_factory=list)
    left: list[orphans.Orphan] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "phases": [
                {"name": each.phase, "resources": each.resources, "seconds": round(each.seconds, 1)}
                for each in self.done
            ],
            "finalizers": [vars(each) for each in self.freed],
            "interfaces": [each.id for each in self.interfaces],
            "left": [each.as_dict() for each in self.left],
        }


@dataclass
class Destroy:
    """One destroy of one stack. Safe to repeat: each phase takes what is still there."""

    access: StackAccess
    progress: Progress
    patience_seconds: float = PATIENCE_SECONDS
    claims_seconds: float = CLAIMS_SECONDS
    interfaces_seconds: float = INTERFACES_SECONDS
    report: Report = field(init=False)
    _state: State = field(init=False)

    def __post_init__(self) -> None:
        self.report = Report(self.access.name)
        self._state = self.access.state()
        if not self._state.resources:
            raise NotRunningError(f"The stack {self.access.name} has no resources: it is not deployed.")

    @property
    def region(self) -> str:
        """Where most of the stack is, by its resources' ARNs."""
        regions = Counter(
            str(each.outputs["arn"]).split(":")[3]
            for each in self._state.resources
            if str(each.outputs.get("arn", "")).count(":") >= ARN_COLONS
        )
        del regions[""]
        return regions.most_common(1)[0][0] if regions else ""

    def plan_as_dict(self) -> dict[str, Any]:
        return {
            "stack": self.access.name,
            "phases": [
                {"name": phase.name, "why": phase.why, "resources": [str(item) for item in items]}
                for phase, items in self.plan()
            ],
            "protected": [str(item) for item in self.protected()],
            "data": [str(item) for item in self.lost()],
        }

    def plan(self) -> list[tuple[phases.Phase, list[phases.Item]]]:
        return phases.plan(self._items())

    def _items(self) -> list[phases.Item]:
        return [phases.Item(each.urn, each.protected) for each in self._state.resources]

    def check(self) -> None:
        """Raises RefusedError where something is protected; nothing is touched."""
        if held := self.protected():
            names = "\n".join(f"  {each}" for each in held)
            raise RefusedError(
                f"{len(held)} resources of {self.access.name} are protected; nothing was deleted:\n{names}\n"
                "Where they may go with their data:",
                f"set `penstock:protected: false` in {self.access.stack_file.name}, deploy that, and run this again.",
            )

    def protected(self) -> list[phases.Item]:
        return phases.protected(self._items())

    def lost(self) -> list[phases.Item]:
        return phases.lost(self._items())

    def run(self, table: Table) -> Report:
        """Raises PenstockError where a phase fails; what it did so far is in `report`, and running again goes on."""
        self.check()
        cluster, vpc = self._one(CLUSTER), self._one(VPC)
        stack = self.access.automation()
        for phase in phases.PHASES:
            last = phase is phases.PHASES[-1]
            # What depended on an earlier phase has gone with it.
            items = next(each for found, each in self.plan() if found is phase)
            if not items and not last:
                continue
            if last and vpc:
                self._free_the_network(vpc.id)
            self._phase(stack, phase, items, cluster)
            if not last:
                self._state = self.access.state()
        from infra.ops.kube import name_and_region

        with self.progress.step("Looking for what is left"):
            name = name_and_region(cluster)[0] if cluster else None
            self.report.left = orphans.left(
                self.access.aws, orphans.tagged(self.access.aws, self.access.name, name), table
            )
        return self.report

    def _phase(self, stack: Any, phase: phases.Phase, items: Sequence[phases.Item], cluster: Resource | None) -> None:
        began = time.monotonic()
        urns = () if phase is phases.PHASES[-1] else [item.urn for item in items]
        watch = self._watch(cluster) if cluster and any(item.type.startswith("kubernetes:") for item in items) else None
        with self.progress.step(f"{phase.name} ({len(items)})"):
            if watch is None:
                deploy.destroy(stack, self.progress, urns=urns)
            else:
                self._in_the_cluster(stack, phase, urns, watch)
        self.report.done.append(Done(phase.name, len(items), time.monotonic() - began))

    def _in_the_cluster(self, stack: Any, phase: phases.Phase, urns: Sequence[str], watch: Watch) -> None:
        try:
            with watch.beside():
                deploy.destroy(stack, self.progress, urns=urns)
                if phase.name == phases.NODE_CLAIMS_AFTER:
                    self._end_node_claims(watch)
        except PenstockError as error:
            raise PenstockError(". ".join([str(error), *self._why(watch)])) from None
        finally:
            self.report.freed += watch.freed

    def _why(self, watch: Watch) -> list[str]:
        """What may explain a phase that failed."""
        try:
            found = finalizers.unknown(watch.held())
        except PenstockError as error:
            found = [str(error)]
        return [*found, *([watch.trouble] if watch.trouble else [])]

    def _end_node_claims(self, watch: Watch) -> None:
        kind = finalizers.NODE_CLAIM
        deadline = time.monotonic() + self.claims_seconds
        while left := watch.cluster.items(f"{kind.path}/{kind.plural}"):
            for item in left:
                if not item["metadata"].get("deletionTimestamp"):
                    watch.cluster.send("DELETE", f"{kind.path}/{kind.plural}/{item['metadata']['name']}", {})
            if time.monotonic() > deadline:
                names = ", ".join(item["metadata"]["name"] for item in left)
                raise PenstockError(f"These NodeClaims did not go in {self.claims_seconds:.0f} s: {names}.")
            self.progress.detail(f"{len(left)} NodeClaims")
            time.sleep(LOOK_SECONDS / 2)

    def _watch(self, cluster: Resource) -> Watch:
        from infra.ops.kube import connect, name_and_region

        world = cloud.AwsWorld(self.access.aws("ec2"), self.access.aws("elbv2"))
        return Watch(connect(self.access, *name_and_region(cluster)), world, self.patience_seconds)

    def _free_the_network(self, vpc: str) -> None:
        """Waits for what AWS takes back, and deletes what the cluster's networking left. Raises PenstockError."""
        ec2 = self.access.aws("ec2")
        deadline = time.monotonic() + self.interfaces_seconds
        with self.progress.step("interfaces in the network"):
            while found := cloud.interfaces(ec2, vpc):
                gone = cloud.delete_free(ec2, found)
                self.report.interfaces += gone
                left = [each for each in found if each not in gone]
                if not left:
                    continue
                if time.monotonic() > deadline:
                    raise PenstockError(
                        f"The network {vpc} still holds interfaces that are not this stack's: "
                        f"{', '.join(str(each) for each in left)}.",
                        "Delete them, or what made them, and run this again.",
                    )
                self.progress.detail(f"waiting for {len(left)} interfaces")
                time.sleep(LOOK_SECONDS)

    def _one(self, kind: str) -> Resource | None:
        return next((each for each in self._state.resources if each.type == kind), None)
