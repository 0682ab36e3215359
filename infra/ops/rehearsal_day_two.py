"""The edits of a platform's later days, as pull requests would bring them: upgrades, an image, rotation. Pure."""

from __future__ import annotations

import copy
from collections.abc import Callable

from infra.ops.rehearsal_edit import CLUSTER, CONFIG_MAP, DEPLOYMENT, NODE_GROUP, Config, Edit, Expected

ADDON, DATABASE = "aws:eks/addon:Addon", "aws:rds/instance:Instance"
JOB, SECRET = "kubernetes:batch/v1:Job", "kubernetes:core/v1:Secret"
VERSION_OF_SECRET = "aws:secretsmanager/secretVersion:SecretVersion"  # noqa: S105 - a type
AT_A_TIME = 2

Plan = Callable[[Config], Edit | None]


def upgrades(target: Config) -> tuple[Plan, ...]:
    """To the versions of the stack file itself, in the order of `penstock upgrade plan`."""
    return (
        _control_plane(target),
        _addons(target),
        _nodes(target, "system nodes", "system"),
        _nodes(target, "GPU nodes", "gpu", "gpuSpot"),
        _database(target),
    )


def _control_plane(target: Config) -> Plan:
    def plan(config: Config) -> Edit:
        before, wanted = config["penstock:cluster"]["version"], target["penstock:cluster"]["version"]
        after = copy.deepcopy(config)
        after["penstock:cluster"]["version"] = wanted
        # In place, and without the Kubernetes provider: nothing on the cluster is replaced, and nodes stay as they are.
        return Edit(f"Kubernetes {before} -> {wanted}", after, (Expected("update", CLUSTER, "cluster", "version"),))

    return plan


def _addons(target: Config) -> Plan:
    def plan(config: Config) -> Edit | None:
        wanted = target["penstock:cluster"]["addonVersions"]
        if config["penstock:cluster"]["addonVersions"] == wanted:
            return None
        after = copy.deepcopy(config)
        after["penstock:cluster"]["addonVersions"] = copy.deepcopy(wanted)
        return Edit("add-ons", after, (Expected("update", ADDON, "nodes-*", "addonVersion"),), previewed=False)

    return plan


def _nodes(target: Config, title: str, *names: str) -> Plan:
    """Nodes are exchanged in place of the group: the group itself is never replaced."""

    def plan(config: Config) -> Edit | None:
        wanted = target["penstock:nodeGroups"]
        moved = [name for name in names if _most(wanted[name]) and wanted[name]["version"]]
        if not moved:
            return None
        after = copy.deepcopy(config)
        for name in moved:
            after["penstock:nodeGroups"][name] |= {
                key: wanted[name][key] for key in ("version", "releaseVersion", "maxUnavailable")
            }
        groups = tuple(Expected("update", NODE_GROUP, GROUPS[name], "version|releaseVersion") for name in moved)
        return Edit(f"{title} -> {wanted[moved[0]]['version']}", after, groups, previewed=False)

    return plan


GROUPS = {"system": "nodes-system", "gpu": "nodes-gpu", "gpuSpot": "nodes-gpu-spot-*"}
"""Key of the stack file to logical names."""


def _most(group: Config) -> int:
    """The most nodes of a group, or of a zone's; 0 where there is no such group."""
    return group["maxNodes"] if "maxNodes" in group else group["maxNodesPerZone"]


def _database(target: Config) -> Plan:
    def plan(config: Config) -> Edit | None:
        before = config["penstock:data"]["database"]["engineVersion"]
        wanted = target["penstock:data"]["database"]["engineVersion"]
        if before == wanted or not config["penstock:data"]["database"]["backupDays"]:
            return None
        after = copy.deepcopy(config)
        after["penstock:data"]["database"] |= {"engineVersion": wanted, "allowMajorUpgrade": True}
        changed = "engineVersion|parameterGroupName|allowMajorVersionUpgrade|applyImmediately"
        return Edit(
            f"PostgreSQL {before} -> {wanted}",
            after,
            (
                Expected("update", DATABASE, "database", changed),
                # A group is of one family; it holds settings and no data, and the new one comes first.
                Expected("replace", "aws:rds/parameterGroup:ParameterGroup", "database", "family|name"),
            ),
        )

    return plan


def roll_an_image(config: Config) -> Edit:
    """Another release of the image for the system nodes, two nodes at a time."""
    after = copy.deepcopy(config)
    group = after["penstock:nodeGroups"]["system"]
    kubernetes = group["version"] or config["penstock:cluster"]["version"]
    release = "1.51.0-0a1b2c3d" if group["amiType"].startswith("BOTTLEROCKET") else f"{kubernetes}.9-20261101"
    group |= {"releaseVersion": release, "maxUnavailable": AT_A_TIME}
    paths = r"releaseVersion|updateConfig(\.maxUnavailable)?"
    return Edit("node image", after, (Expected("update", NODE_GROUP, GROUPS["system"], paths),), previewed=False)


def rotate(config: Config) -> Edit:
    """All secrets that the program makes. Pods get new ones in a rollout, beside those that hold the old."""
    after = copy.deepcopy(config)
    after["penstock:rotation"] = {name: number + 1 for name, number in config["penstock:rotation"].items()}
    return Edit(
        "rotate secrets",
        after,
        (
            Expected("create", VERSION_OF_SECRET, "*"),
            Expected("delete", VERSION_OF_SECRET, "*"),
            Expected("replace", SECRET, "*"),
            Expected("update", DEPLOYMENT, "*"),
            Expected("replace", JOB, "migration-*", required=False),
            Expected("replace", CONFIG_MAP, "gateway-*", required=False),
            Expected(
                "update",
                "aws:elasticache/replicationGroup:ReplicationGroup",
                "cache",
                "authToken",
                required=config["penstock:data"]["cache"]["auth"],
            ),
        ),
        previewed=False,
    )
