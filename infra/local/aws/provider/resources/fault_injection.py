"""aws:fis: experiment template. Pulumi has lists of named blocks where the API has maps by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from infra.local.aws.provider.row import Row, Scope, Tagging, deleting, tags_of
from infra.local.aws.provider.schema import Property, block, block_set, camel, mapping, order, out, text, text_set
from infra.local.aws.provider.values import Values

FIS_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="resourceArn",
    tags="tags",
    keys="tagKeys",
    key="",
    listing="list_tags_for_resource",
    listed="tags",
)
PAIR: dict[str, Property] = {"key": text(required=True), "value": text(required=True)}
ACTION: dict[str, Property] = {
    "name": text(required=True),
    "actionId": text(required=True),
    "description": text(),
    "parameters": block_set(PAIR),
    "target": block(PAIR),
    "startAfters": text_set(),
}
TARGET: dict[str, Property] = {
    "name": text(required=True),
    "resourceType": text(required=True),
    "selectionMode": text(required=True),
    "filters": block_set({"path": text(required=True), "values": text_set(required=True)}),
    "parameters": mapping(),
    "resourceArns": text_set(),
    "resourceTags": block_set(PAIR),
}


def _map_of(pairs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in pairs}


def _pairs_of(values: Mapping[str, str]) -> list[Values]:
    return sorted(({"key": key, "value": value} for key, value in values.items()), key=order)


def _known(values: Values) -> Values:
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _action_asked(action: Values) -> Values:
    return _known(
        {
            "actionId": action["actionId"],
            "description": action.get("description"),
            "parameters": _map_of(action.get("parameters") or ()),
            "targets": _map_of([action["target"]] if action.get("target") else ()),
            "startAfter": action.get("startAfters"),
        }
    )


def _action_told(name: str, action: Values) -> Values:
    target = _pairs_of(action.get("targets") or {})
    return _known(
        {
            "name": name,
            "actionId": action["actionId"],
            "description": action.get("description"),
            "parameters": _pairs_of(action.get("parameters") or {}),
            "target": target[0] if target else None,
            "startAfters": sorted(action.get("startAfter") or ()),
        }
    )


def _target_asked(target: Values) -> Values:
    asked = {key: value for key, value in target.items() if key not in ("name", "resourceTags")}
    return _known({**asked, "resourceTags": _map_of(target.get("resourceTags") or ())})


def _target_told(name: str, target: Values) -> Values:
    told = {key: value for key, value in target.items() if key != "resourceTags"}
    return _known({**told, "name": name, "resourceTags": _pairs_of(target.get("resourceTags") or {})})


def _asked(scope: Scope, values: Values) -> Values:
    return {
        **scope.request(values, ["description", "roleArn", "stopConditions", "experimentOptions"]),
        "actions": {action["name"]: _action_asked(action) for action in values["actions"]},
        "targets": {target["name"]: _target_asked(target) for target in values.get("targets") or ()},
    }


def _create(scope: Scope, values: Values) -> str:
    made = scope.api.create_experiment_template(**_asked(scope, values), **tags_of(scope, values, "tags"))
    return made["experimentTemplate"]["id"]


def _find(scope: Scope, template: str, state: Values) -> Values | None:
    found: dict[str, Any] = scope.api.get_experiment_template(id=template)["experimentTemplate"]
    return {
        **found,
        "actions": [_action_told(name, action) for name, action in found["actions"].items()],
        "targets": [_target_told(name, target) for name, target in found["targets"].items()],
    }


def _update(scope: Scope, template: str, values: Values, changed: frozenset[str]) -> None:
    asked = _asked(scope, values)
    # How accounts are targeted is settled at the creation; the API refuses the field afterwards.
    if options := asked.get("experimentOptions"):
        options.pop("accountTargeting", None)
    scope.api.update_experiment_template(id=template, **asked)


TEMPLATE = Row(
    kind="aws:fis/experimentTemplate:ExperimentTemplate",
    service="fis",
    fields={
        "description": text(required=True),
        "roleArn": text(required=True),
        "actions": block_set(ACTION, required=True),
        "targets": block_set(TARGET),
        "stopConditions": block_set({"source": text(required=True), "value": text()}, required=True),
        "experimentOptions": block({"accountTargeting": text(), "emptyTargetResolutionMode": text()}, computed=True),
        "arn": out(text()),  # beyond the official provider: tags are put by it
    },
    create=_create,
    find=_find,
    update=_update,
    delete=deleting("delete_experiment_template", lambda template: {"id": template}),
    tagging=FIS_TAGS,
    style=camel,
)

ROWS = (TEMPLATE,)
