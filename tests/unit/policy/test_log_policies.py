"""Who may write logs: each document decided as IAM does."""

from __future__ import annotations

import pytest

from components import log_policies
from infra.policy.evaluate import Request, authorise

ACCOUNT, OTHER = "123456789012", "999999999999"
BUCKET = "arn:aws:s3:::logs-1"
TRAIL = f"arn:aws:cloudtrail:eu-central-1:{ACCOUNT}:trail/penstock-prod"
GROUP = f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:/penstock/prod/network"
TLS = {"aws:SecureTransport": "true"}
OWNED = {**TLS, "s3:x-amz-acl": "bucket-owner-full-control"}


@pytest.mark.parametrize(
    ("allowed", "action", "resource"),
    [
        (True, "logs:PutLogEvents", f"{GROUP}:log-stream:eni-1"),
        (True, "logs:DescribeLogGroups", GROUP),
        (False, "logs:PutLogEvents", GROUP.replace("network", "gateway") + ":log-stream:1"),
        (False, "logs:CreateLogGroup", GROUP),
        (False, "logs:DeleteLogGroup", GROUP),
    ],
)
def test_flow_logs_write_to_their_group_alone(allowed: bool, action: str, resource: str):
    request = Request(action, resource, f"arn:aws:iam::{ACCOUNT}:role/flow-logs", {})
    assert authorise(request, identity=[log_policies.write_flow_logs(GROUP)]) is allowed


@pytest.mark.parametrize(
    ("allowed", "key", "context"),
    [
        (True, f"AWSLogs/{ACCOUNT}/CloudTrail/one", {**OWNED, "aws:SourceArn": TRAIL}),
        (False, f"AWSLogs/{OTHER}/CloudTrail/one", {**OWNED, "aws:SourceArn": TRAIL}),
        (False, f"AWSLogs/{ACCOUNT}/CloudTrail/one", {**OWNED, "aws:SourceArn": f"{TRAIL}-other"}),
        (False, f"AWSLogs/{ACCOUNT}/CloudTrail/one", {**TLS, "aws:SourceArn": TRAIL}),
        (False, f"AWSLogs/{ACCOUNT}/one", {**OWNED, "aws:SourceArn": TRAIL, "aws:SecureTransport": "false"}),
    ],
)
def test_one_trail_writes_to_its_bucket_and_leaves_the_files_to_the_account(
    allowed: bool, key: str, context: dict[str, str]
):
    document = log_policies.trail_bucket(BUCKET, TRAIL, ACCOUNT)
    request = Request("s3:PutObject", f"{BUCKET}/{key}", log_policies.TRAIL, context)
    assert authorise(request, identity=[], resource=[document], resource_decides=True) is allowed


@pytest.mark.parametrize(
    ("allowed", "service", "key", "account"),
    [
        (True, log_policies.LOAD_BALANCER_LOGS, f"edge/AWSLogs/{ACCOUNT}/one", ACCOUNT),
        (False, log_policies.LOAD_BALANCER_LOGS, f"edge/AWSLogs/{OTHER}/one", OTHER),
        (False, log_policies.LOAD_BALANCER_LOGS, "weights/one", ACCOUNT),
        (True, log_policies.S3_LOGS, "weights/one", ACCOUNT),
        (False, log_policies.S3_LOGS, "weights/one", OTHER),
        (False, log_policies.S3_LOGS, f"edge/AWSLogs/{ACCOUNT}/one", ACCOUNT),
    ],
)
def test_access_logs_arrive_from_this_account_each_under_its_prefix(
    allowed: bool, service: str, key: str, account: str
):
    document = log_policies.access_log_bucket(BUCKET, ACCOUNT, "edge", "weights")
    context = {**TLS, "aws:SourceAccount": account}
    request = Request("s3:PutObject", f"{BUCKET}/{key}", service, context)
    assert authorise(request, identity=[], resource=[document], resource_decides=True) is allowed
