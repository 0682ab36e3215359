"""aws:cloudwatch (EventBridge): rule and target."""

from __future__ import annotations

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, deleting, tags_of
from infra.local.aws.provider.schema import document, flag, out, text
from infra.local.aws.provider.values import Values

RULE_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="ResourceARN",
    listing="list_tags_for_resource",
    listed="Tags",
)
DEFAULT_BUS = "default"


def _put_rule(scope: Scope, values: Values) -> str:
    scope.api.put_rule(**scope.request(values), **tags_of(scope, values, "Tags"))
    bus, name = values["eventBusName"], values["name"]
    return name if bus == DEFAULT_BUS else f"{bus}/{name}"


def _rule_key(rule: str) -> Values:
    bus, slash, name = rule.rpartition("/")
    return {"Name": name, "EventBusName": bus if slash else DEFAULT_BUS}


def _put_rule_again(scope: Scope, rule: str, values: Values, changed: frozenset[str]) -> None:
    # PutRule replaces the whole rule, but takes tags for a new one only.
    scope.api.put_rule(**scope.request(values))


RULE = Row(
    kind="aws:cloudwatch/eventRule:EventRule",
    service="events",
    fields={
        "name": text(replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "description": text(),
        "eventBusName": text(default=DEFAULT_BUS, replace=True),
        "eventPattern": document(),
        "scheduleExpression": text(),
        "roleArn": text(),
        "state": text(default="ENABLED"),
        "forceDestroy": flag(False, default=False, write_only=True),
        "arn": out(text()),
    },
    create=_put_rule,
    find=lambda scope, rule, state: scope.api.describe_rule(**_rule_key(rule)),
    update=_put_rule_again,
    delete=deleting("delete_rule", _rule_key),
    tagging=RULE_TAGS,
    naming=Naming(limit=64, prefix_field="namePrefix"),
)


def _target(values: Values) -> Values:
    wire = {"targetId": "Id", "arn": "Arn", "input": "Input", "inputPath": "InputPath", "roleArn": "RoleArn"}
    return {wire[name]: values[name] for name in wire if values.get(name) is not None}


def _put_target(scope: Scope, values: Values) -> str:
    answer = scope.api.put_targets(Rule=values["rule"], EventBusName=values["eventBusName"], Targets=[_target(values)])
    if answer.get("FailedEntryCount"):
        raise ValueError(f"EventBridge refused the target: {answer['FailedEntries']}")
    parts = [values["rule"], values["targetId"]]
    return "-".join(parts if values["eventBusName"] == DEFAULT_BUS else [values["eventBusName"], *parts])


def _find_target(scope: Scope, target: str, state: Values) -> Values | None:
    listed = scope.api.list_targets_by_rule(Rule=state["rule"], EventBusName=state["eventBusName"])["Targets"]
    found = next((it for it in listed if it["Id"] == state["targetId"]), None)
    return {**found, "Rule": state["rule"], "EventBusName": state["eventBusName"]} if found else None


def _put_target_again(scope: Scope, target: str, values: Values, changed: frozenset[str]) -> None:
    _put_target(scope, values)


def _remove_target(scope: Scope, target: str, state: Values) -> None:
    scope.api.remove_targets(Rule=state["rule"], EventBusName=state["eventBusName"], Ids=[state["targetId"]])


TARGET = Row(
    kind="aws:cloudwatch/eventTarget:EventTarget",
    service="events",
    fields={
        "rule": text(required=True, replace=True),
        "eventBusName": text(default=DEFAULT_BUS, replace=True),
        "targetId": text("Id", replace=True),
        "arn": text(required=True),
        "input": document(),
        "inputPath": text(),
        "roleArn": text(),
    },
    create=_put_target,
    find=_find_target,
    update=_put_target_again,
    delete=_remove_target,
    naming=Naming(field="targetId", limit=64),
    delete_before_replace=True,
)

ROWS = (RULE, TARGET)
