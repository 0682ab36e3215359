"""aws:kms: key and alias."""

from __future__ import annotations

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, creating, deleting, updating
from infra.local.aws.provider.schema import document, flag, integer, out, same_name, text
from infra.local.aws.provider.values import Values

KMS_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="KeyId",
    key="TagKey",
    value="TagValue",
    arn=False,
    listing="list_resource_tags",
    listed="Tags",
)


def _settle_key(scope: Scope, key: str, values: Values) -> None:
    if values["enableKeyRotation"]:
        _set_rotation(scope, key, values)
    if not values["isEnabled"]:
        scope.api.disable_key(KeyId=key)


def _set_rotation(scope: Scope, key: str, values: Values) -> None:
    if not values["enableKeyRotation"]:
        scope.api.disable_key_rotation(KeyId=key)
        return
    period = values.get("rotationPeriodInDays")
    scope.api.enable_key_rotation(KeyId=key, **({"RotationPeriodInDays": period} if period else {}))


def _find_key(scope: Scope, key: str, state: Values) -> Values | None:
    found = scope.api.describe_key(KeyId=key)["KeyMetadata"]
    return None if found["KeyState"] == "PendingDeletion" else found


def _key_outputs(scope: Scope, key: str, raw: Values, state: Values) -> Values:
    rotation: Values = {}
    if raw.get("KeySpec", "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT" and raw.get("KeyUsage") == "ENCRYPT_DECRYPT":
        rotation = scope.api.get_key_rotation_status(KeyId=key)
    enabled = bool(rotation.get("KeyRotationEnabled"))
    return {
        "policy": scope.api.get_key_policy(KeyId=key, PolicyName="default")["Policy"],
        "enableKeyRotation": enabled,
        "rotationPeriodInDays": rotation.get("RotationPeriodInDays") if enabled else None,
    }


def _update_key(scope: Scope, key: str, values: Values, changed: frozenset[str]) -> None:
    if "isEnabled" in changed and values["isEnabled"]:
        scope.api.enable_key(KeyId=key)
    if changed & {"enableKeyRotation", "rotationPeriodInDays"}:
        _set_rotation(scope, key, values)
    if "description" in changed:
        scope.api.update_key_description(KeyId=key, Description=values["description"])
    if "policy" in changed and values.get("policy"):
        skip = bool(values.get("bypassPolicyLockoutSafetyCheck"))
        policy = values["policy"]
        scope.api.put_key_policy(KeyId=key, PolicyName="default", Policy=policy, BypassPolicyLockoutSafetyCheck=skip)
    if "isEnabled" in changed and not values["isEnabled"]:
        scope.api.disable_key(KeyId=key)


def _delete_key(scope: Scope, key: str, state: Values) -> None:
    days = state.get("deletionWindowInDays") or 30
    if _find_key(scope, key, state) is not None:
        scope.api.schedule_key_deletion(KeyId=key, PendingWindowInDays=days)


KEY = Row(
    kind="aws:kms/key:Key",
    service="kms",
    fields={
        "description": text(default=""),
        "keyUsage": text(default="ENCRYPT_DECRYPT", replace=True),
        "customerMasterKeySpec": text("KeySpec", default="SYMMETRIC_DEFAULT", replace=True),
        "multiRegion": flag(default=False, replace=True),
        "policy": document(computed=True),
        "bypassPolicyLockoutSafetyCheck": flag(write_only=True, default=False),
        "deletionWindowInDays": integer(False, write_only=True),
        "enableKeyRotation": flag(False, default=False),
        "rotationPeriodInDays": integer(False, computed=True),
        "isEnabled": flag("Enabled", default=True),
        "arn": out(text()),
        "keyId": out(text()),
    },
    create=creating("create_key", "KeyMetadata.KeyId", tags="Tags", omit=("isEnabled",)),
    settle=_settle_key,
    find=_find_key,
    derive=_key_outputs,
    update=_update_key,
    delete=_delete_key,
    tagging=KMS_TAGS,
)


def _create_alias(scope: Scope, values: Values) -> str:
    scope.api.create_alias(AliasName=values["name"], TargetKeyId=values["targetKeyId"])
    return values["name"]


def _find_alias(scope: Scope, alias: str, state: Values) -> Values | None:
    for page in scope.api.get_paginator("list_aliases").paginate():
        for found in page["Aliases"]:
            if found["AliasName"] == alias:
                return found
    return None


ALIAS = Row(
    kind="aws:kms/alias:Alias",
    service="kms",
    fields={
        "name": text("AliasName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "targetKeyId": text(required=True, same=same_name),
        "arn": out(text("AliasArn")),
        "targetKeyArn": out(text(False)),
    },
    create=_create_alias,
    find=_find_alias,
    derive=lambda scope, alias, raw, state: {"targetKeyArn": scope.arn("kms", f"key/{raw.get('TargetKeyId')}")},
    update=updating("update_alias", lambda alias: {"AliasName": alias}),
    delete=deleting("delete_alias", lambda alias: {"AliasName": alias}),
    naming=Naming(start="alias/", limit=256, prefix_field="namePrefix"),
)

ROWS = (KEY, ALIAS)
