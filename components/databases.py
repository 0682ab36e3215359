"""The cache and the database, both in subnets without a way out."""

import secrets
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.manifests import CACHE_PORT, DATABASE_PORT
from components.options import numbered, stateful

TOKEN_BYTES = 48
"""64 characters; ElastiCache takes 16 to 128 (AuthToken)."""
RECOVERY_DAYS = 7
"""The shortest wait that Secrets Manager offers before a deleted secret is gone for good."""
SLOW_STATEMENT_MS = 1000
"""Statements that take longer are logged with their text."""
EXPORTED_LOGS = ["postgresql", "upgrade"]
INSIGHTS_DAYS = 7
"""What Performance Insights keeps without an extra charge."""


class CacheArgs(TypedDict):
    node_type: str
    """ElastiCache node type of the primary and of each replica, such as cache.m7g.large."""
    engine_version: str
    """Valkey version."""
    replicas: int
    """Beside the primary, in other zones; with one or more it fails over by itself."""
    tls: bool
    """Clients must connect by TLS."""
    auth: bool
    """Clients must send a token. AWS takes one only beside TLS."""
    token_number: NotRequired[int]
    """Raised by one it has the token made anew; 1 where it is not given."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Intra subnets, without a way out; with replicas, of two zones or more."""
    security_group_id: pulumi.Input[str]
    """Security group of the nodes; it must let clients in at port 6379."""
    key_arn: pulumi.Input[str]
    """KMS key that encrypts the cache at rest, its token not included."""
    credentials_key_arn: pulumi.Input[str]
    """For the secret that keeps the token."""
    protected: bool
    """The token's secret can be brought back for 7 days after a delete; the cache itself is not protected."""


class Cache(pulumi.ComponentResource):
    """A Valkey replication group, encrypted at rest, with a standby where replicas are asked for."""

    address: pulumi.Output[str]
    """host:port of the primary."""
    member_ids: pulumi.Output[Sequence[str]]
    """Ids of the nodes, the primary among them."""
    token: pulumi.Output[str]
    """Secret; empty where clients need none."""

    def __init__(self, name: str, args: CacheArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Cache", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        subnets = aws.elasticache.SubnetGroup(
            name, subnet_ids=args["subnet_ids"], description="Penstock cache", opts=child
        )
        standby = args["replicas"] > 0
        token = self._token(args) if args["auth"] else None
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
            auth_token=token,
            # A new token is valid beside the old one until the next change, so that no client is locked out.
            auth_token_update_strategy="ROTATE" if token else None,
            auto_minor_version_upgrade=True,
            apply_immediately=True,
            opts=child,
        )
        self.address = pulumi.Output.concat(group.primary_endpoint_address, ":", str(CACHE_PORT))
        # ElastiCache names them so; what it reports of them is known later.
        self.members = [
            pulumi.Output.concat(group.replication_group_id, f"-{number:03d}")
            for number in range(1, 2 + args["replicas"])
        ]
        self.member_ids = pulumi.Output.all(*self.members)
        self.token = token or pulumi.Output.secret("")
        self.register_outputs({"address": self.address, "memberIds": self.member_ids, "token": self.token})

    def _token(self, args: CacheArgs) -> pulumi.Output[str]:
        """Made once for each number: the program offers a new one each time, and the first that was taken stays."""
        name = f"{self.pulumi_resource_name}-token"
        secret = aws.secretsmanager.Secret(
            name,
            description="What clients send to the cache",
            kms_key_id=args["credentials_key_arn"],
            recovery_window_in_days=RECOVERY_DAYS if args["protected"] else 0,
            opts=pulumi.ResourceOptions(parent=self),
        )
        version = aws.secretsmanager.SecretVersion(
            numbered(name, args.get("token_number", 1)),
            secret_id=secret.id,
            secret_string=pulumi.Output.secret(secrets.token_urlsafe(TOKEN_BYTES)),
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["secretString"]),
        )
        return pulumi.Output.secret(version.secret_string.apply(lambda text: text or ""))


class DatabaseArgs(TypedDict):
    identifier: str
    """The instance's name, and the first part of its log groups' and of its last snapshot's. A new one is a new, empty
    database."""
    instance_class: str
    """RDS instance class, such as db.m7g.large; a standby has the same."""
    engine_version: str
    """PostgreSQL version; a major alone takes its newest minor."""
    checked_version: NotRequired[pulumi.Input[str]]
    """The same, known only where something else allows it."""
    allow_major_upgrade: NotRequired[bool]
    """Takes a new major version at once: in the maintenance window its old parameter group could not be deleted."""
    storage_gib: int
    """First storage, in GiB of gp3, 20 or more: it can grow and never shrink."""
    max_storage_gib: int
    """Storage grows by itself up to this, in GiB."""
    multi_zone: bool
    """A standby in a second zone, to which it fails over by itself."""
    backup_days: int
    """How many days back it can be restored, to a point in time: 0 to 35; with 0 there are no backups."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Intra subnets, without a way out, of two zones or more."""
    security_group_id: pulumi.Input[str]
    """Security group of the instance; it must let gateways in at port 5432."""
    key_arn: pulumi.Input[str]
    """KMS key that encrypts storage, backups, snapshots and Performance Insights."""
    credentials_key_arn: pulumi.Input[str]
    """KMS key of the secret in which AWS keeps the owner's password."""
    logs_key_arn: pulumi.Input[str]
    log_retention_days: int
    protected: bool
    """Refuses to delete the instance, keeps its backups and a last snapshot, and leaves changes to the maintenance
    window."""


class Database(pulumi.ComponentResource):
    """PostgreSQL: encrypted, TLS only, its password made, kept and rotated by AWS."""

    address: pulumi.Output[str]
    """host:port."""
    identifier: pulumi.Output[str]
    """The instance's name, known once it is there: metrics and alarms name it."""
    arn: pulumi.Output[str]
    """ARN of the instance, for `Copies` and `FaultInjection`."""
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
            # pgvector needs no parameter: RDS ships it, and `CREATE EXTENSION vector` makes it usable.
            parameters=[
                {"name": "rds.force_ssl", "value": "1"},
                {"name": "log_min_duration_statement", "value": str(SLOW_STATEMENT_MS)},
                {"name": "log_lock_waits", "value": "1"},
            ],
            opts=child,
        )
        identifier = args["identifier"]
        # RDS would make them at its first line: without a key, and kept for ever.
        logs = [
            aws.cloudwatch.LogGroup(
                f"{name}-{kind}",
                name=f"/aws/rds/instance/{identifier}/{kind}",
                kms_key_id=args["logs_key_arn"],
                retention_in_days=args["log_retention_days"],
                opts=child,
            )
            for kind in EXPORTED_LOGS
        ]
        # The ledger lives here: a new name is a new, empty database.
        instance = aws.rds.Instance(
            name,
            identifier=identifier,
            engine="postgres",
            engine_version=args.get("checked_version", args["engine_version"]),
            allow_major_version_upgrade=True if args.get("allow_major_upgrade") else None,
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
            iam_database_authentication_enabled=True,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=args["key_arn"],
            performance_insights_retention_period=INSIGHTS_DAYS,
            enabled_cloudwatch_logs_exports=EXPORTED_LOGS,
            delete_automated_backups=not args["protected"],
            copy_tags_to_snapshot=True,
            auto_minor_version_upgrade=True,
            apply_immediately=not args["protected"] or args.get("allow_major_upgrade", False),
            deletion_protection=args["protected"],
            skip_final_snapshot=not args["protected"],
            final_snapshot_identifier=f"{identifier}-final" if args["protected"] else None,
            opts=pulumi.ResourceOptions.merge(
                stateful(self, args["protected"]), pulumi.ResourceOptions(depends_on=logs)
            ),
        )
        self.address = pulumi.Output.concat(instance.address, ":", str(DATABASE_PORT))
        self.identifier = instance.identifier
        self.arn = instance.arn
        self.secret_arn = instance.master_user_secrets[0]["secret_arn"]
        self.register_outputs(
            {"address": self.address, "identifier": self.identifier, "arn": self.arn, "secretArn": self.secret_arn}
        )
