"""aws:sqs: queue, queue policy, redrive-allow policy. All settings of a queue are attributes, written as text."""

from __future__ import annotations

from infra.local.aws.provider.row import Naming, Row, Scope, Tagging, tags_of
from infra.local.aws.provider.schema import Property, document, flag, integer, out, same_name, text
from infra.local.aws.provider.values import Values

QUEUE_TAGS = Tagging(
    put="tag_queue",
    remove="untag_queue",
    subject="QueueUrl",
    key="",
    arn=False,
    listing="list_queue_tags",
    listed="Tags",
)

ATTRIBUTES: dict[str, Property] = {
    "contentBasedDeduplication": flag(False, default=False),
    "deduplicationScope": text(False, computed=True),
    "delaySeconds": integer(default=0),
    "fifoQueue": flag(False, default=False, replace=True),
    "fifoThroughputLimit": text(False, computed=True),
    "kmsDataKeyReusePeriodSeconds": integer(computed=True),
    "kmsMasterKeyId": text(same=same_name),
    "maxMessageSize": integer("MaximumMessageSize", computed=True),
    "messageRetentionSeconds": integer("MessageRetentionPeriod", default=345_600),
    "receiveWaitTimeSeconds": integer("ReceiveMessageWaitTimeSeconds", default=0),
    "redrivePolicy": document(),
    "visibilityTimeoutSeconds": integer("VisibilityTimeout", default=30),
}
"""Defaults of the API (Amazon SQS API reference, SetQueueAttributes)."""

LATER: dict[str, Property] = {"policy": document(computed=True), "redriveAllowPolicy": document(computed=True)}
"""May also be resources of their own: such a one must not look like drift of the queue."""

WIRE = {
    name: prop.wire if isinstance(prop.wire, str) else name[0].upper() + name[1:]
    for name, prop in (ATTRIBUTES | LATER).items()
}
FLAGS = ("contentBasedDeduplication", "fifoQueue")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _create(scope: Scope, values: Values) -> str:
    # SQS takes a FIFO attribute of a FIFO queue alone, be it false.
    chosen = {
        wire: _text(value)
        for name, wire in WIRE.items()
        if (value := values.get(name)) is not None and value is not False and value != ""
    }
    return scope.api.create_queue(QueueName=values["name"], Attributes=chosen, **tags_of(scope, values, "tags"))[
        "QueueUrl"
    ]


def _attributes(scope: Scope, queue: str) -> Values:
    return scope.api.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]


def _outputs(scope: Scope, queue: str, raw: Values, state: Values) -> Values:
    return {
        "name": queue.rsplit("/", 1)[-1],
        "url": queue,
        **{name: raw.get(WIRE[name]) == "true" for name in FLAGS},
        **{name: raw.get(WIRE[name]) if state.get(name) else None for name in LATER},
        "kmsDataKeyReusePeriodSeconds": int(raw.get("KmsDataKeyReusePeriodSeconds") or 300),
    }


def _update(scope: Scope, queue: str, values: Values, changed: frozenset[str]) -> None:
    wanted = {WIRE[name]: "" if values.get(name) is None else _text(values[name]) for name in changed & frozenset(WIRE)}
    if wanted:
        scope.api.set_queue_attributes(QueueUrl=queue, Attributes=wanted)


QUEUE = Row(
    kind="aws:sqs/queue:Queue",
    service="sqs",
    fields={
        "name": text(False, replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        **ATTRIBUTES,
        **LATER,
        "arn": out(text("QueueArn")),
        "url": out(text(False)),
    },
    create=_create,
    find=lambda scope, queue, state: _attributes(scope, queue),
    derive=_outputs,
    update=_update,
    delete=lambda scope, queue, state: scope.api.delete_queue(QueueUrl=queue),
    tagging=QUEUE_TAGS,
    naming=Naming(limit=80, prefix_field="namePrefix"),
)


def _setting(kind: str, field: str) -> Row:
    """One attribute of a queue as a resource; its id is the queue's URL."""
    wire = WIRE[field]

    def write(scope: Scope, values: Values) -> str:
        scope.api.set_queue_attributes(QueueUrl=values["queueUrl"], Attributes={wire: values[field]})
        return values["queueUrl"]

    def find(scope: Scope, queue: str, state: Values) -> Values | None:
        found = _attributes(scope, queue).get(wire)
        return {"QueueUrl": queue, wire: found} if found else None

    def update(scope: Scope, queue: str, values: Values, changed: frozenset[str]) -> None:
        write(scope, values)

    return Row(
        kind=kind,
        service="sqs",
        fields={"queueUrl": text(required=True, replace=True), field: document(required=True)},
        create=write,
        find=find,
        update=update,
        delete=lambda scope, queue, state: scope.api.set_queue_attributes(QueueUrl=queue, Attributes={wire: ""}),
        delete_before_replace=True,
    )


POLICY = _setting("aws:sqs/queuePolicy:QueuePolicy", "policy")
REDRIVE_ALLOW = _setting("aws:sqs/redriveAllowPolicy:RedriveAllowPolicy", "redriveAllowPolicy")

ROWS = (QUEUE, POLICY, REDRIVE_ALLOW)
