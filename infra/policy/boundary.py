"""The permissions boundary of a stack: what its roles, and whoever deploys it, can never do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SERVICES = (
    "acm", "aps", "autoscaling", "bedrock", "budgets", "ce", "cloudtrail", "cloudwatch", "ec2", "ec2messages", "ecr",
    "eks", "eks-auth", "elasticache", "elasticloadbalancing", "events", "fis", "iam", "kms", "logs", "pricing", "rds",
    "route53", "s3", "secretsmanager", "servicequotas", "shield", "sns", "sqs", "ssm", "ssmmessages", "sts", "tag",
    "waf-regional", "wafv2", "xray",
)  # fmt: skip
"""What the program, its controllers and AWS's managed policies of their roles call. No other service is reached."""
GLOBAL = (
    "iam:*", "sts:*", "route53:*", "budgets:*", "ce:*", "pricing:*", "shield:*", "s3:ListAllMyBuckets",
    "s3:GetBucketLocation",
)  # fmt: skip
"""Calls that AWS answers from one region, whoever asks (IAM user guide, "aws:RequestedRegion")."""
BEDROCK = "bedrock:InvokeModel*"
"""An inference profile may answer from any region of its group, and AWS asks this document for each."""
ROLES_CHANGED = (
    "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy", "iam:AttachRolePolicy",
)  # fmt: skip
PEOPLE = (
    "iam:*User*", "iam:*AccessKey*", "iam:*LoginProfile*", "iam:*Group*", "iam:*SAMLProvider*",
    "iam:*OpenIDConnectProvider*", "iam:*AccountPasswordPolicy", "iam:*AccountAlias", "iam:UploadServerCertificate",
)  # fmt: skip
OF_GITHUB = ("preview", "deploy", "release")
"""Roles that workflows take begin so (infra/ops/setup/roles.py)."""
STATE_KEPT = (
    "s3:DeleteBucket*", "s3:PutBucket*", "s3:PutLifecycleConfiguration", "s3:PutEncryptionConfiguration",
    "s3:DeleteObjectVersion", "s3:PutReplicationConfiguration", "s3:BypassGovernanceRetention",
)  # fmt: skip
KEY_KEPT = ("kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:PutKeyPolicy", "kms:DeleteAlias", "kms:UpdateAlias")
Statement = dict[str, Any]


@dataclass(frozen=True)
class Fence:
    """What a boundary is drawn around."""

    partition: str
    account: str
    regions: Sequence[str]
    """penstock:aws.allowedRegions."""
    arn: str
    """The boundary's own."""
    state_bucket: str
    state_alias: str
    bedrock: bool = False
    """Whether the stack asks Bedrock's inference profiles."""


def boundary(fence: Fence) -> dict[str, Any]:
    """A managed policy's document. It grants nothing by itself: what a role may is what its policies allow too."""
    iam = f"arn:{fence.partition}:iam::{fence.account}"
    bucket = f"arn:{fence.partition}:s3:::{fence.state_bucket}"
    elsewhere = [*GLOBAL, *([BEDROCK] if fence.bedrock else [])]
    without = {"StringNotEquals": {"iam:PermissionsBoundary": fence.arn}}
    alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": fence.state_alias}}
    statements: list[Statement] = [
        {"Sid": "Services", "Effect": "Allow", "Action": [f"{name}:*" for name in SERVICES], "Resource": "*"},
        {
            "Sid": "Regions",
            "Effect": "Deny",
            "NotAction": elsewhere,
            "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:RequestedRegion": sorted(fence.regions)}},
        },
        # A role without this boundary would be a way around it.
        _deny("RolesHaveIt", ROLES_CHANGED, "*", without),
        _deny("ItIsNotTakenOff", ("iam:Delete*PermissionsBoundary",), "*"),
        _deny("ItIsNotEdited", ("iam:*PolicyVersion", "iam:DeletePolicy"), fence.arn),
        _deny("NoPeople", PEOPLE, "*"),
        # Those that GitHub's workflows take, and their policies: nobody widens the role that he has.
        _deny(
            "OwnRoles",
            ("iam:Add*", "iam:Attach*", "iam:Create*", "iam:Delete*", "iam:Detach*", "iam:Put*", "iam:Set*",
             "iam:Update*"),
            [f"{iam}:{kind}/penstock-{name}-*" for kind in ("role", "policy") for name in OF_GITHUB],
        ),
        _deny("StateBucket", STATE_KEPT, [bucket, f"{bucket}/*"]),
        _deny("StateKey", KEY_KEPT, "*", alias),
    ]  # fmt: skip
    return {"Version": "2012-10-17", "Statement": statements}


def _deny(sid: str, actions: Sequence[str], resource: Any, condition: Any = None) -> Statement:
    found: Statement = {"Sid": sid, "Effect": "Deny", "Action": list(actions), "Resource": resource}
    return found | ({"Condition": condition} if condition else {})


def push_images(partition: str, region: str, account: str, repository: str) -> dict[str, Any]:
    """What the workflow of a release may: push images and their attestations to one repository of ECR (ECR user guide,
    "IAM permissions for pushing an image")."""
    arn = f"arn:{partition}:ecr:{region}:{account}:repository/{repository}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "SignIn", "Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {
                "Sid": "Push",
                "Effect": "Allow",
                "Action": [
                    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload",
                    "ecr:DescribeImages", "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage",
                    "ecr:UploadLayerPart",
                ],
                "Resource": arn,
            },
        ],
    }  # fmt: skip
