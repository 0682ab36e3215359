"""Finds a type's row. Modules of rows are imported when a token asks for them: each Pulumi command starts a plug-in."""

from __future__ import annotations

import importlib
from functools import cache

from infra.local.aws.provider.row import Row

MODULES: dict[str, tuple[str, ...]] = {
    "acm": ("certificates",),
    "amp": ("prometheus",),
    "budgets": ("cost",),
    "cloudtrail": ("trail",),
    "cloudwatch": ("watch", "event_rules", "dashboards"),
    "costexplorer": ("anomalies",),
    "ec2": ("network", "routing", "security_groups", "launch_template", "flow_logs"),
    "ecr": ("registry",),
    "eks": ("cluster", "node_group", "cluster_access"),
    "elasticache": ("cache",),
    "fis": ("fault_injection",),
    "iam": ("iam",),
    "kms": ("kms",),
    "lb": ("balancer", "listeners"),
    "rds": ("database", "database_groups"),
    "route53": ("dns",),
    "s3": ("storage", "bucket_rules"),
    "secretsmanager": ("secrets",),
    "sns": ("topics", "subscriptions"),
    "sqs": ("queues",),
    "vpc": ("security_groups",),
    "wafv2": ("firewall",),
}
"""First part of a token's module (`ec2` of `aws:ec2/vpc:Vpc`) -> the modules of `resources` that hold its rows."""


class UnknownTypeError(LookupError):
    """No row for the token. The message names the token and what the service offers."""


@cache
def rows_of(module: str) -> dict[str, Row]:
    rows = importlib.import_module(f"infra.local.aws.provider.resources.{module}").ROWS
    return {row.kind: row for row in rows}


def find_row(token: str) -> Row:
    """The row of `aws:<module>/<name>:<Class>`. Raises UnknownTypeError."""
    service = token.removeprefix("aws:").split("/", 1)[0]
    offered: list[str] = []
    for module in MODULES.get(service, ()):
        rows = rows_of(module)
        if token in rows:
            return rows[token]
        offered += [known for known in rows if known.startswith(f"aws:{service}/")]
    what = f"supported of aws:{service}: {', '.join(sorted(offered))}" if offered else services_message()
    raise UnknownTypeError(f"{token} is not supported by the local provider; {what}")


def services_message() -> str:
    return f"supported modules: {', '.join(sorted(MODULES))}"


def all_rows() -> list[Row]:
    names = sorted({module for modules in MODULES.values() for module in modules})
    return [row for name in names for row in rows_of(name).values()]
