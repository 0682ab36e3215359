"""aws:lb: listener and listener rule."""

from __future__ import annotations

from infra.local.aws.provider.resources.balancer_common import BALANCER_TAGS, read_attributes, written
from infra.local.aws.provider.row import Row, Scope, creating, deleting, dig, finding, tags_of
from infra.local.aws.provider.schema import (
    block,
    block_set,
    blocks,
    flag,
    integer,
    out,
    pascal,
    same_letters,
    text,
    text_set,
)
from infra.local.aws.provider.schema import from_api as read_fields
from infra.local.aws.provider.values import Values

FIRST, LAST = 1, 50_000
"""Priorities of listener rules (Elastic Load Balancing API reference)."""

ACTION = {
    "type": text(required=True),
    "order": integer(computed=True),
    "targetGroupArn": text(),
    "forward": block(
        {
            "targetGroups": block_set(
                {"arn": text("TargetGroupArn", required=True), "weight": integer(default=1)}, required=True
            ),
            "stickiness": block(
                {"enabled": flag(default=False), "duration": integer("DurationSeconds", required=True)},
                "TargetGroupStickinessConfig",
                computed=True,
            ),
        },
        "ForwardConfig",
        computed=True,
    ),
    "redirect": block(
        {
            "statusCode": text(required=True),
            "host": text(default="#{host}"),
            "path": text(default="/#{path}"),
            "port": text(default="#{port}"),
            "protocol": text(default="#{protocol}"),
            "query": text(default="#{query}"),
        },
        "RedirectConfig",
    ),
    "fixedResponse": block(
        {"contentType": text(required=True), "messageBody": text(), "statusCode": text(computed=True)},
        "FixedResponseConfig",
    ),
}
LISTENER_ATTRIBUTES = {
    "tcpIdleTimeoutSeconds": "tcp.idle_timeout.seconds",
    "routingHttpResponseServerEnabled": "routing.http.response.server.enabled",
    "routingHttpResponseStrictTransportSecurityHeaderValue": (
        "routing.http.response.strict_transport_security.header_value"
    ),
}


def _create_listener(scope: Scope, values: Values) -> str:
    omit = (*LISTENER_ATTRIBUTES, "certificateArn")
    extra = _certificate(values)
    return creating("create_listener", "Listeners.0.ListenerArn", tags="Tags", omit=omit, **extra)(scope, values)


def _certificate(values: Values) -> Values:
    return {"Certificates": [{"CertificateArn": values["certificateArn"]}]} if values.get("certificateArn") else {}


def _settle_listener(scope: Scope, listener: str, values: Values) -> None:
    asked = {name for name in LISTENER_ATTRIBUTES if values.get(name) not in (None, scope.row.fields[name].default)}
    _put_attributes(scope, listener, values, frozenset(asked))


def _put_attributes(scope: Scope, listener: str, values: Values, changed: frozenset[str]) -> None:
    names = [name for name in sorted(changed & set(LISTENER_ATTRIBUTES)) if values.get(name) is not None]
    if names:
        attributes = [written(LISTENER_ATTRIBUTES[name], values[name]) for name in names]
        scope.api.modify_listener_attributes(ListenerArn=listener, Attributes=attributes)


def _update_listener(scope: Scope, listener: str, values: Values, changed: frozenset[str]) -> None:
    request = scope.request(values, changed - {*LISTENER_ATTRIBUTES, "certificateArn"})
    request |= _certificate(values) if changed & {"certificateArn", "protocol"} else {}
    if request:
        scope.api.modify_listener(ListenerArn=listener, **request)
    _put_attributes(scope, listener, values, changed)


def _listener_outputs(scope: Scope, listener: str, raw: Values, state: Values) -> Values:
    asked = {name for name in LISTENER_ATTRIBUTES if state.get(name) is not None}
    attributes: Values = {}
    if asked:
        listed = scope.api.describe_listener_attributes(ListenerArn=listener)["Attributes"]
        found = read_attributes(scope.row.fields, LISTENER_ATTRIBUTES, listed)
        attributes = {name: found[name] for name in asked}
    return {
        **attributes,
        "certificateArn": dig(raw, "Certificates.0.CertificateArn"),
        "tagsAll": BALANCER_TAGS.decode(
            dig(scope.api.describe_tags(ResourceArns=[listener]), "TagDescriptions.0.Tags")
        ),
    }


LISTENER = Row(
    kind="aws:lb/listener:Listener",
    service="elbv2",
    fields={
        "loadBalancerArn": text(required=True, replace=True),
        "port": integer(),
        "protocol": text(computed=True),
        "defaultActions": blocks(ACTION, required=True),
        "certificateArn": text(False),
        "sslPolicy": text(computed=True),
        "mutualAuthentication": block(
            {
                "mode": text(required=True),
                "advertiseTrustStoreCaNames": text(computed=True),
                "ignoreClientCertificateExpiry": flag(default=False),
                "trustStoreArn": text(),
            },
            computed=True,
        ),
        "tcpIdleTimeoutSeconds": integer(False, computed=True),
        "routingHttpResponseServerEnabled": flag(False, computed=True),
        "routingHttpResponseStrictTransportSecurityHeaderValue": text(False, computed=True),
        "arn": out(text("ListenerArn")),
    },
    create=_create_listener,
    settle=_settle_listener,
    find=finding("describe_listeners", "Listeners.0", lambda it: {"ListenerArns": [it]}),
    derive=_listener_outputs,
    update=_update_listener,
    delete=deleting("delete_listener", lambda it: {"ListenerArn": it}),
    tagging=BALANCER_TAGS,
)

CONDITIONS = {
    "hostHeader": ("host-header", "HostHeaderConfig"),
    "httpHeader": ("http-header", "HttpHeaderConfig"),
    "httpRequestMethod": ("http-request-method", "HttpRequestMethodConfig"),
    "pathPattern": ("path-pattern", "PathPatternConfig"),
    "sourceIp": ("source-ip", "SourceIpConfig"),
}
CONDITION = {
    "hostHeader": block({"values": text_set(required=True)}, "HostHeaderConfig"),
    "httpHeader": block(
        {"httpHeaderName": text(required=True, same=same_letters), "values": text_set(required=True)},
        "HttpHeaderConfig",
    ),
    "httpRequestMethod": block({"values": text_set(required=True)}, "HttpRequestMethodConfig"),
    "pathPattern": block({"values": text_set(required=True)}, "PathPatternConfig"),
    "sourceIp": block({"values": text_set(required=True)}, "SourceIpConfig"),
    "queryStrings": block_set({"key": text(), "value": text(required=True)}, "QueryStringConfig.Values"),
}


def _condition_requests(scope: Scope, values: Values) -> list[Values]:
    """Conditions as the API wants them: each names its field, too."""
    requests = []
    for condition in scope.request(values, {"conditions"})["Conditions"]:
        for wire, content in condition.items():
            field = next((field for field, config in CONDITIONS.values() if config == wire), "query-string")
            requests.append({"Field": field, wire: content})
    return requests


def _conditions(raw: Values) -> list[Values]:
    """The rule's conditions; AWS may tell the older kinds by bare `Values`."""
    found = []
    for condition in raw.get("Conditions", []):
        config = dict(CONDITIONS.values()).get(condition["Field"])
        bare = bool(config and not condition.get(config) and condition.get("Values"))
        content = {config: {"Values": condition["Values"]}} if bare else condition
        found.append({name: value for name, value in read_fields(CONDITION, content, pascal).items() if value})
    return found


def _rules(scope: Scope, listener: str) -> list[Values]:
    pages = scope.api.get_paginator("describe_rules").paginate(ListenerArn=listener)
    return [rule for page in pages for rule in page["Rules"]]


def _create_rule(scope: Scope, values: Values) -> str:
    priority = values.get("priority")
    if priority is None:
        taken = [
            int(rule["Priority"]) for rule in _rules(scope, values["listenerArn"]) if rule["Priority"] != "default"
        ]
        priority = min(max(taken, default=FIRST - 1) + 1, LAST)
    made = scope.api.create_rule(
        ListenerArn=values["listenerArn"],
        Priority=priority,
        Conditions=_condition_requests(scope, values),
        Actions=scope.request(values, {"actions"})["Actions"],
        **tags_of(scope, values, "Tags"),
    )
    return made["Rules"][0]["RuleArn"]


def _update_rule(scope: Scope, rule: str, values: Values, changed: frozenset[str]) -> None:
    if "priority" in changed and values.get("priority"):
        scope.api.set_rule_priorities(RulePriorities=[{"RuleArn": rule, "Priority": values["priority"]}])
    request = scope.request(values, changed & {"actions"})
    if "conditions" in changed:
        request["Conditions"] = _condition_requests(scope, values)
    if request:
        scope.api.modify_rule(RuleArn=rule, **request)


def _rule_outputs(scope: Scope, rule: str, raw: Values, state: Values) -> Values:
    tags = dig(scope.api.describe_tags(ResourceArns=[rule]), "TagDescriptions.0.Tags")
    return {
        "listenerArn": rule.replace(":listener-rule/", ":listener/").rsplit("/", 1)[0],
        "conditions": _conditions(raw),
        "tagsAll": BALANCER_TAGS.decode(tags),
    }


LISTENER_RULE = Row(
    kind="aws:lb/listenerRule:ListenerRule",
    service="elbv2",
    fields={
        "listenerArn": text(reply=False, required=True, replace=True),
        "priority": integer(computed=True),
        "actions": blocks(ACTION, required=True),
        "conditions": block_set(CONDITION, reply=False, required=True),
        "arn": out(text("RuleArn")),
    },
    create=_create_rule,
    find=finding("describe_rules", "Rules.0", lambda it: {"RuleArns": [it]}),
    derive=_rule_outputs,
    update=_update_rule,
    delete=deleting("delete_rule", lambda it: {"RuleArn": it}),
    tagging=BALANCER_TAGS,
)

ROWS = (LISTENER, LISTENER_RULE)
