"""What the cluster's controllers may do in AWS, as plain documents. Pure functions."""

from collections.abc import Sequence
from typing import Any

from components.policies import document

INSTANCE_PARTS = (
    "fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request",
)  # fmt: skip
"""What a launch makes, and tags while it makes it."""


def karpenter(
    *,
    partition: str,
    region: str,
    account: str,
    cluster: str,
    node_role_arn: str,
    instance_profile_arn: str,
    queue_arn: str,
    queue_key_arn: str,
    subnet_ids: Sequence[str],
    security_group_ids: Sequence[str],
    reservation_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Karpenter launches nodes of this cluster, in its subnets and with its role, and ends those alone.

    The conditions are on the tags that Karpenter puts on what it makes (its CloudFormation reference has them). The
    instance profile is made by the program, so none can be made, tagged or deleted from here.
    """
    ec2 = f"arn:{partition}:ec2:{region}"
    here = f"{ec2}:{account}"
    owned = f"kubernetes.io/cluster/{cluster}"
    asked = {
        "StringEquals": {f"aws:RequestTag/{owned}": "owned", "aws:RequestTag/eks:eks-cluster-name": cluster},
        "StringLike": {"aws:RequestTag/karpenter.sh/nodepool": "*"},
    }
    tagged = {
        "StringEquals": {f"aws:ResourceTag/{owned}": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }
    launches = ["ec2:RunInstances", "ec2:CreateFleet"]
    made = [f"{here}:{part}/*" for part in INSTANCE_PARTS]
    return document(
        {
            "Sid": "LaunchFrom",
            "Effect": "Allow",
            "Action": launches,
            "Resource": [
                f"{ec2}::image/*",
                f"{ec2}::snapshot/*",
                *(f"{here}:subnet/{subnet}" for subnet in subnet_ids),
                *(f"{here}:security-group/{group}" for group in security_group_ids),
                # Another account may share a reservation, which keeps its owner's account in its ARN.
                *(f"{ec2}:*:capacity-reservation/{reservation}" for reservation in reservation_ids),
            ],
        },
        {
            "Sid": "LaunchFromItsTemplates",
            "Effect": "Allow",
            "Action": launches,
            "Resource": f"{here}:launch-template/*",
            "Condition": tagged,
        },
        {
            "Sid": "LaunchTagged",
            "Effect": "Allow",
            "Action": [*launches, "ec2:CreateLaunchTemplate"],
            "Resource": made,
            "Condition": asked,
        },
        {
            "Sid": "TagWhatIsLaunched",
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": made,
            "Condition": {
                **asked,
                "StringEquals": {
                    **asked["StringEquals"],
                    "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"],
                },
            },
        },
        {
            "Sid": "NameItsInstances",
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": f"{here}:instance/*",
            "Condition": {
                **tagged,
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster},
                "ForAllValues:StringEquals": {
                    "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
                },
            },
        },
        {
            "Sid": "EndItsOwn",
            "Effect": "Allow",
            "Action": ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            "Resource": [f"{here}:instance/*", f"{here}:launch-template/*"],
            "Condition": tagged,
        },
        {
            "Sid": "LookAround",
            "Effect": "Allow",
            "Action": [
                "ec2:DescribeCapacityReservations",
                "ec2:DescribeImages",
                "ec2:DescribeInstances",
                "ec2:DescribeInstanceStatus",
                "ec2:DescribeInstanceTypeOfferings",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeLaunchTemplates",
                "ec2:DescribePlacementGroups",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSpotPriceHistory",
                "ec2:DescribeSubnets",
            ],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": region}},
        },
        {
            "Sid": "FindImages",
            "Effect": "Allow",
            "Action": "ssm:GetParameter",
            "Resource": f"arn:{partition}:ssm:{region}::parameter/aws/service/*",
        },
        {"Sid": "KnowPrices", "Effect": "Allow", "Action": "pricing:GetProducts", "Resource": "*"},
        {
            "Sid": "GiveNodesTheirRole",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": node_role_arn,
            "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        },
        {
            "Sid": "ReadTheProfile",
            "Effect": "Allow",
            "Action": "iam:GetInstanceProfile",
            "Resource": instance_profile_arn,
        },
        {
            "Sid": "ReadTheCluster",
            "Effect": "Allow",
            "Action": "eks:DescribeCluster",
            "Resource": f"arn:{partition}:eks:{region}:{account}:cluster/{cluster}",
        },
        {
            "Sid": "HearOfInterruptions",
            "Effect": "Allow",
            "Action": ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
            "Resource": queue_arn,
        },
        {"Sid": "DecryptInterruptions", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": queue_key_arn},
    )


def target_binding(target_group_arns: Sequence[str], region: str) -> dict[str, Any]:
    """The load balancer controller registers pods with these target groups, and reads what it needs for that.

    It makes no load balancer, rule or security group: the program has made them. Its published policy grants those too.
    """
    return document(
        {
            "Sid": "RegisterPods",
            "Effect": "Allow",
            "Action": ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"],
            "Resource": list(target_group_arns),
        },
        {
            "Sid": "LookAround",
            "Effect": "Allow",
            "Action": [
                "ec2:DescribeAvailabilityZones",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeVpcs",
                "elasticloadbalancing:DescribeTargetGroups",
                "elasticloadbalancing:DescribeTargetHealth",
            ],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": region}},
        },
    )


def write_metrics(log_group_arn: str, workspace_arns: Sequence[str]) -> dict[str, Any]:
    """The collector writes metrics as log lines of one group, and to these Prometheus workspaces."""
    written = {"Sid": "RemoteWrite", "Effect": "Allow", "Action": "aps:RemoteWrite", "Resource": list(workspace_arns)}
    return document(_writes_logs([log_group_arn]), *([written] if workspace_arns else []))


def write_telemetry(log_group_arns: Sequence[str], region: str) -> dict[str, Any]:
    """The CloudWatch agent and its log shipper write to these groups alone, and publish under their own names.

    AWS's managed policy for them (CloudWatchAgentServerPolicy) reads and writes every log group of the account.
    """
    return document(
        _writes_logs(log_group_arns),
        {
            "Sid": "PublishMetrics",
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": ["ContainerInsights", "CWAgent"]}},
        },
        {
            "Sid": "LookAround",
            "Effect": "Allow",
            "Action": ["ec2:DescribeTags", "ec2:DescribeVolumes"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": region}},
        },
    )


def _writes_logs(log_group_arns: Sequence[str]) -> dict[str, Any]:
    """A group's ARN as Pulumi has it, without the end that stands for its streams."""
    return {
        "Sid": "WriteLogs",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
        "Resource": [it for arn in log_group_arns for it in (arn, f"{arn}:*")],
    }


def queue_fed_by_rules(queue_arn: str, rule_arns: Sequence[str]) -> dict[str, Any]:
    """EventBridge may write for these rules, and nobody speaks to the queue without TLS."""
    return document(
        {
            "Sid": "RulesWrite",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": list(rule_arns)}},
        },
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": queue_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    )
