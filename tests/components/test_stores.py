"""The stores by themselves: who may read the cache, what the database writes down, what a bucket keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.rehearsal import SECRET, Rehearsal

Registered = Callable[[Callable[[], object]], Rehearsal]


def cache(auth: bool, protected: bool = False) -> Callable[[], object]:
    from components.databases import Cache

    return lambda: Cache(
        "cache",
        {
            "node_type": "cache.t4g.small",
            "engine_version": "8.0",
            "replicas": 1,
            "tls": True,
            "auth": auth,
            "subnet_ids": ["s"],
            "security_group_id": "sg",
            "key_arn": "arn:key",
            "credentials_key_arn": "arn:credentials",
            "protected": protected,
        },
    )


def database(protected: bool) -> Callable[[], object]:
    from components.databases import Database

    return lambda: Database(
        "database",
        {
            "identifier": "penstock-test",
            "instance_class": "db.t4g.small",
            "engine_version": "18",
            "storage_gib": 20,
            "max_storage_gib": 40,
            "multi_zone": protected,
            "backup_days": 7,
            "subnet_ids": ["s"],
            "security_group_id": "sg",
            "key_arn": "arn:key",
            "credentials_key_arn": "arn:credentials",
            "logs_key_arn": "arn:logs",
            "log_retention_days": 30,
            "protected": protected,
        },
    )


def weights(name: str = "weights", **more: Any) -> Callable[[], object]:
    from components.stores import Weights

    return lambda: Weights(name, {"key_arn": "arn:key", "old_version_days": 30, "protected": True, **more})


def test_the_caches_token_is_made_once_kept_in_a_secret_and_never_shown(registered: Registered):
    rehearsal = registered(cache(auth=True))
    group = rehearsal.one("aws:elasticache/replicationGroup:ReplicationGroup", "cache").inputs
    assert (group["authToken"], group["authTokenUpdateStrategy"]) == (SECRET, "ROTATE")
    kept = rehearsal.one("aws:secretsmanager/secretVersion:SecretVersion", "cache-token")
    assert (kept.inputs["secretString"], kept.ignore_changes) == (SECRET, ("secretString",))
    assert rehearsal.one("aws:secretsmanager/secret:Secret", "cache-token").inputs["kmsKeyId"] == "arn:credentials"


def test_a_cache_without_a_token_has_no_secret(registered: Registered):
    rehearsal = registered(cache(auth=False))
    assert "authToken" not in rehearsal.one("aws:elasticache/replicationGroup:ReplicationGroup", "cache").inputs
    assert rehearsal.of_type("aws:secretsmanager/secret:Secret") == []


def test_the_nodes_of_the_cache_are_known_by_name(registered: Registered):
    found: list[list[str]] = []

    def build() -> None:
        made: Any = cache(auth=False)()
        made.member_ids.apply(found.append)

    registered(build)
    assert found == [["cache-0000000-001", "cache-0000000-002"]]


@pytest.mark.parametrize(("protected", "days"), [(True, 7), (False, 0)])
def test_a_deleted_token_can_be_brought_back_in_production_alone(registered: Registered, protected: bool, days: int):
    secret = registered(cache(auth=True, protected=protected)).one("aws:secretsmanager/secret:Secret", "cache-token")
    assert secret.inputs["recoveryWindowInDays"] == days


def test_the_databases_logs_have_a_key_and_a_term_before_it_writes_the_first_line(registered: Registered):
    rehearsal = registered(database(protected=False))
    groups = rehearsal.of_type("aws:cloudwatch/logGroup:LogGroup")
    instance = rehearsal.one("aws:rds/instance:Instance", "database")
    exported = instance.inputs["enabledCloudwatchLogsExports"]
    assert {each.inputs["name"] for each in groups} == {f"/aws/rds/instance/penstock-test/{kind}" for kind in exported}
    assert {(each.inputs["kmsKeyId"], each.inputs["retentionInDays"]) for each in groups} == {("arn:logs", 30)}
    assert {each.urn for each in groups} <= instance.dependencies


def test_the_database_speaks_tls_only_and_knows_iam(registered: Registered):
    rehearsal = registered(database(protected=False))
    parameters = rehearsal.one("aws:rds/parameterGroup:ParameterGroup", "database").inputs["parameters"]
    assert {"name": "rds.force_ssl", "value": "1"} in parameters
    instance = rehearsal.one("aws:rds/instance:Instance", "database").inputs
    assert instance["iamDatabaseAuthenticationEnabled"] is True
    assert instance["performanceInsightsKmsKeyId"] == "arn:key"


@pytest.mark.parametrize("protected", [True, False])
def test_a_protected_database_leaves_a_snapshot_and_its_backups(registered: Registered, protected: bool):
    inputs = registered(database(protected)).one("aws:rds/instance:Instance", "database").inputs
    assert inputs["deletionProtection"] is protected
    assert inputs["skipFinalSnapshot"] is not protected
    assert inputs["deleteAutomatedBackups"] is not protected
    assert inputs.get("finalSnapshotIdentifier") == ("penstock-test-final" if protected else None)


def test_overwritten_weights_can_be_brought_back_for_a_time(registered: Registered):
    rehearsal = registered(weights())
    rules = rehearsal.one("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "weights")
    (rule,) = rules.inputs["rules"]
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 30}
    assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}
    assert "expiration" not in rule, "what is current stays"
    assert rehearsal.one("aws:s3/bucketVersioning:BucketVersioning", "weights").urn in rules.dependencies


def test_a_bucket_writes_access_logs_where_it_is_told(registered: Registered):
    kind = "aws:s3/bucketLogging:BucketLogging"
    assert registered(weights()).of_type(kind) == []
    logging = registered(weights(access_logs_bucket="our-logs")).one(kind, "weights").inputs
    assert (logging["targetBucket"], logging["targetPrefix"]) == ("our-logs", "weights/")


def test_access_logs_of_weights_go_where_the_bucket_of_access_logs_takes_them_whatever_their_name(
    registered: Registered,
):
    from components.audit import AccessLogs

    logs = registered(lambda: AccessLogs("logs", {"account_id": "111122223333", "days": 30, "protected": False}))
    statements = json.loads(logs.one("aws:s3/bucketPolicy:BucketPolicy", "logs").inputs["policy"])["Statement"]
    (taken,) = [each["Resource"] for each in statements if each["Sid"] == "BucketsWrite"]
    found = registered(weights("models", access_logs_bucket="our-logs"))
    logging = found.one("aws:s3/bucketLogging:BucketLogging", "models").inputs
    assert taken.endswith(f"/{logging['targetPrefix']}*"), "what S3 may not write it drops, and says so to nobody"
