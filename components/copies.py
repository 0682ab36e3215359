"""A second copy, in another region, of what cannot be made again: model weights, and the database's backups."""

from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components import policies
from components.arns import supported
from components.buckets import private_bucket
from components.keys import DELETION_WINDOW_DAYS, ROTATION_DAYS
from components.options import stateful
from components.role import ServiceRole


class CopiesArgs(TypedDict):
    partition: str
    account_id: str
    region: str
    """Where the copies are."""
    home_region: str
    """AWS region of the originals, which is the provider's."""
    weights_bucket: pulumi.Input[str]
    """Name of the bucket that is copied; its versions must be kept (`versionedBucket` of `Weights`)."""
    weights_bucket_arn: pulumi.Input[str]
    """ARN of the same bucket, for the role by which S3 copies."""
    weights_key_arn: pulumi.Input[str]
    """What encrypts the originals."""
    old_version_days: int
    """Days for which a copy that was overwritten or deleted can be brought back."""
    database_arn: pulumi.Input[str]
    """ARN of the RDS instance (`arn` of `Database`); its own backups must be on."""
    backup_days: int
    """How many days the copied backups are kept, 1 to 35."""
    protected: bool
    """Refuses to delete the copies' bucket and keys; without it a destroy empties and deletes the bucket."""


class Copies(pulumi.ComponentResource):
    """Each new version of the weights and each backup of the database (with its log, to a point in time) is copied,
    encrypted by keys of the other region. Nothing is copied back by itself."""

    weights_bucket: pulumi.Output[str]
    """Name of the bucket in the other region."""

    def __init__(self, name: str, args: CopiesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Copies", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        documents = copy_key_policies(supported(args["partition"]), args["region"], args["account_id"])
        keys = {
            data_class: self._key(data_class, policies.dumps(document), args["region"], args["protected"])
            for data_class, document in documents.items()
        }
        there = private_bucket(
            self,
            f"{name}-weights",
            protected=args["protected"],
            key_arn=keys["weights"],
            rule="old-versions",
            old_version_days=args["old_version_days"],
            region=args["region"],
        )
        role = ServiceRole(
            f"{name}-weights",
            {
                "services": ["s3.amazonaws.com"],
                "description": "S3 copies model weights to another region",
                "managed_policies": [],
                "policy": pulumi.Output.all(
                    args["weights_bucket_arn"], args["weights_key_arn"], there.bucket.arn, keys["weights"]
                ).apply(
                    lambda arns: policies.dumps(
                        policies.copy_weights(*arns, from_region=args["home_region"], to_region=args["region"])
                    )
                ),
            },
            child,
        )
        aws.s3.BucketReplicationConfig(
            f"{name}-weights",
            bucket=args["weights_bucket"],
            role=role.arn,
            rules=[
                {
                    "id": "all",
                    "status": "Enabled",
                    "priority": 0,
                    "filter": {"prefix": ""},
                    # Who deletes the originals by mistake still has the copies.
                    "delete_marker_replication": {"status": "Disabled"},
                    "source_selection_criteria": {"sse_kms_encrypted_objects": {"status": "Enabled"}},
                    "destination": {
                        "bucket": there.bucket.arn,
                        "storage_class": "STANDARD_IA",
                        "encryption_configuration": {"replica_kms_key_id": keys["weights"]},
                    },
                }
            ],
            # S3 takes it only where both buckets keep versions.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[there.versioning, there.policy]),
        )
        aws.rds.InstanceAutomatedBackupsReplication(
            f"{name}-database",
            source_db_instance_arn=args["database_arn"],
            kms_key_id=keys["database"],
            retention_period=args["backup_days"],
            region=args["region"],
            opts=child,
        )
        self.weights_bucket = there.bucket.bucket
        self.register_outputs({"weightsBucket": self.weights_bucket})

    def _key(self, data_class: str, policy: str, region: str, protected: bool) -> pulumi.Output[str]:
        name = f"{self.pulumi_resource_name}-{data_class}"
        key = aws.kms.Key(
            name,
            description=f"Penstock: copies of {data_class}",
            policy=policy,
            enable_key_rotation=True,
            rotation_period_in_days=ROTATION_DAYS,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            region=region,
            opts=stateful(self, protected),
        )
        aws.kms.Alias(name, target_key_id=key.key_id, region=region, opts=pulumi.ResourceOptions(parent=self))
        return key.arn


def copy_key_policies(partition: str, region: str, account: str) -> dict[str, dict]:
    """Of the keys in the other region."""
    administered = policies.account_may_administer(partition, account)
    return {
        "weights": policies.document(administered),
        "database": policies.document(administered, policies.used_through("rds", region, account)),
    }
