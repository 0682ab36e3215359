"""One customer-managed key for each class of data."""

from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components import policies
from components.arns import supported
from components.events import KEY_USERS
from components.log_policies import trail_may_encrypt
from components.options import stateful

ROTATION_DAYS = 365
DELETION_WINDOW_DAYS = 30
"""The longest wait that KMS offers: a deleted key takes its data with it."""


class DataKeysArgs(TypedDict):
    partition: str
    region: str
    account_id: str
    protected: bool
    """Keys can then not be deleted: with a key goes what it encrypts."""


def key_policies(partition: str, region: str, account: str) -> dict[str, dict]:
    """The policy of each data class's key. Services not named here reach a key through grants or IAM alone."""
    administered = policies.account_may_administer(partition, account)

    def through(service: str) -> dict:
        return policies.document(administered, policies.used_through(service, region, account))

    return {
        "cluster": policies.document(administered),
        "volumes": through("ec2"),
        "weights": policies.document(administered),
        "images": through("ecr"),
        "database": through("rds"),
        "cache": through("elasticache"),
        "logs": policies.document(administered, policies.logs_may_encrypt(partition, region, account)),
        "messages": policies.document(
            administered,
            policies.publishers_may_encrypt(account, KEY_USERS),
        ),
        "credentials": through("secretsmanager"),
        "audit": policies.document(administered, trail_may_encrypt(partition, region, account)),
    }


class DataKeys(pulumi.ComponentResource):
    """One KMS key with yearly rotation and a policy of its own for each class of data."""

    cluster: pulumi.Output[str]
    """Key ARN for Kubernetes secrets (envelope encryption)."""
    volumes: pulumi.Output[str]
    """Key ARN for the nodes' volumes."""
    weights: pulumi.Output[str]
    """Key ARN for model weights."""
    images: pulumi.Output[str]
    """Key ARN for container images."""
    database: pulumi.Output[str]
    """Key ARN for the database and its backups."""
    cache: pulumi.Output[str]
    """Key ARN for the cache."""
    logs: pulumi.Output[str]
    """Key ARN for log groups."""
    messages: pulumi.Output[str]
    """Key ARN for topics."""
    credentials: pulumi.Output[str]
    """Key ARN for secrets: API keys, the database's password."""
    audit: pulumi.Output[str]
    """Key ARN for the trail of calls to AWS."""

    def __init__(self, name: str, args: DataKeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:DataKeys", name, None, opts)
        arns = {
            data_class: self._key(data_class, policies.dumps(policy), args["protected"])
            for data_class, policy in key_policies(
                supported(args["partition"]), args["region"], args["account_id"]
            ).items()
        }
        self.cluster = arns["cluster"]
        self.volumes = arns["volumes"]
        self.weights = arns["weights"]
        self.images = arns["images"]
        self.database = arns["database"]
        self.cache = arns["cache"]
        self.logs = arns["logs"]
        self.messages = arns["messages"]
        self.credentials = arns["credentials"]
        self.audit = arns["audit"]
        self.register_outputs(arns)

    def _key(self, data_class: str, policy: str, protected: bool) -> pulumi.Output[str]:
        name = f"{self.pulumi_resource_name}-{data_class}"
        # A key that is replaced or deleted makes its data unreadable: never rename.
        key = aws.kms.Key(
            name,
            description=f"Penstock: {data_class}",
            policy=policy,
            enable_key_rotation=True,
            rotation_period_in_days=ROTATION_DAYS,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            opts=stateful(self, protected),
        )
        aws.kms.Alias(name, target_key_id=key.key_id, opts=pulumi.ResourceOptions(parent=self))
        return key.arn
