"""The cache and the database, both in subnets without a way out."""

from collections.abc import Sequence
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components.options import stateful
from components.manifests import CACHE_PORT, DATABASE_PORT


class CacheArgs(TypedDict):
    node_type: str
    engine_version: str
    """Valkey version."""
    replicas: int
    """Beside the primary, in other zones; with one or more it fails over by itself."""
    tls: bool
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    security_group_id: pulumi.Input[str]
    key_arn: pulumi.Input[str]


class Cache(pulumi.ComponentResource):
    """A Valkey replication group, encrypted at rest, with a standby where replicas are asked for."""

    address: pulumi.Output[str]
    """host:port of the primary."""

    def __init__(self, name: str, args: CacheArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Cache", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        subnets = aws.elasticache.SubnetGroup(
            name, subnet_ids=args["subnet_ids"], description="Penstock cache", opts=child
        )
        standby = args["replicas"] > 0
        group = aws.elasticache.ReplicationGroup(
            name,
            description="Penstock: quotas, budgets and prompt caches of the gateways",
            engine="valkey",
            engine_version=args["engine_version"],
            node_type=args["node_type"],
            num_cache_clusters=1 + args["replicas"],
            automatic_failover_enabled=standby,
            multi_az_enabled=standby,
            port=CACHE_PORT,
            subnet_group_name=subnets.name,
            security_group_ids=[args["security_group_id"]],
            at_rest_encryption_enabled=True,
            kms_key_id=args["key_arn"],
            transit_encryption_enabled=args["tls"],
            auto_minor_version_upgrade=True,
            apply_immediately=True,
            opts=child,
        )
        self.address = pulumi.Output.concat(group.primary_endpoint_address, ":", str(CACHE_PORT))
        self.register_outputs({"address": self.address})


class DatabaseArgs(TypedDict):
    instance_class: str
    engine_version: str
    """PostgreSQL version; a major alone takes its newest minor."""
    storage_gib: int
    max_storage_gib: int
    multi_zone: bool
    backup_days: int
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    security_group_id: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    credentials_key_arn: pulumi.Input[str]
    protected: bool


class Database(pulumi.ComponentResource):
    """PostgreSQL: encrypted, TLS only, its password made, kept and rotated by AWS."""

    address: pulumi.Output[str]
    """host:port."""
    secret_arn: pulumi.Output[str]
    """The Secrets Manager secret that holds user name and password."""

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Database", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        subnets = aws.rds.SubnetGroup(name, subnet_ids=args["subnet_ids"], description="Penstock database", opts=child)
        parameters = aws.rds.ParameterGroup(
            name,
            family=f"postgres{args['engine_version'].split('.')[0]}",
            description="Penstock database",
            parameters=[{"name": "rds.force_ssl", "value": "1"}],
            opts=child,
        )
        # The ledger lives here: a new name is a new, empty database.
        instance = aws.rds.Instance(
            name,
            engine="postgres",
            engine_version=args["engine_version"],
            instance_class=args["instance_class"],
            allocated_storage=args["storage_gib"],
            max_allocated_storage=args["max_storage_gib"],
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=args["key_arn"],
            db_name="penstock",
            username="penstock",
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args["credentials_key_arn"],
            port=DATABASE_PORT,
            db_subnet_group_name=subnets.name,
            parameter_group_name=parameters.name,
            vpc_security_group_ids=[args["security_group_id"]],
            publicly_accessible=False,
            multi_az=args["multi_zone"],
            backup_retention_period=args["backup_days"],
            copy_tags_to_snapshot=True,
            auto_minor_version_upgrade=True,
            apply_immediately=not args["protected"],
            deletion_protection=args["protected"],
            skip_final_snapshot=not args["protected"],
            final_snapshot_identifier="penstock-final" if args["protected"] else None,
            opts=stateful(self, args["protected"]),
        )
        self.address = pulumi.Output.concat(instance.address, ":", str(DATABASE_PORT))
        self.secret_arn = instance.master_user_secrets[0]["secret_arn"]
        self.register_outputs({"address": self.address, "secretArn": self.secret_arn})
