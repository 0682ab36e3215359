"""`penstock provider`: the key goes into the secret and nowhere else."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from infra.ops.cli import cli
from infra.ops.context import Context
from infra.ops.errors import PenstockError, UsageError

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:provider-key-anthropic-1a2b3c-AbCdEf"
KEY = "sk-outside-0123456789"


class Secrets:
    """A client of Secrets Manager."""

    def __init__(self) -> None:
        self.value: str | None = None
        self.refuses = False

    def put_secret_value(self, SecretId: str, SecretString: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert SecretId == ARN
        if self.refuses:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not you"}}, "PutSecretValue")
        self.value = SecretString
        return {}

    def describe_secret(self, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        assert SecretId == ARN
        stages = {} if self.value is None else {"v1": ["AWSCURRENT"]}
        return {"VersionIdsToStages": stages, "LastChangedDate": dt.datetime(2026, 11, 21, tzinfo=dt.UTC)}


class Stack(Context):
    """A stack with one provider."""

    name = "dev"

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self.secrets = secrets

    def open(self, stack: str) -> Any:
        assert stack == "dev"
        return self

    def outputs(self) -> dict[str, Any]:
        return {"providerSecrets": {"anthropic": ARN}}

    def aws(self, service: str) -> Secrets:
        assert service == "secretsmanager"
        return self.secrets


def ask(secrets: Secrets, *arguments: str, typed: str = "") -> Any:
    return CliRunner().invoke(cli, ["provider", *arguments, "-s", "dev"], input=typed, obj=Stack(secrets))


def test_a_piped_key_is_written_and_not_shown():
    secrets = Secrets()
    result = ask(secrets, "key", "anthropic", typed=f"{KEY}\n")
    assert (result.exit_code, secrets.value) == (0, KEY)
    assert KEY not in result.output


@pytest.mark.parametrize("typed", ["", "  \n", "two\nlines", "schlüssel", "x" * 20_000])
def test_what_is_no_key_is_refused_and_not_repeated(typed: str):
    secrets = Secrets()
    result = ask(secrets, "key", "anthropic", typed=typed)
    assert isinstance(result.exception, UsageError)
    assert secrets.value is None
    assert "schl" not in str(result.exception)


def test_an_unknown_provider_is_named_with_those_there_are():
    result = ask(Secrets(), "key", "openai", typed=KEY)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "The stack dev has no secret for a provider openai. It has: anthropic."


def test_a_refusal_of_aws_is_told_without_the_key():
    secrets = Secrets()
    secrets.refuses = True
    result = ask(secrets, "key", "anthropic", typed=KEY)
    assert isinstance(result.exception, PenstockError)
    assert "AccessDeniedException: not you" in str(result.exception)
    assert KEY not in str(result.exception)


def test_the_list_says_where_a_key_is_missing():
    secrets = Secrets()
    assert "anthropic  no key yet" in ask(secrets, "list").output
    secrets.value = KEY
    shown = ask(secrets, "list", "--json").output
    assert '"written_at": "2026-11-21T00:00:00+00:00"' in shown
    assert KEY not in shown
