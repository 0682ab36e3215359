"""RDS instances are PostgreSQL servers, replication groups are Redis servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.aws.planes.postgres import installations


@pytest.fixture(scope="module")
def database(aws, network) -> Iterator[dict[str, Any]]:
    """An available instance; it is deleted at the end."""
    rds = aws.client("rds")
    rds.create_db_subnet_group(
        DBSubnetGroupName="data", DBSubnetGroupDescription="data", SubnetIds=network.subnets
    )  # fmt: skip
    created = rds.create_db_instance(
        DBInstanceIdentifier="penstock", Engine="postgres", EngineVersion="18", DBInstanceClass="db.t4g.medium",
        AllocatedStorage=20, MasterUsername="penstock", ManageMasterUserPassword=True, DBName="ledger",
        DBSubnetGroupName="data",
    )["DBInstance"]  # fmt: skip
    assert created["DBInstanceStatus"] == "creating"
    assert "Endpoint" not in created, "an instance has no endpoint before its server is there"

    def settled() -> dict[str, Any] | None:
        found = rds.describe_db_instances(DBInstanceIdentifier="penstock")["DBInstances"][0]
        return found if found["DBInstanceStatus"] != "creating" else None

    found = aws.wait_for(settled, 60)
    assert found["DBInstanceStatus"] == "available", aws.said()
    yield found
    rds.delete_db_instance(DBInstanceIdentifier="penstock", SkipFinalSnapshot=True)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((found["Endpoint"]["Address"], 5432), timeout=2)


def credentials_of(aws, instance: dict[str, Any]) -> dict[str, str]:
    secret = aws.client("secretsmanager").get_secret_value(SecretId=instance["MasterUserSecret"]["SecretArn"])
    return json.loads(secret["SecretString"])


def query(instance: dict[str, Any], user: str, password: str, text: str) -> subprocess.CompletedProcess[str]:
    newest = installations()[max(installations())]
    endpoint = instance["Endpoint"]
    return subprocess.run(
        [
            newest.root / "bin" / "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--host", endpoint["Address"],
            "--port", str(endpoint["Port"]), "--username", user, "--command", text, instance["DBName"],
        ],
        env={"PATH": os.defpath, "PGPASSWORD": password}, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def test_an_instance_takes_the_password_of_its_managed_secret_and_has_pgvector(aws, database) -> None:
    credentials = credentials_of(aws, database)
    text = "CREATE EXTENSION vector; SELECT '[1,2]'::vector <-> '[1,3]'::vector, version()"
    answer = query(database, credentials["username"], credentials["password"], text)
    assert answer.returncode == 0, answer.stderr
    assert "1|PostgreSQL 18." in answer.stdout


def test_a_server_that_was_killed_is_started_again_with_its_data(aws, database) -> None:
    credentials = credentials_of(aws, database)

    def ask(text: str) -> str:
        return query(database, credentials["username"], credentials["password"], text).stdout

    ask("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
    kill(aws, "postgres")
    assert aws.wait_for(lambda: ask("SELECT n FROM kept")).strip() == "42"


def test_an_instance_refuses_a_wrong_password(database) -> None:
    answer = query(database, "penstock", "wrong", "SELECT 1")
    assert answer.returncode != 0
    assert "password authentication failed" in answer.stderr


def test_a_changed_master_password_holds_at_once(aws, database) -> None:
    aws.client("rds").modify_db_instance(
        DBInstanceIdentifier="penstock", ManageMasterUserPassword=False, MasterUserPassword="it's new; really",
        ApplyImmediately=True,
    )  # fmt: skip
    try:
        assert query(database, "penstock", "it's new; really", "SELECT 1").stdout.strip() == "1"
    finally:
        aws.client("rds").modify_db_instance(
            DBInstanceIdentifier="penstock", ManageMasterUserPassword=True, ApplyImmediately=True
        )
        found = aws.client("rds").describe_db_instances(DBInstanceIdentifier="penstock")["DBInstances"][0]
        database["MasterUserSecret"] = found["MasterUserSecret"]


def test_a_version_that_is_not_there_is_refused_with_those_that_are(aws) -> None:
    with pytest.raises(ClientError, match=r"Cannot find version 12\.3 for postgres: this machine has 16\..*18\."):
        aws.client("rds").create_db_instance(
            DBInstanceIdentifier="old", Engine="postgres", EngineVersion="12.3", DBInstanceClass="db.t4g.micro",
            MasterUsername="penstock", MasterUserPassword="password", AllocatedStorage=20,
        )  # fmt: skip


def test_an_engine_without_a_local_server_is_refused(aws) -> None:
    with pytest.raises(ClientError, match="engine mysql has no local server"):
        aws.client("rds").create_db_instance(
            DBInstanceIdentifier="other", Engine="mysql", DBInstanceClass="db.t4g.micro", MasterUsername="penstock",
            MasterUserPassword="password", AllocatedStorage=20,
        )  # fmt: skip


def redis(address: str, *commands: str) -> list[str]:
    """The first line of the answer to each command."""
    with socket.create_connection((address, 6379), timeout=5) as connection, connection.makefile("rw") as stream:
        answers = []
        for command in commands:
            stream.write(command + "\r\n")
            stream.flush()
            answers.append(stream.readline().strip())
        return answers


def pong(address: str) -> str | None:
    try:
        return redis(address, "PING")[0]
    except OSError:
        return None


def kill(aws, program: str) -> None:
    """Kills the children of the embedded AWS that run a program of this name."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().partition("(")[2].rpartition(")")
        except FileNotFoundError:
            continue
        if name.startswith(program[:15]) and int(rest.split()[1]) == aws.process.pid:
            os.kill(int(status.parent.name), signal.SIGKILL)


def test_a_replication_group_is_a_redis_with_its_token(aws, network) -> None:
    cache = aws.client("elasticache")
    cache.create_cache_subnet_group(
        CacheSubnetGroupName="data", CacheSubnetGroupDescription="data", SubnetIds=network.subnets
    )
    group = cache.create_replication_group(
        ReplicationGroupId="penstock", ReplicationGroupDescription="limits", Engine="valkey",
        CacheNodeType="cache.t4g.small", NumCacheClusters=3, AutomaticFailoverEnabled=True, MultiAZEnabled=True,
        CacheSubnetGroupName="data", TransitEncryptionEnabled=True, AuthToken="a-token-of-16-chars",
    )["ReplicationGroup"]  # fmt: skip
    nodes = group["NodeGroups"][0]
    address = nodes["PrimaryEndpoint"]["Address"]
    assert nodes["ReaderEndpoint"] == nodes["PrimaryEndpoint"] == {"Address": address, "Port": 6379}
    assert len(group["MemberClusters"]) == 3
    assert redis(address, "PING")[0].startswith("-NOAUTH")
    assert redis(address, "AUTH a-token-of-16-chars", "SET a 1", "INCR a") == ["+OK", "+OK", ":2"]
    zones = {member["PreferredAvailabilityZone"] for member in nodes["NodeGroupMembers"]}
    assert zones == {"eu-central-1a", "eu-central-1b", "eu-central-1c"}
    kill(aws, "redis-server")
    assert aws.wait_for(lambda: pong(address)).startswith("-NOAUTH"), "a node that ended is replaced"
    members = cache.describe_cache_clusters(CacheClusterId=group["MemberClusters"][0])["CacheClusters"]
    assert members[0]["EngineVersion"] == "8.1.0"
    cache.delete_replication_group(ReplicationGroupId="penstock")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, 6379), timeout=2)
    cache.delete_cache_subnet_group(CacheSubnetGroupName="data")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NumCacheClusters": 1, "AutomaticFailoverEnabled": True}, "must have at least one replica"),
        ({"MultiAZEnabled": True}, "failover must be enabled"),
        ({"AuthToken": "a-token-of-16-chars"}, "only supported when encryption-in-transit is enabled"),
        (
            {"NumNodeGroups": 2, "AutomaticFailoverEnabled": True, "ReplicasPerNodeGroup": 1},
            "cluster mode has no local",
        ),
    ],
)
def test_a_replication_group_that_cannot_be_is_refused(aws, changes, message) -> None:
    with pytest.raises(ClientError, match=message):
        aws.client("elasticache").create_replication_group(
            ReplicationGroupId="bad", ReplicationGroupDescription="bad", CacheNodeType="cache.t4g.small", **changes
        )
    with pytest.raises(ClientError, match="not found"):
        aws.client("elasticache").describe_replication_groups(ReplicationGroupId="bad")


def test_a_taken_port_is_named_and_nothing_is_left_behind(aws) -> None:
    with socket.socket() as other:
        other.bind((aws.layout.address(2, 1), 6379))
        other.listen()
        with pytest.raises(ClientError, match=r"port 6379 of 127\.\d+\.2\.1 is in use by another process"):
            aws.client("elasticache").create_replication_group(
                ReplicationGroupId="late", ReplicationGroupDescription="late", CacheNodeType="cache.t4g.small"
            )
    with pytest.raises(ClientError, match="not found"):
        aws.client("elasticache").describe_replication_groups(ReplicationGroupId="late")


def test_a_database_that_cannot_be_made_says_why(aws) -> None:
    rds = aws.client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier="refused",
        DBInstanceClass="db.t4g.small",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="pg_admin",  # PostgreSQL keeps such names for itself
        ManageMasterUserPassword=True,
    )

    def found() -> dict[str, Any]:
        return rds.describe_db_instances(DBInstanceIdentifier="refused")["DBInstances"][0]

    aws.wait_for(lambda: found()["DBInstanceStatus"] == "failed")
    assert "pg_" in found()["StatusInfos"][0]["Message"]
    rds.delete_db_instance(DBInstanceIdentifier="refused", SkipFinalSnapshot=True)
