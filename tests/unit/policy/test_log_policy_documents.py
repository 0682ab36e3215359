"""Policies of flow logs and of the trail's bucket, decided for allowed and refused calls."""

from __future__ import annotations

import pytest

from components.log_policies import trail_bucket, write_flow_logs
from infra.policy.evaluate import Request, authorise

ACCOUNT = "123456789012"
GROUP = f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:/penstock/flow"
BUCKET, TRAIL = "arn:aws:s3:::audit", f"arn:aws:cloudtrail:eu-central-1:{ACCOUNT}:trail/penstock"
SERVICE = "cloudtrail.amazonaws.com"
WRITES = {"aws:SourceArn": TRAIL, "s3:x-amz-acl": "bucket-owner-full-control", "aws:SecureTransport": "true"}


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("logs:PutLogEvents", f"{GROUP}:log-stream:eni-1", True),
        ("logs:PutLogEvents", f"{GROUP}2:log-stream:eni-1", False),
        ("logs:CreateLogGroup", GROUP, False),
        ("logs:GetLogEvents", f"{GROUP}:log-stream:eni-1", False),
    ],
)
def test_flow_logs_are_written_to_their_group_alone(action: str, resource: str, allowed: bool) -> None:
    assert authorise(Request(action, resource), identity=[write_flow_logs(GROUP)]) is allowed


@pytest.mark.parametrize(
    ("path", "context", "allowed"),
    [
        (f"AWSLogs/{ACCOUNT}/CloudTrail/a", WRITES, True),
        ("AWSLogs/999999999999/CloudTrail/a", WRITES, False),
        (f"AWSLogs/{ACCOUNT}/CloudTrail/a", WRITES | {"aws:SourceArn": f"{TRAIL}2"}, False),
        (f"AWSLogs/{ACCOUNT}/CloudTrail/a", WRITES | {"aws:SecureTransport": "false"}, False),
    ],
)
def test_one_trail_writes_its_bucket_under_its_account(path: str, context: dict[str, str], allowed: bool) -> None:
    request = Request("s3:PutObject", f"{BUCKET}/{path}", SERVICE, context)
    assert authorise(request, resource=[trail_bucket(BUCKET, TRAIL, ACCOUNT)]) is allowed
