"""aws:eks managed node group."""

from __future__ import annotations

from infra.local.aws.provider.resources.eks_common import EKS_TAGS, MINUTES_20, wait_status
from infra.local.aws.provider.row import Naming, Row, Scope, tags_of
from infra.local.aws.provider.schema import (
    block,
    block_set,
    blocks,
    camel,
    flag,
    integer,
    mapping,
    out,
    text,
    text_set,
    texts,
)
from infra.local.aws.provider.values import Values

VERSIONED = frozenset({"version", "releaseVersion", "launchTemplate"})


def _key(node_group: str) -> Values:
    cluster, _, name = node_group.partition(":")
    return {"clusterName": cluster, "nodegroupName": name}


def _find(scope: Scope, node_group: str, state: Values) -> Values | None:
    return scope.api.describe_nodegroup(**_key(node_group))["nodegroup"]


def _create(scope: Scope, values: Values) -> str:
    request = scope.request(values)
    template = request.get("launchTemplate")
    if template and template.get("id"):  # EKS takes the id or the name, not both
        template.pop("name", None)
    made = scope.api.create_nodegroup(**request, **tags_of(scope, values, "tags"))["nodegroup"]
    return f"{made['clusterName']}:{made['nodegroupName']}"


def _settle(scope: Scope, node_group: str, values: Values) -> None:
    wait_status(scope, f"node group {node_group}", node_group, values)


def _outputs(scope: Scope, node_group: str, raw: Values, state: Values) -> Values:
    groups = raw.get("resources", {}).get("autoScalingGroups", [])
    access = raw.get("resources", {}).get("remoteAccessSecurityGroup")
    asked = (state.get("launchTemplate") or {}).get("version")
    template = dict(raw["launchTemplate"]) if raw.get("launchTemplate") else None
    if template and asked in {"$Latest", "$Default"}:
        template["version"] = asked
    return {
        "resources": [
            {"autoscalingGroups": [{"name": it["name"]} for it in groups], "remoteAccessSecurityGroupId": access or ""}
        ],
        "launchTemplate": template,
    }


def _update(scope: Scope, node_group: str, values: Values, changed: frozenset[str]) -> None:
    live = _find(scope, node_group, values) or {}
    request = scope.request(values, changed & {"scalingConfig", "updateConfig", "nodeRepairConfig"})
    if "labels" in changed:
        wanted, there = values.get("labels") or {}, live.get("labels") or {}
        fresh = {key: value for key, value in wanted.items() if there.get(key) != value}
        request["labels"] = _some(addOrUpdateLabels=fresh, removeLabels=sorted(set(there) - set(wanted)))
    if "taints" in changed:
        wanted = scope.request(values, {"taints"}).get("taints", [])
        kept = {(it["key"], it["effect"]) for it in wanted}
        leave = [it for it in live.get("taints") or [] if (it["key"], it["effect"]) not in kept]
        request["taints"] = _some(addOrUpdateTaints=wanted, removeTaints=leave)
    request = {name: part for name, part in request.items() if part}
    if request:
        scope.api.update_nodegroup_config(**_key(node_group), **request)
        _settle(scope, node_group, values)
    if changed & VERSIONED:
        version = scope.request(values, changed & VERSIONED)
        if version.get("launchTemplate", {}).get("id"):
            version["launchTemplate"].pop("name", None)
        force = bool(values.get("forceUpdateVersion"))
        scope.api.update_nodegroup_version(**_key(node_group), **version, force=force)
        _settle(scope, node_group, values)


def _some(**parts: object) -> Values:
    return {name: part for name, part in parts.items() if part}


def _delete(scope: Scope, node_group: str, state: Values) -> None:
    scope.api.delete_nodegroup(**_key(node_group))
    scope.wait_gone(f"node group {node_group}", node_group, state, MINUTES_20)


NODE_GROUP = Row(
    kind="aws:eks/nodeGroup:NodeGroup",
    service="eks",
    style=camel,
    fields={
        "clusterName": text(required=True, replace=True),
        "nodeGroupName": text("nodegroupName", replace=True),
        "nodeGroupNamePrefix": text(False, replace=True, write_only=True),
        "nodeRoleArn": text("nodeRole", required=True, replace=True),
        "subnetIds": text_set("subnets", required=True, replace=True),
        "scalingConfig": block(
            {
                "desiredSize": integer(required=True),
                "maxSize": integer(required=True),
                "minSize": integer(required=True),
            },
            required=True,
        ),
        "amiType": text(computed=True, replace=True),
        "capacityType": text(computed=True, replace=True),
        "diskSize": integer(computed=True, replace=True),
        "instanceTypes": texts(computed=True, replace=True),
        "labels": mapping(),
        "taints": block_set({"key": text(required=True), "value": text(), "effect": text(required=True)}),
        "launchTemplate": block(
            {
                "id": text(computed=True, replace=True),
                "name": text(computed=True, replace=True),
                "version": text(required=True),
            }
        ),
        "updateConfig": block(
            {"maxUnavailable": integer(), "maxUnavailablePercentage": integer(), "updateStrategy": text(computed=True)},
            computed=True,
        ),
        "nodeRepairConfig": block(
            {
                "enabled": flag(),
                "maxParallelNodesRepairedCount": integer(),
                "maxParallelNodesRepairedPercentage": integer(),
                "maxUnhealthyNodeThresholdCount": integer(),
                "maxUnhealthyNodeThresholdPercentage": integer(),
            },
            computed=True,
        ),
        "remoteAccess": block(
            {"ec2SshKey": text(replace=True), "sourceSecurityGroupIds": text_set("sourceSecurityGroups", replace=True)},
            replace=True,
        ),
        "version": text(computed=True),
        "releaseVersion": text(computed=True),
        "forceUpdateVersion": flag(False, write_only=True),
        "arn": out(text("nodegroupArn")),
        "resources": out(
            blocks({"autoscalingGroups": blocks({"name": text()}), "remoteAccessSecurityGroupId": text()}, False)
        ),
        "status": out(text()),
    },
    create=_create,
    settle=_settle,
    find=_find,
    derive=_outputs,
    update=_update,
    delete=_delete,
    tagging=EKS_TAGS,
    naming=Naming(field="nodeGroupName", limit=63, prefix_field="nodeGroupNamePrefix"),
)

ROWS = (NODE_GROUP,)
