"""The order of an upgrade of Kubernetes, node images or PostgreSQL, with what each step disrupts. Pure.

A step is one edit of the stack file and one update. Steps that have been taken are known by what runs; so the plan can
be asked for again at any time, and its first open step is what comes next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from infra.ops.errors import UsageError
from infra.settings import versions

if TYPE_CHECKING:
    from infra.ops.stacks import State
    from infra.settings import Settings

GROUPS = {"system": "system", "gpu": "gpu", "gpuSpot": "gpu-spot"}
"""Key of the stack file to the pool's name in logical names (components/nodes.py)."""
ADDONS = {
    "vpcCni": "vpc-cni",
    "podIdentityAgent": "eks-pod-identity-agent",
    "kubeProxy": "kube-proxy",
    "coredns": "coredns",
    "metricsServer": "metrics-server",
    "nodeMonitoringAgent": "eks-node-monitoring-agent",
}
"""Key of the stack file to EKS's name."""
ROLLBACK = (
    "EKS's version rollback, by EKS itself and not by this program: one minor, within seven days, nodes first; "
    "revert the edit afterwards"
)
"""EKS user guide, "Rollback cluster to previous Kubernetes version"."""


@dataclass(frozen=True)
class Running:
    """Versions that a stack runs; empty texts where nothing is known."""

    source: str
    """`state` or `stack file`."""
    kubernetes: str
    addons: Mapping[str, str]
    """By key of the stack file."""
    nodes: Mapping[str, tuple[str, ...]]
    """Kubernetes versions of a group's nodes, by key of the stack file: one for each zone of spot groups."""
    database: str

    @classmethod
    def of_state(cls, state: State) -> Running:
        """Raises UsageError where the stack has no cluster."""
        clusters = state.of_type("eks/cluster:Cluster")
        if not clusters:
            raise UsageError("The stack has no cluster.", "Deploy it, or read its file alone: --from-file.")
        addons = {each.outputs.get("addonName"): each for each in state.of_type("eks/addon:Addon")}
        groups = state.of_type("eks/nodeGroup:NodeGroup")
        databases = state.of_type("rds/instance:Instance")
        return cls(
            "state",
            str(clusters[0].outputs["version"]),
            {key: str(addons[name].outputs["addonVersion"]) for key, name in ADDONS.items() if name in addons},
            {
                key: tuple(
                    str(each.outputs["version"])
                    for each in sorted(groups, key=lambda each: each.name)
                    if re.fullmatch(rf"nodes-{pool}(-[a-f])?", each.name)
                )
                for key, pool in GROUPS.items()
            },
            str(databases[0].outputs["engineVersion"]) if databases else "",
        )

    @classmethod
    def of_file(cls, settings: Settings) -> Running:
        """As if everything that the file says ran."""
        cluster, groups = settings.cluster, settings.node_groups
        counts = {"system": 1, "gpu": int(groups.gpu.max_nodes > 0)}
        counts["gpuSpot"] = len(settings.network.zones) if groups.gpu_spot.max_nodes_per_zone else 0
        pinned = {"system": groups.system.version, "gpu": groups.gpu.version, "gpuSpot": groups.gpu_spot.version}
        return cls(
            "stack file",
            cluster.version,
            cluster.addon_versions.model_dump(by_alias=True),
            {key: (pinned[key] or cluster.version,) * counts[key] for key in GROUPS},
            settings.data.database.engine_version,
        )


@dataclass(frozen=True)
class Step:
    title: str
    edits: Mapping[str, str]
    """Key path of the stack file to its new value."""
    disrupts: str
    back: str
    done: bool
    checks: tuple[str, ...] = field(default=())
    """What to look at first."""


@dataclass(frozen=True)
class Plan:
    stack: str
    running: Running
    kubernetes: str
    """The version that it leads to."""
    database: str
    steps: tuple[Step, ...]

    @property
    def next(self) -> int | None:
        """Number of the first open step, from 1; None where all is done."""
        return next((number for number, step in enumerate(self.steps, 1) if not step.done), None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "read_from": self.running.source,
            "running": {
                "kubernetes": self.running.kubernetes,
                "addons": dict(self.running.addons),
                "nodes": {key: list(found) for key, found in self.running.nodes.items()},
                "database": self.running.database,
            },
            "to": {"kubernetes": self.kubernetes, "database": self.database},
            "next": self.next,
            "steps": [{"number": number, **asdict(step)} for number, step in enumerate(self.steps, 1)],
        }


def plan(
    stack: str, settings: Settings, running: Running, *, kubernetes: str | None = None, database: str | None = None
) -> Plan:
    """Leads to the newest Kubernetes that Penstock knows, and to no other PostgreSQL, unless told.

    Raises UsageError for a version that cannot be reached.
    """
    to = kubernetes or versions.KUBERNETES[-1]
    if to not in versions.KUBERNETES:
        raise UsageError(f"--to {to} is not allowed.", f"Versions: {', '.join(versions.KUBERNETES)}.")
    if _minor(to) < _minor(running.kubernetes):
        raise UsageError(f"--to {to} is older than {running.kubernetes}, which runs.", "Way back: " + ROLLBACK + ".")
    steps = [*_kubernetes(settings, running, to)]
    if database:
        steps += _database(settings, running, database)
    return Plan(stack, running, to, database or running.database, tuple(steps))


def _minor(version: str) -> int:
    return versions.numbers(version)[1]


def _kubernetes(settings: Settings, running: Running, to: str) -> Iterator[Step]:
    oldest = min(
        (_minor(each) for found in running.nodes.values() for each in found), default=_minor(running.kubernetes)
    )
    # From the oldest part on, so that what was begun and left is in the plan as well. EKS takes one minor at a time.
    for minor in range(min(oldest, _minor(running.kubernetes), _minor(to) - 1) + 1, _minor(to) + 1):
        hop = f"1.{minor}"
        yield _control_plane(settings, running, hop)
        yield _addons(running, hop)
        for key in GROUPS:
            if running.nodes[key]:
                yield _nodes(settings, running, key, hop)


def _control_plane(settings: Settings, running: Running, hop: str) -> Step:
    checks = [
        f"EKS's upgrade insights of the cluster for {hop}",
        "free addresses in the private subnets: EKS needs five",
    ]
    karpenter, floor = settings.controllers.karpenter, versions.KARPENTER_FLOOR.get(hop)
    disrupts = "no pod; calls to the Kubernetes API may fail for seconds while its servers are exchanged"
    if karpenter.enabled:
        disrupts += (
            "; Karpenter's nodes follow by themselves afterwards, for their image is another one, a few at a time"
        )
        if floor and versions.numbers(karpenter.version) < floor:
            least = ".".join(map(str, floor))
            checks.insert(0, f"controllers.karpenter.version {karpenter.version} must be {least} or later first")
    return Step(
        f"control plane to {hop}",
        {"cluster.version": f'"{hop}"'},
        disrupts,
        ROLLBACK,
        _minor(running.kubernetes) >= _minor(hop),
        tuple(checks),
    )


def _addons(running: Running, hop: str) -> Step:
    proxy = running.addons.get("kubeProxy", "")
    return Step(
        f"add-ons for {hop}",
        {
            "cluster.addonVersions.kubeProxy": f"v{hop}.x-eksbuild.y",
            **{f"cluster.addonVersions.{key}": "its default" for key in ADDONS if key != "kubeProxy"},
        },
        "no request: pods of an add-on are exchanged node by node; new pods wait seconds for a network or a name",
        "the versions before, by a revert",
        bool(proxy) and _minor(proxy) >= _minor(hop),
        (f"aws eks describe-addon-versions --kubernetes-version {hop} (the default of each add-on)",),
    )


def _nodes(settings: Settings, running: Running, key: str, hop: str) -> Step:
    groups = settings.node_groups
    group = {"system": groups.system, "gpu": groups.gpu, "gpuSpot": groups.gpu_spot}[key]
    zones = len(running.nodes[key]) if key == "gpuSpot" else 1
    desired = groups.gpu_spot.desired_nodes_per_zone if key == "gpuSpot" else getattr(group, "desired_nodes", 0)
    rounds = -(-desired // group.max_unavailable)
    what = "gateways and cluster services" if key == "system" else "engines"
    grace = settings.drain.grace_seconds
    return Step(
        f"nodes of {key} to {hop}",
        {f"nodeGroups.{key}.version": f'"{hop}"', f"nodeGroups.{key}.releaseVersion": "null, or a release"},
        f"{what}: {desired * zones} nodes in {rounds} rounds of {group.max_unavailable}"
        + (" in each zone" if zones > 1 else "")
        + f"; a pod has {grace} s to finish its streams, budgets of pods hold"
        + ("; nodes come before they go, which takes GPUs of the quota" if key != "system" else ""),
        "the version before, by a revert: the nodes are exchanged once more",
        all(_minor(each) >= _minor(hop) for each in running.nodes[key]),
        () if key == "system" else ("penstock preflight: quota and places for the nodes that come first",),
    )


def _database(settings: Settings, running: Running, wanted: str) -> Iterator[Step]:
    """Raises UsageError for an older version."""
    if not re.fullmatch(r"1[5-9](\.[0-9]+)?", wanted):
        raise UsageError(f"--database {wanted} is not allowed.", "Write a PostgreSQL version, such as 18 or 18.1.")
    before, after = (int(each.partition(".")[0]) for each in (running.database or wanted, wanted))
    if after < before:
        raise UsageError(
            f"--database {wanted} is older than {running.database}, which runs: restore a snapshot instead."
        )
    name = f"PostgreSQL {running.database} to {wanted}"
    if after == before:
        yield Step(
            name,
            {"data.database.engineVersion": f'"{wanted}"'},
            "the database is away for a minute; gateways answer on from memory and book afterwards",
            "none in place; a snapshot restores another instance",
            running.database.startswith(wanted),
        )
        return
    days = settings.data.database.backup_days
    yield Step(
        name,
        {"data.database.engineVersion": f'"{wanted}"', "data.database.allowMajorUpgrade": "true"},
        "the database is away for minutes, at once and not in the maintenance window; gateways answer on from memory "
        "and book afterwards; keys are not made or revoked, jobs and retrieval wait",
        "the snapshot that RDS takes before it: a restore is another instance",
        False,
        (
            "data.database.backupDays is 0: RDS would take no snapshot; raise it first" if days == 0
            else f"backups are kept for {days} days, so RDS takes a snapshot before and after",
            "aws rds describe-db-engine-versions: the new version must stand in ValidUpgradeTarget of the old",
        ),
    )  # fmt: skip
    yield Step(
        "close the door again",
        {"data.database.allowMajorUpgrade": "false"},
        "nothing",
        "the value before",
        False,
    )
