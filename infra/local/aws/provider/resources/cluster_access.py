"""aws:eks: add-ons, access entries and their policies, pod identity."""

from __future__ import annotations

from infra.local.aws.provider.resources.eks_common import EKS_TAGS, MINUTES_20, wait_status
from infra.local.aws.provider.row import Row, Scope, tags_of
from infra.local.aws.provider.schema import block, block_set, camel, document, flag, out, text, text_set
from infra.local.aws.provider.values import Values


def _addon_key(addon: str) -> Values:
    cluster, _, name = addon.partition(":")
    return {"clusterName": cluster, "addonName": name}


def _create_addon(scope: Scope, values: Values) -> str:
    extra = {"resolveConflicts": values["resolveConflictsOnCreate"]} if values.get("resolveConflictsOnCreate") else {}
    scope.api.create_addon(**scope.request(values), **extra, **tags_of(scope, values, "tags"))
    return f"{values['clusterName']}:{values['addonName']}"


def _update_addon(scope: Scope, addon: str, values: Values, changed: frozenset[str]) -> None:
    names = {"addonVersion", "serviceAccountRoleArn", "configurationValues", "podIdentityAssociations"}
    request = scope.request(values, changed & names)
    if "configurationValues" in changed:
        request.setdefault("configurationValues", "{}")
    if request:
        if values.get("resolveConflictsOnUpdate"):
            request["resolveConflicts"] = values["resolveConflictsOnUpdate"]
        scope.api.update_addon(**_addon_key(addon), **request)
        wait_status(scope, f"add-on {addon}", addon, values)


def _delete_addon(scope: Scope, addon: str, state: Values) -> None:
    scope.api.delete_addon(**_addon_key(addon), preserve=bool(state.get("preserve")))
    scope.wait_gone(f"add-on {addon}", addon, state, MINUTES_20)


ADDON = Row(
    kind="aws:eks/addon:Addon",
    service="eks",
    style=camel,
    fields={
        "clusterName": text(required=True, replace=True),
        "addonName": text(required=True, replace=True),
        "addonVersion": text(computed=True),
        "configurationValues": document(computed=True),
        "serviceAccountRoleArn": text(),
        "podIdentityAssociations": block_set(
            {"roleArn": text(required=True), "serviceAccount": text(required=True)}, write_only=True
        ),
        "preserve": flag(False, write_only=True),
        "resolveConflictsOnCreate": text(False, write_only=True),
        "resolveConflictsOnUpdate": text(False, write_only=True),
        "arn": out(text("addonArn")),
        "createdAt": out(text()),
        "modifiedAt": out(text()),
    },
    create=_create_addon,
    settle=lambda scope, addon, values: wait_status(scope, f"add-on {addon}", addon, values),
    find=lambda scope, addon, state: scope.api.describe_addon(**_addon_key(addon))["addon"],
    update=_update_addon,
    delete=_delete_addon,
    tagging=EKS_TAGS,
    renewed={"modifiedAt": ()},
)


def _entry_key(entry: str) -> Values:
    cluster, _, principal = entry.partition(":")
    return {"clusterName": cluster, "principalArn": principal}


def _create_entry(scope: Scope, values: Values) -> str:
    scope.api.create_access_entry(**scope.request(values), **tags_of(scope, values, "tags"))
    return f"{values['clusterName']}:{values['principalArn']}"


def _update_entry(scope: Scope, entry: str, values: Values, changed: frozenset[str]) -> None:
    request = scope.request(values, changed & {"kubernetesGroups", "userName"})
    if "kubernetesGroups" in changed:
        request.setdefault("kubernetesGroups", [])
    if request:
        scope.api.update_access_entry(**_entry_key(entry), **request)


ACCESS_ENTRY = Row(
    kind="aws:eks/accessEntry:AccessEntry",
    service="eks",
    style=camel,
    fields={
        "clusterName": text(required=True, replace=True),
        "principalArn": text(required=True, replace=True),
        "kubernetesGroups": text_set(computed=True),
        "type": text(default="STANDARD", replace=True),
        "userName": text("username", computed=True),
        "accessEntryArn": out(text()),
        "createdAt": out(text()),
        "modifiedAt": out(text()),
    },
    create=_create_entry,
    find=lambda scope, entry, state: scope.api.describe_access_entry(**_entry_key(entry))["accessEntry"],
    derive=lambda scope, entry, raw, state: {"arn": raw["accessEntryArn"]},
    update=_update_entry,
    delete=lambda scope, entry, state: scope.api.delete_access_entry(**_entry_key(entry)),
    tagging=EKS_TAGS,
    renewed={"modifiedAt": ()},
    delete_before_replace=True,
)


def _association_key(association: str) -> Values:
    cluster, principal, policy = association.split("#")
    return {"clusterName": cluster, "principalArn": principal, "policyArn": policy}


def _associate(scope: Scope, values: Values) -> str:
    scope.api.associate_access_policy(**scope.request(values))
    return f"{values['clusterName']}#{values['principalArn']}#{values['policyArn']}"


def _find_policy(scope: Scope, association: str, state: Values) -> Values | None:
    key = _association_key(association)
    policy = key.pop("policyArn")
    listed = scope.api.list_associated_access_policies(**key)["associatedAccessPolicies"]
    found = next((it for it in listed if it["policyArn"] == policy), None)
    return {**found, **key} if found else None


ACCESS_POLICY_ASSOCIATION = Row(
    kind="aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
    service="eks",
    style=camel,
    fields={
        "clusterName": text(required=True, replace=True),
        "principalArn": text(required=True, replace=True),
        "policyArn": text(required=True, replace=True),
        "accessScope": block(
            {"type": text(required=True, replace=True), "namespaces": text_set(replace=True)},
            required=True,
            replace=True,
        ),
        "associatedAt": out(text()),
        "modifiedAt": out(text()),
    },
    create=_associate,
    find=_find_policy,
    delete=lambda scope, it, state: scope.api.disassociate_access_policy(**_association_key(it)),
    delete_before_replace=True,
)


def _identity_key(association: str, state: Values) -> Values:
    cluster, comma, rest = association.partition(",")  # an import: `<cluster>,<association>`
    return {"clusterName": cluster, "associationId": rest} if comma else {
        "clusterName": state["clusterName"], "associationId": association
    }  # fmt: skip


def _create_identity(scope: Scope, values: Values) -> str:
    request = {**scope.request(values), **tags_of(scope, values, "tags")}
    return scope.api.create_pod_identity_association(**request)["association"]["associationId"]


def _update_identity(scope: Scope, association: str, values: Values, changed: frozenset[str]) -> None:
    request = scope.request(values, changed & {"roleArn", "targetRoleArn", "disableSessionTags"})
    if request:
        scope.api.update_pod_identity_association(**_identity_key(association, values), **request)


POD_IDENTITY = Row(
    kind="aws:eks/podIdentityAssociation:PodIdentityAssociation",
    service="eks",
    style=camel,
    fields={
        "clusterName": text(required=True, replace=True),
        "namespace": text(required=True, replace=True),
        "serviceAccount": text(required=True, replace=True),
        "roleArn": text(required=True),
        "targetRoleArn": text(),
        "disableSessionTags": flag(default=False),
        "associationArn": out(text()),
        "associationId": out(text()),
        "externalId": out(text()),
    },
    create=_create_identity,
    find=lambda scope, it, state: scope.api.describe_pod_identity_association(**_identity_key(it, state))[
        "association"
    ],
    derive=lambda scope, it, raw, state: {"arn": raw["associationArn"], "id": raw["associationId"]},
    update=_update_identity,
    delete=lambda scope, it, state: scope.api.delete_pod_identity_association(**_identity_key(it, state)),
    tagging=EKS_TAGS,
    delete_before_replace=True,
)

ROWS = (ADDON, ACCESS_ENTRY, ACCESS_POLICY_ASSOCIATION, POD_IDENTITY)
