"""aws:cloudtrail: a trail of calls."""

from __future__ import annotations

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, dig
from infra.local.aws.provider.schema import flag, out, same_name, text
from infra.local.aws.provider.values import Values

TRAIL_TAGS = Tagging(
    put="add_tags", remove="remove_tags", subject="ResourceId", tags="TagsList", keys="TagsList", keys_as_tags=True
)


def _create(scope: Scope, values: Values) -> str:
    tags = {"TagsList": TRAIL_TAGS.encode(values["tagsAll"])} if values.get("tagsAll") else {}
    return scope.api.create_trail(**scope.request(values), **tags)["TrailARN"]


def _settle(scope: Scope, trail: str, values: Values) -> None:
    if values["enableLogging"]:
        scope.api.start_logging(Name=trail)


def _find(scope: Scope, trail: str, state: Values) -> Values | None:
    return dig(scope.api.describe_trails(trailNameList=[trail]), "trailList.0")


def _outputs(scope: Scope, trail: str, raw: Values, state: Values) -> Values:
    listed = dig(scope.api.list_tags(ResourceIdList=[trail]), "ResourceTagList.0.TagsList")
    return {
        "enableLogging": bool(scope.api.get_trail_status(Name=trail)["IsLogging"]),
        "homeRegion": raw.get("HomeRegion", scope.region),
        "tagsAll": TRAIL_TAGS.decode(listed),
    }


def _update(scope: Scope, trail: str, values: Values, changed: frozenset[str]) -> None:
    if changed - {"enableLogging"}:
        scope.api.update_trail(**{**scope.request(values), "Name": trail})
    if "enableLogging" in changed:
        if values["enableLogging"]:
            scope.api.start_logging(Name=trail)
        else:
            scope.api.stop_logging(Name=trail)


TRAIL = Row(
    kind="aws:cloudtrail/trail:Trail",
    service="cloudtrail",
    fields={
        "name": text(replace=True),
        "s3BucketName": text(required=True),
        "s3KeyPrefix": text(),
        "kmsKeyId": text(same=same_name),
        "isMultiRegionTrail": flag(default=False),
        "includeGlobalServiceEvents": flag(default=True),
        "enableLogFileValidation": flag(reply="LogFileValidationEnabled", default=False),
        "enableLogging": flag(False, default=True),
        "arn": out(text("TrailARN")),
        "homeRegion": out(text(False)),
    },
    create=_create,
    settle=_settle,
    find=_find,
    derive=_outputs,
    update=_update,
    delete=lambda scope, trail, state: scope.api.delete_trail(Name=state["name"]),
    tagging=TRAIL_TAGS,
    naming=Naming(limit=128),
)

ROWS = (TRAIL,)
