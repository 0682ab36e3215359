"""aws:cloudwatch: log group and metric alarm."""

from __future__ import annotations

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, dig, finding, tags_of
from infra.local.aws.provider.schema import block, block_set, camel, flag, integer, mapping, number, out, text, text_set
from infra.local.aws.provider.values import Values

LOG_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="resourceArn",
    tags="tags",
    keys="tagKeys",
    key="",
    listing="list_tags_for_resource",
    listed="tags",
)


def _find_group(scope: Scope, group: str, state: Values) -> Values | None:
    listed = scope.api.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    return next((it for it in listed if it["logGroupName"] == group), None)


def _create_group(scope: Scope, values: Values) -> str:
    request = scope.request(values, {"name", "kmsKeyId", "logGroupClass"})
    scope.api.create_log_group(**request, **tags_of(scope, values, "tags"))
    return values["name"]


def _set_retention(scope: Scope, group: str, values: Values) -> None:
    if values["retentionInDays"]:
        scope.api.put_retention_policy(logGroupName=group, retentionInDays=values["retentionInDays"])


def _update_group(scope: Scope, group: str, values: Values, changed: frozenset[str]) -> None:
    if "retentionInDays" in changed:
        if values["retentionInDays"]:
            _set_retention(scope, group, values)
        else:
            scope.api.delete_retention_policy(logGroupName=group)
    if "kmsKeyId" in changed:
        if values.get("kmsKeyId"):
            scope.api.associate_kms_key(logGroupName=group, kmsKeyId=values["kmsKeyId"])
        else:
            scope.api.disassociate_kms_key(logGroupName=group)


LOG_GROUP = Row(
    kind="aws:cloudwatch/logGroup:LogGroup",
    service="logs",
    style=camel,
    fields={
        "name": text("logGroupName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "kmsKeyId": text(),
        "logGroupClass": text(default="STANDARD", replace=True),
        "retentionInDays": integer(default=0),
        "skipDestroy": flag(False, default=False, write_only=True),
        "arn": out(text(False)),
    },
    create=_create_group,
    settle=_set_retention,
    find=_find_group,
    # CloudWatch Logs ends a group's ARN in `:*`; pulumi-aws leaves that out.
    derive=lambda scope, group, raw, state: {"arn": raw["arn"].removesuffix(":*")},
    update=_update_group,
    delete=lambda scope, group, state: (
        None if state.get("skipDestroy") else scope.api.delete_log_group(logGroupName=group)
    ),
    tagging=LOG_TAGS,
    naming=Naming(limit=512, prefix_field="namePrefix"),
)

ALARM_TAGS = Tagging(
    put="tag_resource", remove="untag_resource", subject="ResourceARN", listing="list_tags_for_resource", listed="Tags"
)
METRIC = {
    "metricName": text(required=True),
    "namespace": text(),
    "period": integer(required=True),
    "stat": text(required=True),
    "unit": text(),
    "dimensions": mapping(),
}


def _dimensions(dimensions: Values | None) -> list[Values]:
    return [{"Name": name, "Value": value} for name, value in sorted((dimensions or {}).items())]


def _by_name(listed: list[Values] | None) -> Values | None:
    return {it["Name"]: it["Value"] for it in listed} if listed else None


def _query(query: Values) -> Values:
    request: Values = {"Id": query["id"], "ReturnData": bool(query.get("returnData"))}
    for name, wire in (
        ("expression", "Expression"),
        ("label", "Label"),
        ("period", "Period"),
        ("accountId", "AccountId"),
    ):
        if query.get(name) is not None:
            request[wire] = query[name]
    if metric := query.get("metric"):
        there = {"MetricName": metric["metricName"], "Dimensions": _dimensions(metric.get("dimensions"))}
        if metric.get("namespace"):
            there["Namespace"] = metric["namespace"]
        request["MetricStat"] = {"Metric": there, "Period": metric["period"], "Stat": metric["stat"]}
        if metric.get("unit"):
            request["MetricStat"]["Unit"] = metric["unit"]
    return request


def _read_query(raw: Values) -> Values:
    stat, metric = raw.get("MetricStat"), dig(raw, "MetricStat.Metric") or {}
    query = {
        "id": raw["Id"],
        "expression": raw.get("Expression"),
        "label": raw.get("Label"),
        "period": raw.get("Period"),
        "accountId": raw.get("AccountId"),
        "returnData": bool(raw.get("ReturnData")),
        "metric": stat
        and {
            "metricName": metric.get("MetricName"),
            "namespace": metric.get("Namespace"),
            "period": stat.get("Period"),
            "stat": stat.get("Stat"),
            "unit": stat.get("Unit"),
            "dimensions": _by_name(metric.get("Dimensions")),
        },
    }
    if query["metric"]:
        query["metric"] = {name: value for name, value in query["metric"].items() if value is not None}
    return {name: value for name, value in query.items() if value is not None}


def _put_alarm(scope: Scope, values: Values) -> str:
    request = scope.request(values)
    if values.get("dimensions"):
        request["Dimensions"] = _dimensions(values["dimensions"])
    if values.get("metricQueries"):
        request["Metrics"] = [_query(query) for query in values["metricQueries"]]
    scope.api.put_metric_alarm(**request, **tags_of(scope, values, "Tags"))
    return values["name"]


def _put_alarm_again(scope: Scope, alarm: str, values: Values, changed: frozenset[str]) -> None:
    # PutMetricAlarm replaces the whole alarm, but takes tags for a new one only.
    _put_alarm(scope, {**values, "tagsAll": {}})


METRIC_ALARM = Row(
    kind="aws:cloudwatch/metricAlarm:MetricAlarm",
    service="cloudwatch",
    fields={
        "name": text("AlarmName", replace=True),
        "alarmDescription": text(),
        "comparisonOperator": text(required=True),
        "evaluationPeriods": integer(required=True),
        "datapointsToAlarm": integer(),
        "metricName": text(),
        "namespace": text(),
        "dimensions": mapping(False),
        "period": integer(),
        "statistic": text(),
        "extendedStatistic": text(),
        "evaluateLowSampleCountPercentiles": text("EvaluateLowSampleCountPercentile", computed=True),
        "threshold": number(),
        "thresholdMetricId": text(),
        "treatMissingData": text(default="missing"),
        "unit": text(),
        "actionsEnabled": flag(default=True),
        "alarmActions": text_set(),
        "okActions": text_set("OKActions"),
        "insufficientDataActions": text_set(),
        "metricQueries": block_set(
            {
                "id": text(required=True),
                "expression": text(),
                "label": text(),
                "period": integer(),
                "accountId": text(),
                "returnData": flag(default=False),
                "metric": block(METRIC),
            },
            False,
        ),
        "arn": out(text("AlarmArn")),
    },
    create=_put_alarm,
    find=finding("describe_alarms", "MetricAlarms.0", lambda alarm: {"AlarmNames": [alarm]}),
    derive=lambda scope, alarm, raw, state: {
        "dimensions": _by_name(raw.get("Dimensions")),
        "metricQueries": [_read_query(it) for it in raw.get("Metrics") or []] or None,
    },
    update=_put_alarm_again,
    delete=lambda scope, alarm, state: scope.api.delete_alarms(AlarmNames=[alarm]),
    tagging=ALARM_TAGS,
    naming=Naming(),
)

ROWS = (LOG_GROUP, METRIC_ALARM)
