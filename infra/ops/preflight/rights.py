"""Who asks, where, and whether that identity may do what a deployment does."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.ops.preflight.asking import Account, Unanswered, guarded, items
from infra.ops.preflight.findings import Finding, Status

ACTIONS = (
    "ec2:CreateVpc",
    "ec2:CreateSubnet",
    "ec2:AllocateAddress",
    "ec2:CreateNatGateway",
    "ec2:CreateVpcEndpoint",
    "ec2:CreateSecurityGroup",
    "ec2:CreateLaunchTemplate",
    "ec2:RunInstances",
    "eks:CreateCluster",
    "eks:CreateNodegroup",
    "eks:CreateAddon",
    "eks:CreateAccessEntry",
    "eks:CreatePodIdentityAssociation",
    "iam:CreateRole",
    "iam:PutRolePolicy",
    "iam:AttachRolePolicy",
    "iam:PassRole",
    "kms:CreateKey",
    "s3:CreateBucket",
    "ecr:CreateRepository",
    "elasticache:CreateReplicationGroup",
    "rds:CreateDBInstance",
    "secretsmanager:CreateSecret",
    "elasticloadbalancing:CreateLoadBalancer",
    "elasticloadbalancing:CreateTargetGroup",
    "logs:CreateLogGroup",
    "sns:CreateTopic",
    "cloudwatch:PutMetricAlarm",
    "budgets:ModifyBudget",
)
"""One or more of each service that the program uses: enough to find a missing service, not a proof of a deployment."""

CHECK = "Permissions"


def check_identity(account: Account) -> Iterator[Finding]:
    wanted = account.settings.aws.account_id
    yield guarded("Account", wanted, lambda: _account(account, wanted))


def check_region(account: Account) -> Iterator[Finding]:
    yield guarded("Region", account.region, lambda: _region(account))


def check_permissions(account: Account) -> Iterator[Finding]:
    """By IAM's simulator; where the caller may not ask it, by dry runs of what EC2 offers one for."""
    asked = f"{len(ACTIONS)} actions of a deployment"
    try:
        yield _simulated(account, asked)
    except Unanswered as silence:
        yield Finding(CHECK, asked, str(silence), Status.UNKNOWN, "allow iam:SimulatePrincipalPolicy, or see dry runs")
        dry = {"create_internet_gateway": {}, "allocate_address": {"Domain": "vpc"}}
        for operation, arguments in dry.items():
            name = f"ec2:{''.join(word.capitalize() for word in operation.split('_'))}"
            yield _dry_run(account, name, operation, arguments)


def principal_of(arn: str) -> str | None:
    """The role or user whose policies count, for the ARN of a caller; None for root and others without policies.

    A session's ARN has its role's name without the role's path, which IAM has to be asked for.
    """
    match = re.fullmatch(r"arn:(aws[a-z-]*):(?:iam|sts)::(\d{12}):(user|assumed-role)/(.+)", arn)
    if match is None:
        return None
    _, _, kind, rest = match.groups()
    return arn if kind == "user" else rest.split("/", 1)[0]


def _account(account: Account, wanted: str) -> Finding:
    reply = account.ask("sts", "get_caller_identity")
    found, arn = str(reply.get("Account", "")), str(reply.get("Arn", ""))
    if not re.fullmatch(r"\d{12}", found):
        raise Unanswered(f"sts:GetCallerIdentity: {found!r} is no account")
    if found != wanted:
        return Finding(
            "Account", wanted, f"{found} ({arn})", Status.LACKS,
            f"credentials of {wanted}, or aws.accountId: {found} in the stack file",
        )  # fmt: skip
    return Finding("Account", wanted, arn, Status.FITS)


def _region(account: Account) -> Finding:
    reply = account.ask("ec2", "describe_regions", AllRegions=True)
    states = {
        item.get("RegionName"): item.get("OptInStatus") for item in items(reply, "Regions", "ec2:DescribeRegions")
    }
    if account.region not in states:
        return Finding("Region", account.region, "AWS knows no such region", Status.LACKS, "another aws.region")
    if states[account.region] == "not-opted-in":
        request = f"aws account enable-region --region-name {account.region}"
        return Finding("Region", account.region, "not enabled for this account", Status.LACKS, request)
    return Finding("Region", account.region, "enabled", Status.FITS)


def _simulated(account: Account, asked: str) -> Finding:
    principal = principal_of(str(account.ask("sts", "get_caller_identity").get("Arn", "")))
    if principal is None:
        raise Unanswered("the caller has no policies of its own to simulate (root or federated)")
    if not principal.startswith("arn:"):
        role = account.ask("iam", "get_role", RoleName=principal).get("Role") or {}
        principal = role.get("Arn")
        if not principal:
            raise Unanswered("iam:GetRole: the reply has no ARN")
    decisions: dict[str, str] = {}
    for item in account.every(
        "iam", "simulate_principal_policy", "EvaluationResults", PolicySourceArn=principal, ActionNames=list(ACTIONS)
    ):
        decisions[str(item.get("EvalActionName"))] = str(item.get("EvalDecision"))
    if missing := [action for action in ACTIONS if action not in decisions]:
        raise Unanswered(f"iam:SimulatePrincipalPolicy: no decision about {', '.join(missing)}")
    denied = [action for action in ACTIONS if decisions[action] == "explicitDeny"]
    if denied:
        there = f"denied to {principal}: {', '.join(denied)}"
        return Finding(CHECK, asked, there, Status.LACKS, "take back the denial")
    silent = [action for action in ACTIONS if decisions[action] != "allowed"]
    if silent:
        there = f"not allowed on every resource: {', '.join(silent)}; a policy that names resources may still do"
        return Finding(CHECK, asked, there, Status.UNKNOWN, f"allow them to {principal}, or use another role")
    return Finding(CHECK, asked, f"allowed to {principal}, conditions apart", Status.FITS)


def _dry_run(account: Account, name: str, operation: str, arguments: dict[str, str]) -> Finding:
    check, asked = f"Dry run of {name}", "would succeed"
    try:
        account.ask("ec2", operation, DryRun=True, **arguments)
    except Unanswered as answer:
        if answer.code == "DryRunOperation":
            return Finding(check, asked, "would succeed", Status.FITS)
        if answer.code == "UnauthorizedOperation":
            return Finding(check, asked, "denied", Status.LACKS, f"allow {name}")
        return Finding(check, asked, str(answer), Status.UNKNOWN)
    return Finding(check, asked, "the service did not heed DryRun: look for what it made", Status.UNKNOWN)
