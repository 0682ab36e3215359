"""aws:eks cluster."""

from __future__ import annotations

from infra.local.aws.provider.resources.eks_common import EKS_TAGS, MINUTES_20, wait_status
from infra.local.aws.provider.row import Naming, Row, Scope, creating, finding
from infra.local.aws.provider.schema import block, blocks, camel, flag, out, text, text_set
from infra.local.aws.provider.values import Values

VPC = {
    "subnetIds": text_set(required=True),
    "securityGroupIds": text_set(),
    "endpointPrivateAccess": flag(default=False),
    "endpointPublicAccess": flag(default=True),
    "publicAccessCidrs": text_set(computed=True),
    "clusterSecurityGroupId": out(text()),
    "vpcId": out(text()),
}
NETWORK = {
    "ipFamily": text(computed=True, replace=True),
    "serviceIpv4Cidr": text(computed=True, replace=True),
    "serviceIpv6Cidr": text(computed=True, replace=True),
    "elasticLoadBalancing": block({"enabled": flag()}, computed=True),
}
WAYS = {"accessConfig": "accessConfig", "upgradePolicy": "upgradePolicy", "zonalShiftConfig": "zonalShiftConfig"}
LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")


def _logging(values: Values) -> Values:
    on = values.get("enabledClusterLogTypes") or []
    off = [it for it in LOG_TYPES if it not in on]
    chosen = [{"types": list(types), "enabled": enabled} for types, enabled in ((on, True), (off, False)) if types]
    return {"clusterLogging": chosen}


def _encryption(values: Values) -> list[Values]:
    config = values["encryptionConfig"]
    return [{"resources": config["resources"], "provider": {"keyArn": config["provider"]["keyArn"]}}]


def _create(scope: Scope, values: Values) -> str:
    special = {name: it for name, it in values.items() if name not in {"enabledClusterLogTypes", "encryptionConfig"}}
    extra: Values = {"logging": _logging(values)} if values.get("enabledClusterLogTypes") else {}
    if values.get("encryptionConfig"):
        extra["encryptionConfig"] = _encryption(values)
    return creating("create_cluster", "cluster.name", tags="tags", **extra)(scope, special)


def _outputs(scope: Scope, cluster: str, raw: Values, state: Values) -> Values:
    logs = raw.get("logging", {}).get("clusterLogging", [])
    encryption = (raw.get("encryptionConfig") or [None])[0]
    issuer = raw.get("identity", {}).get("oidc", {}).get("issuer")
    return {
        "enabledClusterLogTypes": sorted(it for log in logs if log.get("enabled") for it in log["types"]),
        "encryptionConfig": encryption and {**encryption, "provider": {"keyArn": encryption["provider"]["keyArn"]}},
        "identities": [{"oidcs": [{"issuer": issuer}]}] if issuer else [],
    }


def _settle(scope: Scope, cluster: str, values: Values) -> None:
    wait_status(scope, f"cluster {cluster}", cluster, values)


def _update(scope: Scope, cluster: str, values: Values, changed: frozenset[str]) -> None:
    api, settled = scope.api, lambda: _settle(scope, cluster, values)
    if "vpcConfig" in changed:
        asked = scope.request(values, {"vpcConfig"})["resourcesVpcConfig"]
        live = api.describe_cluster(name=cluster)["cluster"]["resourcesVpcConfig"]
        ends = ("endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs")
        # EKS takes a change of the endpoint and a change of the subnets in separate calls.
        for part in (ends, ("subnetIds", "securityGroupIds")):
            fresh = {name: asked[name] for name in part if name in asked and not _same(asked[name], live.get(name))}
            if fresh:
                api.update_cluster_config(name=cluster, resourcesVpcConfig=fresh)
                settled()
    if "enabledClusterLogTypes" in changed:
        api.update_cluster_config(name=cluster, logging=_logging(values))
        settled()
    for name in sorted(changed & {*WAYS, "deletionProtection"}):
        request = scope.request(values, {name})
        if name == "accessConfig":
            request = {name: {"authenticationMode": values[name]["authenticationMode"]}}
        if request:
            api.update_cluster_config(name=cluster, **request)
            settled()
    if "encryptionConfig" in changed and values.get("encryptionConfig"):
        api.associate_encryption_config(clusterName=cluster, encryptionConfig=_encryption(values))
        settled()
    if "version" in changed and values.get("version"):
        api.update_cluster_version(name=cluster, version=values["version"])
        settled()


def _same(a: object, b: object) -> bool:
    return sorted(a) == sorted(b) if isinstance(a, list) and isinstance(b, list) else a == b


def _delete(scope: Scope, cluster: str, state: Values) -> None:
    scope.api.delete_cluster(name=cluster)
    scope.wait_gone(f"cluster {cluster}", cluster, state, MINUTES_20)


CLUSTER = Row(
    kind="aws:eks/cluster:Cluster",
    service="eks",
    style=camel,
    fields={
        "name": text(replace=True),
        "roleArn": text(required=True, replace=True),
        "version": text(computed=True),
        "vpcConfig": block(VPC, "resourcesVpcConfig", required=True),
        "accessConfig": block(
            {
                "authenticationMode": text(computed=True),
                # EKS takes it at creation and does not change it later.
                "bootstrapClusterCreatorAdminPermissions": flag(default=True, replace=True, write_only=True),
            },
            computed=True,
        ),
        "bootstrapSelfManagedAddons": flag(default=True, replace=True, write_only=True),
        "deletionProtection": flag(computed=True),
        "enabledClusterLogTypes": text_set(False),
        "encryptionConfig": block(
            {
                "provider": block({"keyArn": text(required=True, replace=True)}, required=True),
                "resources": text_set(required=True),
            },
            False,
        ),
        "forceUpdateVersion": flag(False, write_only=True),
        "kubernetesNetworkConfig": block(NETWORK, computed=True),
        "upgradePolicy": block({"supportType": text(computed=True)}, computed=True),
        "zonalShiftConfig": block({"enabled": flag()}),
        "arn": out(text()),
        "certificateAuthority": out(block({"data": text()})),
        "createdAt": out(text()),
        "endpoint": out(text()),
        "identities": out(blocks({"oidcs": blocks({"issuer": text()})}, False)),
        "platformVersion": out(text()),
        "status": out(text()),
    },
    create=_create,
    settle=_settle,
    find=finding("describe_cluster", "cluster", lambda cluster: {"name": cluster}),
    derive=_outputs,
    update=_update,
    delete=_delete,
    tagging=EKS_TAGS,
    naming=Naming(limit=100),
    renewed={"platformVersion": ("version",)},
)

ROWS = (CLUSTER,)
