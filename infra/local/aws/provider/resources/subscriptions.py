"""aws:sns topic subscription. What is sent on and how are attributes; topic, protocol and endpoint make it another."""

from __future__ import annotations

from infra.local.aws.provider.row import Row, Scope, deleting
from infra.local.aws.provider.schema import document, flag, integer, out, text
from infra.local.aws.provider.values import Values

ATTRIBUTES = {
    "filterPolicyScope": "FilterPolicyScope",  # first: SNS judges the policy by it
    "filterPolicy": "FilterPolicy",
    "deliveryPolicy": "DeliveryPolicy",
    "rawMessageDelivery": "RawMessageDelivery",
    "redrivePolicy": "RedrivePolicy",
    "subscriptionRoleArn": "SubscriptionRoleArn",
}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _create(scope: Scope, values: Values) -> str:
    made = scope.api.subscribe(
        TopicArn=values["topic"],
        Protocol=values["protocol"],
        Endpoint=values["endpoint"],
        Attributes={wire: _text(values[name]) for name, wire in ATTRIBUTES.items() if values.get(name)},
        ReturnSubscriptionArn=True,
    )
    return made["SubscriptionArn"]


def _outputs(scope: Scope, subscription: str, raw: Values, state: Values) -> Values:
    flags = {
        "rawMessageDelivery": "RawMessageDelivery",
        "pendingConfirmation": "PendingConfirmation",
        "confirmationWasAuthenticated": "ConfirmationWasAuthenticated",
    }
    return {name: str(raw.get(wire)).lower() == "true" for name, wire in flags.items()}


def _update(scope: Scope, subscription: str, values: Values, changed: frozenset[str]) -> None:
    for name, wire in ATTRIBUTES.items():
        if name in changed:
            value = "" if values.get(name) is None else _text(values[name])
            scope.api.set_subscription_attributes(
                SubscriptionArn=subscription, AttributeName=wire, AttributeValue=value
            )


TOPIC_SUBSCRIPTION = Row(
    kind="aws:sns/topicSubscription:TopicSubscription",
    service="sns",
    fields={
        "topic": text("TopicArn", required=True, replace=True),
        "protocol": text(required=True, replace=True),
        "endpoint": text(required=True, replace=True),
        "confirmationTimeoutInMinutes": integer(False, default=1, write_only=True),
        "endpointAutoConfirms": flag(False, default=False, write_only=True),
        "deliveryPolicy": document(),
        "filterPolicy": document(),
        "filterPolicyScope": text(computed=True),
        "rawMessageDelivery": flag(False, default=False),
        "redrivePolicy": document(),
        "subscriptionRoleArn": text(),
        "arn": out(text("SubscriptionArn")),
        "ownerId": out(text("Owner")),
        "confirmationWasAuthenticated": out(flag(False)),
        "pendingConfirmation": out(flag(False)),
    },
    create=_create,
    find=lambda scope, subscription, state: scope.api.get_subscription_attributes(SubscriptionArn=subscription)[
        "Attributes"
    ],
    derive=_outputs,
    update=_update,
    delete=deleting("unsubscribe", lambda subscription: {"SubscriptionArn": subscription}),
)

ROWS = (TOPIC_SUBSCRIPTION,)
