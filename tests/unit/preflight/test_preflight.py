"""`penstock preflight`: the whole of it against replies that AWS could give, also late, denied and false ones."""

from __future__ import annotations

import json
import socket
from typing import Any

import boto3
import pytest
from botocore.config import Config

from infra.ops.cli import run
from infra.ops.preflight.findings import Finding, Status, Verdict, verdict
from infra.ops.preflight.run import preflight, render
from infra.ops.stacks import StackAccess
from tests.unit.preflight.cases import Stubbed, account, caller


def test_a_foreign_account_ends_it_before_anything_else_is_asked(aws: Stubbed):
    caller(aws, "arn:aws:iam::999999999999:user/me", "999999999999")
    (found,) = preflight(account(aws))
    assert found.status is Status.LACKS
    assert found.request == "credentials of 444455556666, or aws.accountId: 999999999999 in the stack file"


def test_an_account_that_is_none_is_not_believed(aws: Stubbed):
    caller(aws, "arn:aws:iam::moto:user/me", "moto")
    (found,) = preflight(account(aws))
    assert (found.status, verdict([found])) == (Status.UNKNOWN, Verdict.CANNOT_TELL)


def test_an_endpoint_that_never_answers_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = Config(connect_timeout=0.2, read_timeout=0.2, retries={"total_max_attempts": 1})
        client = boto3.client(
            "sts", "eu-central-1", endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}", config=config,
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip
        (found,) = preflight(account(lambda _: client))
        client.close()
    assert found.status is Status.UNKNOWN
    assert found.there.startswith("sts:GetCallerIdentity: Read timeout")


def test_the_verdict_and_the_table_name_what_lacks():
    fits, lacks = Finding("A", "1", "2", Status.FITS), Finding("B", "3", "0", Status.LACKS, "three more")
    silent = Finding("C", "x", "denied", Status.UNKNOWN)
    assert verdict([fits]) == Verdict.FITS == 0
    assert verdict([fits, silent, lacks]) == Verdict.LACKS == 1
    assert verdict([fits, silent]) == verdict([]) == Verdict.CANNOT_TELL == 2
    text = render([fits, lacks])
    assert "    B: three more" in text
    assert text.endswith("The account lacks something that the stack needs.")


def test_the_command_ends_with_the_verdict(
    aws: Stubbed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Session:
        def client(self, service: str, region_name: str) -> Any:
            assert region_name == "eu-central-1"
            return aws(service)

    monkeypatch.setattr(StackAccess, "session", lambda _: Session())
    caller(aws, "arn:aws:iam::999999999999:user/me", "999999999999")
    assert run(["preflight", "--stack", "prod", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["checks"][0]["status"]) == ("lacks", "lacks")
    assert found["capacity"]["survives_a_zone"] is True
    aws.fail("sts", "get_caller_identity", "AccessDenied")
    assert run(["preflight", "--stack", "prod"]) == 2
    assert "sts:GetCallerIdentity is denied; it is needed for this check" in capsys.readouterr().out
