"""aws:iam: role, inline policy, attachment of a managed policy, instance profile."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, creating, tags_of
from infra.local.aws.provider.schema import block_set, document, flag, integer, out, text, text_set
from infra.local.aws.provider.values import Values

IAM_TAGS = Tagging(put="tag_role", remove="untag_role", subject="RoleName", arn=False, listed="Tags")
PROFILE_TAGS = Tagging(
    put="tag_instance_profile",
    remove="untag_instance_profile",
    subject="InstanceProfileName",
    arn=False,
    listed="Tags",
)


def _policy_text(policy: Any) -> str:
    """botocore decodes policy documents to objects, and leaves those it cannot read URL-quoted."""
    return unquote(policy) if isinstance(policy, str) else json.dumps(policy)


def _inline_names(scope: Scope, role: str) -> list[str]:
    pages = scope.api.get_paginator("list_role_policies").paginate(RoleName=role)
    return [name for page in pages for name in page["PolicyNames"]]


def _attached(scope: Scope, role: str) -> set[str]:
    pages = scope.api.get_paginator("list_attached_role_policies").paginate(RoleName=role)
    return {it["PolicyArn"] for page in pages for it in page["AttachedPolicies"]}


def _put_policies(scope: Scope, role: str, values: Values, changed: frozenset[str]) -> None:
    if "inlinePolicies" in changed:
        wanted = {it["name"]: it["policy"] for it in values.get("inlinePolicies") or []}
        for name in set(_inline_names(scope, role)) - set(wanted):
            scope.api.delete_role_policy(RoleName=role, PolicyName=name)
        for name, policy in wanted.items():
            scope.api.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=policy)
    if "managedPolicyArns" in changed:
        there, asked = _attached(scope, role), set(values.get("managedPolicyArns") or [])
        for arn in sorted(there - asked):
            scope.api.detach_role_policy(RoleName=role, PolicyArn=arn)
        for arn in sorted(asked - there):
            scope.api.attach_role_policy(RoleName=role, PolicyArn=arn)


def _settle_role(scope: Scope, role: str, values: Values) -> None:
    _put_policies(
        scope, role, values, frozenset(name for name in ("inlinePolicies", "managedPolicyArns") if values.get(name))
    )


def _role_outputs(scope: Scope, role: str, raw: Values, state: Values) -> Values:
    outputs: Values = {"assumeRolePolicy": _policy_text(raw["AssumeRolePolicyDocument"])}
    # Policies of resources of their own must not look like drift of a role that lists none.
    if state.get("inlinePolicies"):
        found = [scope.api.get_role_policy(RoleName=role, PolicyName=name) for name in _inline_names(scope, role)]
        outputs["inlinePolicies"] = [
            {"name": it["PolicyName"], "policy": _policy_text(it["PolicyDocument"])} for it in found
        ]
    if state.get("managedPolicyArns"):
        outputs["managedPolicyArns"] = sorted(_attached(scope, role))
    return outputs


def _update_role(scope: Scope, role: str, values: Values, changed: frozenset[str]) -> None:
    if "assumeRolePolicy" in changed:
        scope.api.update_assume_role_policy(RoleName=role, PolicyDocument=values["assumeRolePolicy"])
    if changed & {"description", "maxSessionDuration"}:
        hours = values["maxSessionDuration"]
        scope.api.update_role(RoleName=role, Description=values.get("description", ""), MaxSessionDuration=hours)
    if "permissionsBoundary" in changed:
        if values.get("permissionsBoundary"):
            scope.api.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=values["permissionsBoundary"])
        else:
            scope.api.delete_role_permissions_boundary(RoleName=role)
    _put_policies(scope, role, values, changed)


def _delete_role(scope: Scope, role: str, state: Values) -> None:
    everything = bool(state.get("forceDetachPolicies"))
    if everything or state.get("inlinePolicies"):
        for name in _inline_names(scope, role):
            scope.api.delete_role_policy(RoleName=role, PolicyName=name)
    if everything or state.get("managedPolicyArns"):
        for arn in sorted(_attached(scope, role)):
            scope.api.detach_role_policy(RoleName=role, PolicyArn=arn)
    scope.api.delete_role(RoleName=role)


ROLE = Row(
    kind="aws:iam/role:Role",
    service="iam",
    regional=False,
    fields={
        "name": text("RoleName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "path": text(default="/", replace=True),
        "assumeRolePolicy": document("AssumeRolePolicyDocument", required=True),
        "description": text(),
        "maxSessionDuration": integer(default=3600),
        "permissionsBoundary": text("PermissionsBoundary"),
        "forceDetachPolicies": flag(False, default=False, write_only=True),
        "inlinePolicies": block_set({"name": text(), "policy": document()}, False),
        "managedPolicyArns": text_set(False),
        "arn": out(text()),
        "createDate": out(text()),
        "uniqueId": out(text("RoleId")),
    },
    create=creating("create_role", "Role.RoleName", tags="Tags"),
    settle=_settle_role,
    find=lambda scope, role, state: scope.api.get_role(RoleName=role)["Role"],
    derive=lambda scope, role, raw, state: {
        **_role_outputs(scope, role, raw, state),
        "permissionsBoundary": (raw.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn"),
    },
    update=_update_role,
    delete=_delete_role,
    tagging=IAM_TAGS,
    naming=Naming(limit=64, prefix_field="namePrefix"),
)


def _put_policy(scope: Scope, values: Values) -> str:
    scope.api.put_role_policy(**scope.request(values))
    return f"{values['role']}:{values['name']}"


def _find_policy(scope: Scope, resource_id: str, state: Values) -> Values | None:
    role, _, name = resource_id.partition(":")
    found = scope.api.get_role_policy(RoleName=role, PolicyName=name)
    return {**found, "PolicyDocument": _policy_text(found["PolicyDocument"])}


def _delete_policy(scope: Scope, resource_id: str, state: Values) -> None:
    role, _, name = resource_id.partition(":")
    scope.api.delete_role_policy(RoleName=role, PolicyName=name)


ROLE_POLICY = Row(
    kind="aws:iam/rolePolicy:RolePolicy",
    service="iam",
    regional=False,
    fields={
        "role": text("RoleName", required=True, replace=True),
        "name": text("PolicyName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "policy": document("PolicyDocument", required=True),
    },
    create=_put_policy,
    find=_find_policy,
    update=lambda scope, resource_id, values, changed: _put_again(scope, values),
    delete=_delete_policy,
    naming=Naming(limit=128, prefix_field="namePrefix"),
)


def _put_again(scope: Scope, values: Values) -> None:
    _put_policy(scope, values)


def _attach(scope: Scope, values: Values) -> str:
    scope.api.attach_role_policy(**scope.request(values))
    return f"{values['role']}/{values['policyArn']}"


def _find_attachment(scope: Scope, resource_id: str, state: Values) -> Values | None:
    role, _, arn = resource_id.partition("/")
    return {"RoleName": role, "PolicyArn": arn} if arn in _attached(scope, role) else None


def _detach(scope: Scope, resource_id: str, state: Values) -> None:
    role, _, arn = resource_id.partition("/")
    scope.api.detach_role_policy(RoleName=role, PolicyArn=arn)


ROLE_POLICY_ATTACHMENT = Row(
    kind="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    service="iam",
    regional=False,
    fields={"role": text("RoleName", required=True, replace=True), "policyArn": text(required=True, replace=True)},
    create=_attach,
    find=_find_attachment,
    delete=_detach,
    delete_before_replace=True,
)


def _create_profile(scope: Scope, values: Values) -> str:
    made = scope.api.create_instance_profile(
        InstanceProfileName=values["name"], Path=values["path"], **tags_of(scope, values, "Tags")
    )
    return made["InstanceProfile"]["InstanceProfileName"]


def _settle_profile(scope: Scope, profile: str, values: Values) -> None:
    if values.get("role"):
        scope.api.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=values["role"])


def _update_profile(scope: Scope, profile: str, values: Values, changed: frozenset[str]) -> None:
    if "role" in changed:
        for role in _profile(scope, profile)["Roles"]:
            scope.api.remove_role_from_instance_profile(InstanceProfileName=profile, RoleName=role["RoleName"])
        _settle_profile(scope, profile, values)


def _delete_profile(scope: Scope, profile: str, state: Values) -> None:
    # IAM refuses to delete a profile that holds a role.
    for role in _profile(scope, profile)["Roles"]:
        scope.api.remove_role_from_instance_profile(InstanceProfileName=profile, RoleName=role["RoleName"])
    scope.api.delete_instance_profile(InstanceProfileName=profile)


def _profile(scope: Scope, profile: str) -> Values:
    return scope.api.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]


INSTANCE_PROFILE = Row(
    kind="aws:iam/instanceProfile:InstanceProfile",
    service="iam",
    regional=False,
    fields={
        "name": text("InstanceProfileName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "path": text(default="/", replace=True),
        "role": text(False),
        "arn": out(text()),
        "createDate": out(text()),
        "uniqueId": out(text("InstanceProfileId")),
    },
    create=_create_profile,
    settle=_settle_profile,
    find=lambda scope, profile, state: _profile(scope, profile),
    derive=lambda scope, profile, raw, state: {
        "role": raw["Roles"][0]["RoleName"] if raw.get("Roles") else None,
    },
    update=_update_profile,
    delete=_delete_profile,
    tagging=PROFILE_TAGS,
    naming=Naming(limit=128, prefix_field="namePrefix"),
)

ROWS = (ROLE, ROLE_POLICY, ROLE_POLICY_ATTACHMENT, INSTANCE_PROFILE)
