"""IAM, key and bucket policies as plain documents. Pure functions; `dumps` writes the text that AWS stores."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Statement = Mapping[str, Any]

ALL_KEY_ACTIONS = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]


def document(*statements: Statement) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [dict(statement) for statement in statements]}


def dumps(policy: Mapping[str, Any]) -> str:
    return json.dumps(policy, separators=(",", ":"))


def inject_faults(
    stack: str, instances: str, key_arn: str, region: str, *, database_arn: str = "", cache_arn: str = ""
) -> dict[str, Any]:
    """What drills do to a stack and to nothing else: its nodes by their tag, its database and its cache by name.

    `instances`: the ARN of all instances of the region. Without a database or cache there are no rights on one."""
    statements: list[Statement] = [
        {
            "Sid": "StopsAndReclaimsItsNodes",
            "Effect": "Allow",
            "Action": ["ec2:StopInstances", "ec2:StartInstances", "ec2:SendSpotInstanceInterruptions"],
            "Resource": instances,
            "Condition": {"StringEquals": {"aws:ResourceTag/stack": stack}},
        },
        {"Sid": "FindsNodes", "Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"},
        {
            "Sid": "StartsNodesWithTheirVolumes",
            "Effect": "Allow",
            "Action": "kms:CreateGrant",
            "Resource": key_arn,
            "Condition": {
                "Bool": {"kms:GrantIsForAWSResource": "true"},
                "StringEquals": {"kms:ViaService": f"ec2.{region}.amazonaws.com"},
            },
        },
    ]
    if database_arn:
        actions = ["rds:RebootDBInstance", "rds:DescribeDBInstances"]
        statements.append(
            {"Sid": "FailsItsDatabaseOver", "Effect": "Allow", "Action": actions, "Resource": database_arn}
        )
    if cache_arn:
        actions = ["elasticache:InterruptClusterAzPower", "elasticache:DescribeReplicationGroups"]
        statements.append({"Sid": "TakesItsCachesPower", "Effect": "Allow", "Action": actions, "Resource": cache_arn})
    return document(*statements)


def trust(*services: str) -> dict[str, Any]:
    """Who may take a role. EKS Pod Identity tags its sessions, which is an action of its own."""
    actions = ["sts:AssumeRole"] + (["sts:TagSession"] if "pods.eks.amazonaws.com" in services else [])
    principal = services[0] if len(services) == 1 else list(services)
    return document({"Effect": "Allow", "Principal": {"Service": principal}, "Action": actions})


def account_may_administer(partition: str, account: str) -> Statement:
    """Without this statement nobody could change the key's policy again. It opens nothing by itself: who may use the
    key is then decided by IAM policies of the same account."""
    return {
        "Sid": "AccountAdministersThroughIam",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }


def used_through(service: str, region: str, account: str) -> Statement:
    """Anyone of the account who may use the AWS service may use the key through it, as with AWS's own keys."""
    return {
        "Sid": "UsedThroughItsService",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [*ALL_KEY_ACTIONS, "kms:CreateGrant"],
        "Resource": "*",
        "Condition": {
            "StringEquals": {"kms:CallerAccount": account, "kms:ViaService": f"{service}.{region}.amazonaws.com"}
        },
    }


def logs_may_encrypt(partition: str, region: str, account: str) -> Statement:
    return {
        "Sid": "CloudWatchLogsEncrypts",
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{region}.amazonaws.com"},
        "Action": ALL_KEY_ACTIONS,
        "Resource": "*",
        "Condition": {
            "ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:{partition}:logs:{region}:{account}:log-group:*"}
        },
    }


def publishers_may_encrypt(account: str, services: Sequence[str]) -> Statement:
    """AWS services that publish to an encrypted topic."""
    return {
        "Sid": "PublishersEncrypt",
        "Effect": "Allow",
        "Principal": {"Service": list(services)},
        "Action": ["kms:GenerateDataKey*", "kms:Decrypt"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    }


def bucket_over_tls_only(bucket_arn: str) -> dict[str, Any]:
    return document(
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, f"{bucket_arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def publish_from_account(topic_arn: str, account: str, services: Sequence[str]) -> dict[str, Any]:
    return document(
        {
            "Sid": "ServicesOfThisAccountPublish",
            "Effect": "Allow",
            "Principal": {"Service": list(services)},
            "Action": "sns:Publish",
            "Resource": topic_arn,
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        }
    )


def queue_over_tls_only(queue_arn: str) -> dict[str, Any]:
    return document(_queue_refuses_plain_text(queue_arn))


def queue_fed_by_topic(queue_arn: str, topic_arn: str) -> dict[str, Any]:
    """A queue to which one topic may send, and nobody without TLS. Who reads it is a matter of IAM."""
    return document(
        {
            "Sid": "TopicSends",
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
        },
        _queue_refuses_plain_text(queue_arn),
    )


def _queue_refuses_plain_text(queue_arn: str) -> Statement:
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": queue_arn,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def read_weights(bucket_arn: str, key_arn: str) -> dict[str, Any]:
    return document(
        {"Sid": "ListWeights", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket_arn},
        {"Sid": "ReadWeights", "Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{bucket_arn}/*"},
        # Evaluation records hold parts of answers.
        {"Sid": "NotTheRegistry", "Effect": "Deny", "Action": "s3:GetObject", "Resource": f"{bucket_arn}/registry/*"},
        {"Sid": "DecryptWeights", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": key_arn},
    )


def keep_files(bucket_arn: str, key_arn: str) -> list[Statement]:
    """Reading, writing and deleting clients' files, for a role that may do more."""
    return [
        {
            "Sid": "ListFiles",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket_arn,
            "Condition": {"StringLike": {"s3:prefix": "parts/*"}},
        },
        {
            "Sid": "KeepFiles",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": [f"{bucket_arn}/{folder}/*" for folder in ("files", "inputs", "parts")],
        },
        {
            "Sid": "EncryptFiles",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": key_arn,
        },
    ]


def read_secret(secret_arn: str) -> dict[str, Any]:
    """One secret. Its key is open to who may use it through Secrets Manager."""
    return document(
        {
            "Sid": "ReadSecret",
            "Effect": "Allow",
            "Action": "secretsmanager:GetSecretValue",
            "Resource": secret_arn,
        }
    )


def read_secrets(secret_arns: Sequence[str]) -> Statement:
    """These secrets, for a role that may do more."""
    return {
        "Sid": "ReadSecrets",
        "Effect": "Allow",
        "Action": "secretsmanager:GetSecretValue",
        "Resource": list(secret_arns),
    }


def read_queue(queue_arn: str, key_arn: str) -> list[dict[str, Any]]:
    """One queue and the key of its messages, for a role that may do more. SQS uses the key with its rights."""
    return [
        {
            "Sid": "ReadEvents",
            "Effect": "Allow",
            "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage"],
            "Resource": queue_arn,
        },
        {"Sid": "DecryptEvents", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": key_arn},
    ]


def copy_weights(
    from_arn: str, from_key_arn: str, to_arn: str, to_key_arn: str, *, from_region: str, to_region: str
) -> dict[str, Any]:
    """What S3 needs to copy encrypted objects (S3 user guide, "Replicating encrypted objects")."""
    return document(
        {
            "Sid": "ReadTheRule",
            "Effect": "Allow",
            "Action": ["s3:GetReplicationConfiguration", "s3:ListBucket"],
            "Resource": from_arn,
        },
        {
            "Sid": "ReadVersions",
            "Effect": "Allow",
            "Action": [
                "s3:GetObjectVersionForReplication",
                "s3:GetObjectVersionAcl",
                "s3:GetObjectVersionTagging",
            ],
            "Resource": f"{from_arn}/*",
        },
        {
            "Sid": "WriteCopies",
            "Effect": "Allow",
            "Action": ["s3:ReplicateObject", "s3:ReplicateTags"],
            "Resource": f"{to_arn}/*",
        },
        {
            "Sid": "DecryptOriginals",
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": from_key_arn,
            "Condition": {"StringEquals": {"kms:ViaService": f"s3.{from_region}.amazonaws.com"}},
        },
        {
            "Sid": "EncryptCopies",
            "Effect": "Allow",
            "Action": ["kms:Encrypt", "kms:GenerateDataKey"],
            "Resource": to_key_arn,
            "Condition": {"StringEquals": {"kms:ViaService": f"s3.{to_region}.amazonaws.com"}},
        },
    )


def keep_newest_images(count: int) -> dict[str, Any]:
    """An ECR lifecycle policy."""
    return {
        "rules": [
            {
                "rulePriority": 1,
                "description": f"Keep the newest {count} images",
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count},
                "action": {"type": "expire"},
            }
        ]
    }
