"""Policies as documents: who may use a key, a bucket, a topic."""

from __future__ import annotations

from components import policies

ACCOUNT = "123456789012"


def test_a_pod_identity_role_may_be_tagged_and_another_may_not():
    assert policies.trust("pods.eks.amazonaws.com")["Statement"][0]["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert policies.trust("ec2.amazonaws.com")["Statement"][0]["Action"] == ["sts:AssumeRole"]


def test_a_key_is_used_by_anyone_only_through_its_service_and_from_its_account():
    condition = policies.used_through("rds", "eu-central-1", ACCOUNT)["Condition"]["StringEquals"]
    assert condition == {"kms:CallerAccount": ACCOUNT, "kms:ViaService": "rds.eu-central-1.amazonaws.com"}


def test_the_logs_key_serves_log_groups_of_the_account_alone():
    condition = policies.logs_may_encrypt("aws", "eu-central-1", ACCOUNT)["Condition"]["ArnLike"]
    assert list(condition.values()) == [f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:*"]


def test_a_bucket_refuses_plain_http_for_itself_and_its_objects():
    statement = policies.bucket_over_tls_only("arn:aws:s3:::b")["Statement"][0]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert statement["Resource"] == ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]


def test_a_topic_takes_messages_from_services_of_the_account_alone():
    document = policies.publish_from_account("arn:topic", ACCOUNT, ["budgets.amazonaws.com"])
    assert document["Statement"][0]["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_engines_read_weights_and_nothing_else():
    document = policies.read_weights("arn:bucket", "arn:key")
    granted = {(each["Action"], each["Resource"]) for each in document["Statement"] if each["Effect"] == "Allow"}
    assert granted == {("s3:ListBucket", "arn:bucket"), ("s3:GetObject", "arn:bucket/*"), ("kms:Decrypt", "arn:key")}
    refused = [each["Resource"] for each in document["Statement"] if each["Effect"] == "Deny"]
    assert refused == ["arn:bucket/registry/*"], "evaluation records hold parts of answers"
