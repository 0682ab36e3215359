"""aws:ec2: flow logs of a VPC, a subnet or an interface."""

from __future__ import annotations

from infra.local.aws.provider.resources.ec2_tags import EC2_TAGS
from infra.local.aws.provider.row import NotDoneError, Row, Scope, arn_output, deleting, finding, tags_of
from infra.local.aws.provider.schema import integer, same_name, text
from infra.local.aws.provider.values import Values

SUBJECTS = {"vpcId": "VPC", "subnetId": "Subnet", "eniId": "NetworkInterface"}


def _create(scope: Scope, values: Values) -> str:
    (subject,) = [name for name in SUBJECTS if values.get(name)]
    made = scope.api.create_flow_logs(
        ResourceType=SUBJECTS[subject],
        ResourceIds=[values[subject]],
        **scope.request(values),
        **tags_of(scope, values, resource_type="vpc-flow-log"),
    )
    for failure in made.get("Unsuccessful") or []:
        raise NotDoneError(f"flow log of {failure['ResourceId']}: {failure['Error']['Message']}")
    return made["FlowLogIds"][0]


def _subject(scope: Scope, log: str, raw: Values, state: Values) -> Values:
    prefix = raw["ResourceId"].split("-", 1)[0]
    name = {"vpc": "vpcId", "subnet": "subnetId", "eni": "eniId"}[prefix]
    return {name: raw["ResourceId"], "arn": scope.arn("ec2", f"vpc-flow-log/{log}")}


FLOW_LOG = Row(
    kind="aws:ec2/flowLog:FlowLog",
    service="ec2",
    fields={
        **{name: text(False, replace=True) for name in SUBJECTS},
        "trafficType": text(replace=True),
        "iamRoleArn": text("DeliverLogsPermissionArn", replace=True, same=same_name),
        "logDestination": text(replace=True),
        "logDestinationType": text(default="cloud-watch-logs", replace=True),
        "logFormat": text(computed=True, replace=True),
        "maxAggregationInterval": integer(default=600, replace=True),
        "arn": arn_output(),
    },
    create=_create,
    find=finding("describe_flow_logs", "FlowLogs.0", lambda log: {"FlowLogIds": [log]}),
    derive=_subject,
    delete=deleting("delete_flow_logs", lambda log: {"FlowLogIds": [log]}),
    tagging=EC2_TAGS,
    delete_before_replace=True,  # one log for a subject and a destination
)

ROWS = (FLOW_LOG,)
