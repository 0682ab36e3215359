"""aws:secretsmanager: secret and secret version."""

from __future__ import annotations

import base64
import json

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, creating
from infra.local.aws.provider.schema import document, flag, integer, out, same_name, text, text_set
from infra.local.aws.provider.values import Values

SECRET_TAGS = Tagging(put="tag_resource", remove="untag_resource", subject="SecretId", arn=False, listed="Tags")
NOW = 0
"""recoveryWindowInDays that deletes at once."""


def _find_secret(scope: Scope, secret: str, state: Values) -> Values | None:
    found = scope.api.describe_secret(SecretId=secret)
    return None if found.get("DeletedDate") else found


def _put_policy(scope: Scope, secret: str, values: Values) -> None:
    if values.get("policy"):
        scope.api.put_resource_policy(SecretId=secret, ResourcePolicy=values["policy"])


def _secret_policy(scope: Scope, secret: str, state: Values) -> str | None:
    if not state.get("policy"):
        return None
    policy = scope.api.get_resource_policy(SecretId=secret).get("ResourcePolicy")
    return json.dumps(policy) if isinstance(policy, dict) else policy


def _update_secret(scope: Scope, secret: str, values: Values, changed: frozenset[str]) -> None:
    request = scope.request(values, changed & {"description", "kmsKeyId"})
    if request:
        scope.api.update_secret(SecretId=secret, **request)
    if "policy" in changed:
        if values.get("policy"):
            _put_policy(scope, secret, values)
        else:
            scope.api.delete_resource_policy(SecretId=secret)


def _delete_secret(scope: Scope, secret: str, state: Values) -> None:
    days = state.get("recoveryWindowInDays", 30)
    window = {"ForceDeleteWithoutRecovery": True} if days == NOW else {"RecoveryWindowInDays": days}
    scope.api.delete_secret(SecretId=secret, **window)


SECRET = Row(
    kind="aws:secretsmanager/secret:Secret",
    service="secretsmanager",
    fields={
        "name": text(replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "description": text(),
        "kmsKeyId": text(same=same_name),
        "policy": document(False, computed=True),
        "recoveryWindowInDays": integer(False, default=30, write_only=True),
        "forceOverwriteReplicaSecret": flag(False, default=False, write_only=True),
        "arn": out(text("ARN")),
    },
    create=creating("create_secret", "ARN", tags="Tags"),
    settle=_put_policy,
    find=_find_secret,
    derive=lambda scope, secret, raw, state: {"policy": _secret_policy(scope, secret, state)},
    update=_update_secret,
    delete=_delete_secret,
    tagging=SECRET_TAGS,
    naming=Naming(limit=512, prefix_field="namePrefix"),
)


def _content(values: Values) -> Values:
    if values.get("secretBinary"):
        return {"SecretBinary": base64.b64decode(values["secretBinary"])}
    return {"SecretString": values.get("secretString") or ""}


def _put_version(scope: Scope, values: Values) -> str:
    stages = values.get("versionStages")
    made = scope.api.put_secret_value(
        SecretId=values["secretId"], **_content(values), **({"VersionStages": stages} if stages else {})
    )
    # The id that pulumi-aws gives a version; a secret's ARN has no `|`.
    return f"{made['ARN']}|{made['VersionId']}"


def _find_version(scope: Scope, resource_id: str, state: Values) -> Values | None:
    secret, _, version = resource_id.partition("|")
    if _find_secret(scope, secret, state) is None:
        return None
    return scope.api.get_secret_value(SecretId=secret, VersionId=version)


def _update_version(scope: Scope, resource_id: str, values: Values, changed: frozenset[str]) -> None:
    secret, _, version = resource_id.partition("|")
    there = set((_find_version(scope, resource_id, values) or {}).get("VersionStages", []))
    wanted = set(values.get("versionStages") or there)
    for stage in sorted(wanted - there):
        scope.api.update_secret_version_stage(SecretId=secret, VersionStage=stage, MoveToVersionId=version)
    for stage in sorted(there - wanted - {"AWSCURRENT"}):
        scope.api.update_secret_version_stage(SecretId=secret, VersionStage=stage, RemoveFromVersionId=version)


def _drop_version(scope: Scope, resource_id: str, state: Values) -> None:
    """A version without stages is one that Secrets Manager forgets; the current one goes with its secret."""
    secret, _, version = resource_id.partition("|")
    for stage in sorted(set(state.get("versionStages") or []) - {"AWSCURRENT"}):
        scope.api.update_secret_version_stage(SecretId=secret, VersionStage=stage, RemoveFromVersionId=version)


SECRET_VERSION = Row(
    kind="aws:secretsmanager/secretVersion:SecretVersion",
    service="secretsmanager",
    fields={
        "secretId": text(reply=False, required=True, replace=True),
        "secretString": text(secret=True, replace=True),
        "secretBinary": text(reply=False, secret=True, replace=True),
        "versionStages": text_set(computed=True),
        "arn": out(text("ARN")),
        "secretArn": out(text("ARN")),
        "versionId": out(text()),
        "hasSecretStringWo": out(flag(False)),
    },
    create=_put_version,
    find=_find_version,
    derive=lambda scope, version, raw, state: {
        "secretId": state.get("secretId") if same_name(state.get("secretId"), raw["ARN"]) else raw["ARN"],
        "secretBinary": base64.b64encode(raw["SecretBinary"]).decode() if raw.get("SecretBinary") else None,
        "hasSecretStringWo": False,
    },
    update=_update_version,
    delete=_drop_version,
)

ROWS = (SECRET, SECRET_VERSION)
