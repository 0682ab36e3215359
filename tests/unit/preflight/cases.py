"""Clients of AWS whose replies are written down beforehand, and an account to ask with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import NoCredentialsError
from botocore.stub import Stubber

from infra.ops.preflight.asking import Account
from infra.settings import Settings
from tests.unit.settings_cases import VALUES, put

ZONES = [
    {"ZoneName": f"eu-central-1{letter}", "ZoneId": f"euc1-az{n}", "State": "available"}
    for n, letter in enumerate("abc", 1)
]
NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Stubbed:
    """Clients whose replies are written down beforehand, in their order."""

    def __init__(self) -> None:
        self.stubbers: dict[str, Stubber] = {}

    def __call__(self, service: str) -> Any:
        return self.at(service).client

    def at(self, service: str) -> Stubber:
        if service not in self.stubbers:
            client = boto3.client(service, "eu-central-1", aws_access_key_id="test", aws_secret_access_key="test")
            self.stubbers[service] = Stubber(client)
            self.stubbers[service].activate()
        return self.stubbers[service]

    def reply(self, service: str, operation: str, body: dict[str, Any], wanted: dict[str, Any] | None = None) -> None:
        self.at(service).add_response(operation, body, wanted)

    def fail(self, service: str, operation: str, code: str, message: str = "no") -> None:
        self.at(service).add_client_error(operation, code, message)


def refusing(service: str) -> Any:
    raise NoCredentialsError


def account(clients: Callable[[str], Any], stack: str = "prod", **changes: Any) -> Account:
    values = copy.deepcopy(VALUES[stack])
    values["protected"] = False
    for path, value in changes.items():
        put(path.replace("__", "."), value)(values)
    return Account(Settings.parse(values), stack, clients)


def caller(aws: Stubbed, arn: str, found: str = "444455556666") -> None:
    aws.reply("sts", "get_caller_identity", {"Account": found, "Arn": arn})
