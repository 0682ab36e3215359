"""aws:wafv2: web ACL, its association with a load balancer, its logging."""

from __future__ import annotations

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, dig
from infra.local.aws.provider.schema import block, block_set, blocks, flag, integer, out, text, texts
from infra.local.aws.provider.values import Values

WAF_TAGS = Tagging(put="tag_resource", remove="untag_resource", subject="ResourceARN")

VISIBILITY = {
    "cloudwatchMetricsEnabled": flag("CloudWatchMetricsEnabled", required=True),
    "metricName": text(required=True),
    "sampledRequestsEnabled": flag(required=True),
}
BLOCKED = {
    "customResponse": block({"responseCode": integer(required=True), "customResponseBodyKey": text()}),
}
ACTION = {"allow": block({}), "block": block(BLOCKED), "count": block({})}
STATEMENT = {
    "managedRuleGroupStatement": block(
        {
            "name": text(required=True),
            "vendorName": text(required=True),
            "version": text(),
            "ruleActionOverrides": blocks({"name": text(required=True), "actionToUse": block(ACTION, required=True)}),
        }
    ),
    "rateBasedStatement": block(
        {
            "limit": integer(required=True),
            "aggregateKeyType": text(default="IP"),
            "evaluationWindowSec": integer(default=300),
        }
    ),
}
RULE = {
    "name": text(required=True),
    "priority": integer(required=True),
    "action": block(ACTION),
    "overrideAction": block({"none": block({}), "count": block({})}),
    "statement": block(STATEMENT, required=True),
    "visibilityConfig": block(VISIBILITY, required=True),
}


def _bodies(values: Values) -> Values:
    """AWS has the bodies under their keys, pulumi-aws in a list."""
    bodies = values.get("customResponseBodies")
    if not bodies:
        return {}
    named = {it["key"]: {"ContentType": it["contentType"], "Content": it["content"]} for it in bodies}
    return {"CustomResponseBodies": named}


def _create_acl(scope: Scope, values: Values) -> str:
    tags = {"Tags": WAF_TAGS.encode(values["tagsAll"])} if values.get("tagsAll") else {}
    return scope.api.create_web_acl(**scope.request(values), **_bodies(values), **tags)["Summary"]["Id"]


def _acl(scope: Scope, acl: str, state: Values) -> Values:
    return scope.api.get_web_acl(Name=state["name"], Scope=state["scope"], Id=acl)


def _acl_outputs(scope: Scope, acl: str, raw: Values, state: Values) -> Values:
    listed = scope.api.list_tags_for_resource(ResourceARN=raw["ARN"])["TagInfoForResource"]["TagList"]
    bodies = [
        {"key": key, "contentType": body["ContentType"], "content": body["Content"]}
        for key, body in sorted((raw.get("CustomResponseBodies") or {}).items())
    ]
    return {
        "scope": state["scope"],
        "customResponseBodies": bodies or None,
        "tagsAll": WAF_TAGS.decode(listed),
        "lockToken": _acl(scope, acl, state)["LockToken"],
    }


def _update_acl(scope: Scope, acl: str, values: Values, changed: frozenset[str]) -> None:
    # UpdateWebACL replaces the whole ACL, and only for the one who has seen it last.
    token = _acl(scope, acl, values)["LockToken"]
    scope.api.update_web_acl(Id=acl, LockToken=token, **scope.request(values), **_bodies(values))


def _delete_acl(scope: Scope, acl: str, state: Values) -> None:
    token = _acl(scope, acl, state)["LockToken"]
    scope.api.delete_web_acl(Name=state["name"], Scope=state["scope"], Id=acl, LockToken=token)


WEB_ACL = Row(
    kind="aws:wafv2/webAcl:WebAcl",
    service="wafv2",
    fields={
        "name": text(replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "scope": text(reply=False, required=True, replace=True),
        "description": text(),
        "defaultAction": block(ACTION, required=True),
        "customResponseBodies": block_set(
            {"key": text(required=True), "contentType": text(required=True), "content": text(required=True)}, False
        ),
        "rules": block_set(RULE, default=[]),
        "visibilityConfig": block(VISIBILITY, required=True),
        "arn": out(text("ARN")),
        "capacity": out(integer()),
        "lockToken": out(text(False)),
    },
    create=_create_acl,
    find=lambda scope, acl, state: _acl(scope, acl, state)["WebACL"],
    derive=_acl_outputs,
    update=_update_acl,
    delete=_delete_acl,
    tagging=WAF_TAGS,
    naming=Naming(limit=128, prefix_field="namePrefix"),
    renewed={"lockToken": ()},
)


def _associate(scope: Scope, values: Values) -> str:
    scope.api.associate_web_acl(WebACLArn=values["webAclArn"], ResourceArn=values["resourceArn"])
    return f"{values['webAclArn']},{values['resourceArn']}"


def _find_association(scope: Scope, association: str, state: Values) -> Values | None:
    acl, resource = association.split(",")
    there = dig(scope.api.get_web_acl_for_resource(ResourceArn=resource), "WebACL.ARN")
    return {"WebACLArn": acl, "ResourceArn": resource} if there == acl else None


ASSOCIATION = Row(
    kind="aws:wafv2/webAclAssociation:WebAclAssociation",
    service="wafv2",
    fields={
        "resourceArn": text(required=True, replace=True),
        "webAclArn": text("WebACLArn", required=True, replace=True),
    },
    create=_associate,
    find=_find_association,
    delete=lambda scope, it, state: scope.api.disassociate_web_acl(ResourceArn=it.split(",")[1]),
    delete_before_replace=True,  # a resource has one ACL
)


def _put_logging(scope: Scope, values: Values) -> str:
    scope.api.put_logging_configuration(LoggingConfiguration=scope.request(values))
    return values["resourceArn"]


def _put_logging_again(scope: Scope, acl: str, values: Values, changed: frozenset[str]) -> None:
    _put_logging(scope, values)


LOGGING = Row(
    kind="aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration",
    service="wafv2",
    fields={
        "resourceArn": text(required=True, replace=True),
        "logDestinationConfigs": texts(required=True),
        "redactedFields": blocks({"singleHeader": block({"name": text(required=True)}, required=True)}),
        "loggingFilter": block(
            {
                "defaultBehavior": text(required=True),
                "filters": block_set(
                    {
                        "behavior": text(required=True),
                        "requirement": text(required=True),
                        "conditions": block_set({"actionCondition": block({"action": text(required=True)})}),
                    },
                    required=True,
                ),
            }
        ),
    },
    create=_put_logging,
    find=lambda scope, acl, state: scope.api.get_logging_configuration(ResourceArn=acl)["LoggingConfiguration"],
    update=_put_logging_again,
    delete=lambda scope, acl, state: scope.api.delete_logging_configuration(ResourceArn=acl),
)

ROWS = (WEB_ACL, ASSOCIATION, LOGGING)
