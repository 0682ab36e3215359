"""For every policy document of components/: calls that must go through, and calls that must not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components import policies
from components.keys import key_policies
from infra.policy.evaluate import Request, authorise

ACCOUNT, OTHER = "123456789012", "999999999999"
REGION = "eu-central-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/engine"
STRANGER = f"arn:aws:iam::{OTHER}:role/engine"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
BUCKET = "arn:aws:s3:::weights-1"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:events-1"
LOGS = f"logs.{REGION}.amazonaws.com"
LOG_CONTEXT = "kms:EncryptionContext:aws:logs:arn"
EVERYTHING = policies.document({"Effect": "Allow", "Action": "*", "Resource": "*"})

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One call against one document. `as_resource`: the document is that of what is called, else the caller's own."""

    allowed: bool
    document: Document
    action: str
    resource: str = "*"
    principal: str = ROLE
    context: dict[str, str | Sequence[str]] = field(default_factory=dict)
    as_resource: bool = False
    decides: bool = False
    identity: tuple[Document, ...] = ()
    """The caller's own policies, beside the document."""

    def outcome(self) -> bool:
        request = Request(self.action, self.resource, self.principal, self.context)
        if self.as_resource:
            resource = [self.document]
            return authorise(request, identity=self.identity, resource=resource, resource_decides=self.decides)
        return authorise(request, identity=[self.document, *self.identity])


def key(allowed: bool, document: Document, action: str, **more: Any) -> Case:
    return Case(allowed, document, action, KEY, as_resource=True, decides=True, **more)


def trusted(allowed: bool, service: str, principal: str, action: str = "sts:AssumeRole") -> Case:
    return Case(allowed, policies.trust(service), action, principal=principal, as_resource=True, decides=True)


def through(service: str, account: str = ACCOUNT) -> dict[str, str | Sequence[str]]:
    return {"kms:CallerAccount": account, "kms:ViaService": f"{service}.{REGION}.amazonaws.com"}


def log_group(account: str) -> dict[str, str | Sequence[str]]:
    return {LOG_CONTEXT: f"arn:aws:logs:{REGION}:{account}:log-group:/penstock/gateway"}


PODS, NODES = "pods.eks.amazonaws.com", "ec2.amazonaws.com"
ADMINISTERED = policies.document(policies.account_may_administer("aws", ACCOUNT))
VOLUMES = policies.document(policies.used_through("ec2", REGION, ACCOUNT))
ENCRYPTING_LOGS = policies.document(policies.logs_may_encrypt("aws", REGION, ACCOUNT))
PUBLISHING = policies.document(policies.publishers_may_encrypt(ACCOUNT, ["budgets.amazonaws.com"]))
TLS_ONLY = policies.bucket_over_tls_only(BUCKET)
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:events-1"
SNS = "sns.amazonaws.com"
QUEUE_TLS = policies.queue_over_tls_only(QUEUE)
QUEUE_FED = policies.queue_fed_by_topic(QUEUE, TOPIC)
TOPIC_POLICY = policies.publish_from_account(TOPIC, ACCOUNT, ["budgets.amazonaws.com"])
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-1"
OWNER = policies.read_secret(SECRET)
PROVIDER_KEY = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:provider-key"
KEYS_OF_PROVIDERS = policies.document(policies.read_secrets([f"{PROVIDER_KEY}-1", f"{PROVIDER_KEY}-2"]))
EVENTS = policies.document(*policies.read_queue(QUEUE, KEY))
WEIGHTS = policies.read_weights(BUCKET, KEY)
FILES = policies.document(*policies.keep_files(BUCKET, KEY))
COPIES, COPIES_KEY = "arn:aws:s3:::copies-1", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/2"
COPYING = policies.copy_weights(BUCKET, KEY, COPIES, COPIES_KEY, from_region=REGION, to_region="eu-west-1")

INSTANCES = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance"
DATABASE = f"arn:aws:rds:{REGION}:{ACCOUNT}:db:database-1"
CACHE = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:cache-1"
DRILLS = policies.inject_faults("prod", f"{INSTANCES}/*", KEY, REGION, database_arn=DATABASE, cache_arn=CACHE)
DRILLS_OF_NODES = policies.inject_faults("prod", f"{INSTANCES}/*", KEY, REGION)
FOR_EC2: dict[str, str | Sequence[str]] = {
    "kms:ViaService": f"ec2.{REGION}.amazonaws.com",
    "kms:GrantIsForAWSResource": "true",
}


def of_stack(name: str) -> dict[str, str | Sequence[str]]:
    return {"aws:ResourceTag/stack": name}


def by_s3(region: str) -> dict[str, str | Sequence[str]]:
    return {"kms:ViaService": f"s3.{region}.amazonaws.com"}


HERE: dict[str, str | Sequence[str]] = {"aws:SourceAccount": ACCOUNT}
ELSEWHERE: dict[str, str | Sequence[str]] = {"aws:SourceAccount": OTHER}
OVER_TLS: dict[str, str | Sequence[str]] = {"aws:SecureTransport": "true"}
PLAIN_HTTP: dict[str, str | Sequence[str]] = {"aws:SecureTransport": "false"}

DOCUMENTS: dict[str, list[Case]] = {
    "trust": [
        trusted(True, PODS, PODS),
        trusted(True, PODS, PODS, "sts:TagSession"),
        trusted(True, NODES, NODES),
        trusted(False, NODES, NODES, "sts:TagSession"),
        trusted(False, PODS, NODES),
        trusted(False, PODS, ROLE),
    ],
    "account_may_administer": [
        key(True, ADMINISTERED, "kms:PutKeyPolicy", identity=(EVERYTHING,)),
        key(False, ADMINISTERED, "kms:PutKeyPolicy"),
        key(False, ADMINISTERED, "kms:Decrypt", principal=STRANGER, identity=(EVERYTHING,)),
    ],
    "used_through": [
        key(True, VOLUMES, "kms:CreateGrant", context=through("ec2")),
        key(True, VOLUMES, "kms:GenerateDataKeyWithoutPlaintext", context=through("ec2")),
        key(False, VOLUMES, "kms:Decrypt", context=through("rds")),
        key(False, VOLUMES, "kms:Decrypt", context={"kms:CallerAccount": ACCOUNT}),
        key(False, VOLUMES, "kms:Decrypt", principal=STRANGER, context=through("ec2", OTHER)),
        key(False, VOLUMES, "kms:ScheduleKeyDeletion", context=through("ec2")),
    ],
    "logs_may_encrypt": [
        key(True, ENCRYPTING_LOGS, "kms:GenerateDataKey", principal=LOGS, context=log_group(ACCOUNT)),
        key(False, ENCRYPTING_LOGS, "kms:GenerateDataKey", principal=LOGS, context=log_group(OTHER)),
        key(False, ENCRYPTING_LOGS, "kms:GenerateDataKey", principal=LOGS),
        key(
            False, ENCRYPTING_LOGS, "kms:Decrypt", principal="logs.us-east-1.amazonaws.com", context=log_group(ACCOUNT)
        ),
    ],
    "publishers_may_encrypt": [
        key(True, PUBLISHING, "kms:GenerateDataKey", principal="budgets.amazonaws.com", context=HERE),
        key(False, PUBLISHING, "kms:GenerateDataKey", principal="budgets.amazonaws.com", context=ELSEWHERE),
        key(False, PUBLISHING, "kms:GenerateDataKey", principal="budgets.amazonaws.com"),
        key(False, PUBLISHING, "kms:CreateGrant", principal="budgets.amazonaws.com", context=HERE),
        key(False, PUBLISHING, "kms:Decrypt", principal="events.amazonaws.com", context=HERE),
    ],
    "bucket_over_tls_only": [
        Case(True, TLS_ONLY, "s3:GetObject", f"{BUCKET}/m", ROLE, OVER_TLS, True, identity=(EVERYTHING,)),
        Case(False, TLS_ONLY, "s3:GetObject", f"{BUCKET}/m", ROLE, PLAIN_HTTP, True, identity=(EVERYTHING,)),
        Case(False, TLS_ONLY, "s3:ListBucket", BUCKET, ROLE, PLAIN_HTTP, True, identity=(EVERYTHING,)),
        Case(False, TLS_ONLY, "s3:GetObject", f"{BUCKET}/m", STRANGER, OVER_TLS, True),
    ],
    "queue_over_tls_only": [
        Case(True, QUEUE_TLS, "sqs:ReceiveMessage", QUEUE, ROLE, OVER_TLS, True, identity=(EVERYTHING,)),
        Case(False, QUEUE_TLS, "sqs:ReceiveMessage", QUEUE, ROLE, PLAIN_HTTP, True, identity=(EVERYTHING,)),
    ],
    "queue_fed_by_topic": [
        Case(True, QUEUE_FED, "sqs:SendMessage", QUEUE, SNS, OVER_TLS | {"aws:SourceArn": TOPIC}, True),
        Case(False, QUEUE_FED, "sqs:SendMessage", QUEUE, SNS, OVER_TLS | {"aws:SourceArn": f"{TOPIC}2"}, True),
        Case(False, QUEUE_FED, "sqs:SendMessage", QUEUE, SNS, PLAIN_HTTP | {"aws:SourceArn": TOPIC}, True),
        Case(False, QUEUE_FED, "sqs:ReceiveMessage", QUEUE, SNS, OVER_TLS | {"aws:SourceArn": TOPIC}, True),
        Case(False, QUEUE_FED, "sqs:SendMessage", QUEUE, "events.amazonaws.com", OVER_TLS, True),
    ],
    "publish_from_account": [
        Case(True, TOPIC_POLICY, "sns:Publish", TOPIC, "budgets.amazonaws.com", HERE, True),
        Case(False, TOPIC_POLICY, "sns:Publish", TOPIC, "budgets.amazonaws.com", ELSEWHERE, True),
        Case(False, TOPIC_POLICY, "sns:Publish", TOPIC, "events.amazonaws.com", HERE, True),
        Case(False, TOPIC_POLICY, "sns:Subscribe", TOPIC, "budgets.amazonaws.com", HERE, True),
        Case(False, TOPIC_POLICY, "sns:Publish", f"{TOPIC}2", "budgets.amazonaws.com", HERE, True),
    ],
    "copy_weights": [
        Case(True, COPYING, "s3:GetReplicationConfiguration", BUCKET),
        Case(True, COPYING, "s3:GetObjectVersionForReplication", f"{BUCKET}/qwen/model.safetensors"),
        Case(True, COPYING, "s3:ReplicateObject", f"{COPIES}/qwen/model.safetensors"),
        Case(True, COPYING, "kms:Decrypt", KEY, context=by_s3(REGION)),
        Case(True, COPYING, "kms:Encrypt", COPIES_KEY, context=by_s3("eu-west-1")),
        Case(False, COPYING, "s3:ReplicateObject", f"{BUCKET}/qwen/model.safetensors"),
        Case(False, COPYING, "s3:ReplicateDelete", f"{COPIES}/qwen/model.safetensors"),
        Case(False, COPYING, "s3:GetObject", f"{BUCKET}/qwen/model.safetensors"),
        Case(False, COPYING, "kms:Decrypt", KEY),
        Case(False, COPYING, "kms:Decrypt", COPIES_KEY, context=by_s3("eu-west-1")),
        Case(False, COPYING, "kms:Encrypt", KEY, context=by_s3(REGION)),
    ],
    "inject_faults": [
        Case(True, DRILLS, "ec2:StopInstances", f"{INSTANCES}/i-1", context=of_stack("prod")),
        Case(True, DRILLS, "ec2:SendSpotInstanceInterruptions", f"{INSTANCES}/i-1", context=of_stack("prod")),
        Case(True, DRILLS, "rds:RebootDBInstance", DATABASE),
        Case(True, DRILLS, "elasticache:InterruptClusterAzPower", CACHE),
        Case(True, DRILLS, "kms:CreateGrant", KEY, context=FOR_EC2),
        Case(False, DRILLS, "ec2:StopInstances", f"{INSTANCES}/i-1", context=of_stack("dev")),
        Case(False, DRILLS, "ec2:StopInstances", f"{INSTANCES}/i-1"),
        Case(False, DRILLS, "ec2:TerminateInstances", f"{INSTANCES}/i-1", context=of_stack("prod")),
        Case(False, DRILLS, "rds:RebootDBInstance", f"{DATABASE}2"),
        Case(False, DRILLS, "rds:DeleteDBInstance", DATABASE),
        Case(False, DRILLS, "elasticache:InterruptClusterAzPower", f"{CACHE}2"),
        Case(False, DRILLS, "elasticache:DeleteReplicationGroup", CACHE),
        Case(False, DRILLS, "kms:CreateGrant", KEY),
        Case(False, DRILLS, "kms:Decrypt", KEY, context=FOR_EC2),
        Case(False, DRILLS_OF_NODES, "rds:RebootDBInstance", DATABASE),
        Case(False, DRILLS_OF_NODES, "elasticache:InterruptClusterAzPower", CACHE),
    ],
    "read_queue": [
        Case(True, EVENTS, "sqs:ReceiveMessage", QUEUE),
        Case(True, EVENTS, "sqs:DeleteMessage", QUEUE),
        Case(True, EVENTS, "kms:Decrypt", KEY),
        Case(False, EVENTS, "sqs:ReceiveMessage", f"{QUEUE}-dead"),
        Case(False, EVENTS, "sqs:SendMessage", QUEUE),
        Case(False, EVENTS, "sqs:PurgeQueue", QUEUE),
        Case(False, EVENTS, "kms:Decrypt", f"{KEY}2"),
        Case(False, EVENTS, "kms:GenerateDataKey", KEY),
    ],
    "keep_files": [
        Case(True, FILES, "s3:GetObject", f"{BUCKET}/files/file-1"),
        Case(True, FILES, "s3:PutObject", f"{BUCKET}/parts/batch_1/part"),
        Case(True, FILES, "s3:DeleteObject", f"{BUCKET}/inputs/job_1"),
        Case(True, FILES, "s3:AbortMultipartUpload", f"{BUCKET}/files/file-1"),
        Case(True, FILES, "s3:ListBucket", BUCKET, context={"s3:prefix": "parts/batch_1/"}),
        Case(True, FILES, "kms:Decrypt", KEY),
        Case(True, FILES, "kms:GenerateDataKey", KEY),
        Case(False, FILES, "s3:ListBucket", BUCKET, context={"s3:prefix": "files/"}),
        Case(False, FILES, "s3:ListBucket", BUCKET),
        Case(False, FILES, "s3:GetObject", f"{BUCKET}/elsewhere"),
        Case(False, FILES, "s3:GetObject", "arn:aws:s3:::other/files/file-1"),
        Case(False, FILES, "s3:DeleteObjectVersion", f"{BUCKET}/files/file-1"),
        Case(False, FILES, "s3:PutBucketPolicy", BUCKET),
        Case(False, FILES, "kms:Decrypt", f"{KEY}2"),
        Case(False, FILES, "kms:ScheduleKeyDeletion", KEY),
    ],
    "read_secret": [
        Case(True, OWNER, "secretsmanager:GetSecretValue", SECRET),
        Case(False, OWNER, "secretsmanager:GetSecretValue", f"{SECRET}2"),
        Case(False, OWNER, "secretsmanager:PutSecretValue", SECRET),
    ],
    "read_secrets": [
        Case(True, KEYS_OF_PROVIDERS, "secretsmanager:GetSecretValue", f"{PROVIDER_KEY}-2"),
        Case(False, KEYS_OF_PROVIDERS, "secretsmanager:GetSecretValue", SECRET),
        Case(False, KEYS_OF_PROVIDERS, "secretsmanager:PutSecretValue", f"{PROVIDER_KEY}-1"),
        Case(False, KEYS_OF_PROVIDERS, "secretsmanager:ListSecrets"),
    ],
    "read_weights": [
        Case(True, WEIGHTS, "s3:ListBucket", BUCKET),
        Case(True, WEIGHTS, "s3:GetObject", f"{BUCKET}/qwen/model.safetensors"),
        Case(True, WEIGHTS, "kms:Decrypt", KEY),
        Case(False, WEIGHTS, "s3:PutObject", f"{BUCKET}/qwen/model.safetensors"),
        Case(False, WEIGHTS, "s3:DeleteObject", f"{BUCKET}/qwen/model.safetensors"),
        Case(False, WEIGHTS, "s3:GetObject", "arn:aws:s3:::other/x"),
        Case(False, WEIGHTS, "kms:GenerateDataKey", KEY),
        Case(False, WEIGHTS, "kms:Decrypt", f"{KEY}2"),
    ],
}
"""Function of components/policies.py to its cases."""

KEYS = key_policies("aws", REGION, ACCOUNT)
OF_SERVICE = {
    "volumes": "ec2",
    "images": "ecr",
    "database": "rds",
    "cache": "elasticache",
    "credentials": "secretsmanager",
}
"""Data classes whose key anyone of the account uses through one service."""
TRAIL = "cloudtrail.amazonaws.com"


def trail_of(account: str) -> dict[str, str | Sequence[str]]:
    arn = f"arn:aws:cloudtrail:{REGION}:{account}:trail/penstock-prod"
    return {"aws:SourceArn": arn, "kms:EncryptionContext:aws:cloudtrail:arn": arn}


KEY_CASES: dict[str, list[Case]] = {
    data_class: [
        key(True, KEYS[data_class], "kms:Decrypt", context=through(service)),
        key(False, KEYS[data_class], "kms:Decrypt", context=through("sqs")),
        key(False, KEYS[data_class], "kms:Decrypt", principal=STRANGER, context=through(service, OTHER)),
    ]
    for data_class, service in OF_SERVICE.items()
} | {
    "cluster": [
        key(True, KEYS["cluster"], "kms:CreateGrant", identity=(EVERYTHING,)),
        key(False, KEYS["cluster"], "kms:Decrypt", principal="eks.amazonaws.com"),
    ],
    "weights": [
        key(True, KEYS["weights"], "kms:Decrypt", identity=(WEIGHTS,)),
        key(False, KEYS["weights"], "kms:Decrypt", context=through("s3")),
    ],
    "logs": [
        key(True, KEYS["logs"], "kms:Encrypt", principal=LOGS, context=log_group(ACCOUNT)),
        key(False, KEYS["logs"], "kms:Encrypt", principal=LOGS, context=log_group(OTHER)),
    ],
    "messages": [
        key(True, KEYS["messages"], "kms:Decrypt", principal="cloudwatch.amazonaws.com", context=HERE),
        key(False, KEYS["messages"], "kms:Decrypt", principal="cloudwatch.amazonaws.com", context=ELSEWHERE),
    ],
    "audit": [
        key(True, KEYS["audit"], "kms:GenerateDataKey", principal=TRAIL, context=trail_of(ACCOUNT)),
        key(False, KEYS["audit"], "kms:GenerateDataKey", principal=TRAIL, context=trail_of(OTHER)),
        key(False, KEYS["audit"], "kms:Decrypt", principal=TRAIL, context=trail_of(ACCOUNT)),
    ],
}
"""Data class of components/keys.py to the cases of its key's policy."""
