"""aws:ecr: repository and lifecycle policy."""

from __future__ import annotations

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, creating
from infra.local.aws.provider.schema import block, block_set, blocks, camel, document, flag, out, text
from infra.local.aws.provider.values import Values

ECR_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="resourceArn",
    tags="tags",
    keys="tagKeys",
    listing="list_tags_for_resource",
    listed="tags",
)


def _update(scope: Scope, repository: str, values: Values, changed: frozenset[str]) -> None:
    if changed & {"imageTagMutability", "imageTagMutabilityExclusionFilters"}:
        request = scope.request(values, {"imageTagMutability", "imageTagMutabilityExclusionFilters"})
        scope.api.put_image_tag_mutability(repositoryName=repository, **request)
    if "imageScanningConfiguration" in changed:
        scan = values.get("imageScanningConfiguration") or {"scanOnPush": False}
        scope.api.put_image_scanning_configuration(repositoryName=repository, imageScanningConfiguration=scan)


def _create(scope: Scope, values: Values) -> str:
    encryption = scope.request(values, {"encryptionConfigurations"}).get("encryptionConfigurations")
    extra = {"encryptionConfiguration": encryption[0]} if encryption else {}
    made = creating(
        "create_repository", "repository.repositoryName", tags="tags", omit=("encryptionConfigurations",), **extra
    )
    return made(scope, values)


REPOSITORY = Row(
    kind="aws:ecr/repository:Repository",
    service="ecr",
    style=camel,
    fields={
        "name": text("repositoryName", replace=True),
        "imageTagMutability": text(default="MUTABLE"),
        "imageTagMutabilityExclusionFilters": blocks(
            {"filter": text(required=True), "filterType": text(required=True)}
        ),
        "imageScanningConfiguration": block({"scanOnPush": flag(required=True)}, computed=True),
        "encryptionConfigurations": block_set(
            {
                "encryptionType": text(default="AES256", replace=True),
                "kmsKey": text(computed=True, replace=True),
            },
            computed=True,
            replace=True,
        ),
        "forceDelete": flag(False, default=False, write_only=True),
        "arn": out(text("repositoryArn")),
        "registryId": out(text()),
        "repositoryUrl": out(text("repositoryUri")),
    },
    create=_create,
    find=lambda scope, it, state: scope.api.describe_repositories(repositoryNames=[it])["repositories"][0],
    derive=lambda scope, it, raw, state: {"encryptionConfigurations": [raw.get("encryptionConfiguration") or {}]},
    update=_update,
    delete=lambda scope, it, state: scope.api.delete_repository(
        repositoryName=it, force=bool(state.get("forceDelete"))
    ),
    tagging=ECR_TAGS,
    naming=Naming(limit=256, lower=True),
)


def _put(scope: Scope, values: Values) -> str:
    return scope.api.put_lifecycle_policy(**scope.request(values))["repositoryName"]


LIFECYCLE_POLICY = Row(
    kind="aws:ecr/lifecyclePolicy:LifecyclePolicy",
    service="ecr",
    style=camel,
    fields={
        "repository": text("repositoryName", required=True, replace=True),
        "policy": document("lifecyclePolicyText", required=True),
        "registryId": out(text()),
    },
    create=_put,
    find=lambda scope, it, state: scope.api.get_lifecycle_policy(repositoryName=it),
    update=lambda scope, it, values, changed: _put_again(scope, values),
    delete=lambda scope, it, state: scope.api.delete_lifecycle_policy(repositoryName=it),
    delete_before_replace=True,
)


def _put_again(scope: Scope, values: Values) -> None:
    _put(scope, values)


ROWS = (REPOSITORY, LIFECYCLE_POLICY)
