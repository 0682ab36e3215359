"""Who stands behind an access key: IAM users, sessions of roles, and the deployer for every other key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.models import STSBackend, sts_backends

from infra.local.aws.moto.patching import extend

DEPLOYER = "penstock-deployer"
"""The IAM user that a caller with an unknown key is. moto accepts any key."""


@dataclass(frozen=True)
class Identity:
    """`arn` is what GetCallerIdentity answers, `principal` the ARN that policies and access entries name."""

    arn: str
    principal: str
    user_id: str
    session: str = ""
    secret: str | None = None
    session_token: str | None = None


def deployer(account: str, partition: str = "aws") -> Identity:
    arn = f"arn:{partition}:iam::{account}:user/{DEPLOYER}"
    return Identity(arn, arn, "AIDAPENSTOCKDEPLOYER")


def find(account: str, access_key: str, partition: str = "aws") -> Identity | None:
    """The owner of a key that IAM or STS made, or None."""
    role = sts_backends[account][partition].get_assumed_role_from_access_key(access_key)
    iam = iam_backends[account][partition]
    if role is not None:
        name = role.role_arn.rsplit("/", 1)[-1]
        known = next((known.arn for known in iam.roles.values() if known.name == name), role.role_arn)
        return Identity(role.arn, known, role.user_id, role.session_name, role.secret_access_key, role.session_token)
    for user in iam.users.values():
        for key in user.access_keys:
            if key.access_key_id == access_key and key.status == "Active":
                return Identity(user.arn, user.arn, user.id, secret=key.secret_access_key)
    return None


def get_caller_identity(original: Any, self: Any, access_key_id: str, region: str) -> tuple[str, str, str]:
    if find(self.account_id, access_key_id, self.partition):
        return original(self, access_key_id, region)
    caller = deployer(self.account_id, self.partition)
    return caller.user_id, caller.arn, self.account_id


def install() -> None:
    extend(STSBackend, get_caller_identity)
