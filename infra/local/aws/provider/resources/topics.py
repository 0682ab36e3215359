"""aws:sns: topic and topic policy. A topic's settings are attributes, each set by a call of its own."""

from __future__ import annotations

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, deleting, tags_of
from infra.local.aws.provider.schema import document, flag, integer, out, same_name, text
from infra.local.aws.provider.values import Values

SNS_TAGS = Tagging(
    put="tag_resource",
    remove="untag_resource",
    subject="ResourceArn",
    arn=False,
    listing="list_tags_for_resource",
    listed="Tags",
)
ATTRIBUTES = {
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deliveryPolicy": "DeliveryPolicy",
    "displayName": "DisplayName",
    "fifoTopic": "FifoTopic",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "policy": "Policy",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
    "fifoThroughputScope": "FifoThroughputScope",
}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _create(scope: Scope, values: Values) -> str:
    chosen = {
        wire: _text(values[name]) for name, wire in ATTRIBUTES.items() if values.get(name) not in (None, "", False)
    }
    made = scope.api.create_topic(Name=values["name"], Attributes=chosen, **tags_of(scope, values, "Tags"))
    return made["TopicArn"]


def _find(scope: Scope, topic: str, state: Values) -> Values | None:
    return scope.api.get_topic_attributes(TopicArn=topic)["Attributes"]


def _update(scope: Scope, topic: str, values: Values, changed: frozenset[str]) -> None:
    for name in sorted(changed & set(ATTRIBUTES)):
        value = values.get(name)
        text_value = "" if value is None else _text(value)
        scope.api.set_topic_attributes(TopicArn=topic, AttributeName=ATTRIBUTES[name], AttributeValue=text_value)


def _flag(raw: Values, wire: str) -> bool:
    return str(raw.get(wire)).lower() == "true"


TOPIC = Row(
    kind="aws:sns/topic:Topic",
    service="sns",
    fields={
        "name": text(False, replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "displayName": text(default=""),
        "fifoTopic": flag(False, default=False, replace=True),
        "contentBasedDeduplication": flag(False, default=False),
        "fifoThroughputScope": text(computed=True),
        "kmsMasterKeyId": text(same=same_name),
        "policy": document(False, computed=True),
        "deliveryPolicy": document(),
        "signatureVersion": integer(computed=True),
        "tracingConfig": text(computed=True),
        "arn": out(text("TopicArn")),
        "owner": out(text()),
    },
    create=_create,
    find=_find,
    derive=lambda scope, topic, raw, state: {
        "name": topic.rsplit(":", 1)[-1],
        "fifoTopic": _flag(raw, "FifoTopic"),
        "contentBasedDeduplication": _flag(raw, "ContentBasedDeduplication"),
        # A topic policy that is a resource of its own must not look like drift of the topic.
        "policy": raw.get("Policy") if state.get("policy") else None,
    },
    update=_update,
    delete=deleting("delete_topic", lambda topic: {"TopicArn": topic}),
    tagging=SNS_TAGS,
    naming=Naming(limit=256, prefix_field="namePrefix"),
)


def _put_policy(scope: Scope, values: Values) -> str:
    scope.api.set_topic_attributes(TopicArn=values["arn"], AttributeName="Policy", AttributeValue=values["policy"])
    return values["arn"]


def _reset_policy(scope: Scope, topic: str, state: Values) -> None:
    """A topic always has a policy: back to the one that SNS gives a new topic (its owner may use it)."""
    import json

    owner = state.get("owner") or scope.account
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{it}" for it in DEFAULT_ACTIONS],
        "Resource": topic,
        "Condition": {"StringEquals": {"AWS:SourceOwner": owner}},
    }
    policy = json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})
    scope.api.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)


DEFAULT_ACTIONS = (
    "GetTopicAttributes", "SetTopicAttributes", "AddPermission", "RemovePermission", "DeleteTopic", "Subscribe",
    "ListSubscriptionsByTopic", "Publish",
)  # fmt: skip


def _find_policy(scope: Scope, topic: str, state: Values) -> Values | None:
    found = _find(scope, topic, state) or {}
    return None if "__default_statement_ID" in found.get("Policy", "") else found


TOPIC_POLICY = Row(
    kind="aws:sns/topicPolicy:TopicPolicy",
    service="sns",
    fields={
        "arn": text("TopicArn", required=True, replace=True),
        "policy": document(required=True),
        "owner": out(text()),
    },
    create=_put_policy,
    find=_find_policy,
    update=lambda scope, topic, values, changed: _put_policy_again(scope, values),
    delete=_reset_policy,
    delete_before_replace=True,
)


def _put_policy_again(scope: Scope, values: Values) -> None:
    _put_policy(scope, values)


ROWS = (TOPIC, TOPIC_POLICY)
