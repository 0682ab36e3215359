"""What deployed gateways share: the limits in Redis, and the ledger in PostgreSQL."""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.local.conftest import Platform

pytestmark = pytest.mark.local

ALLOWED, ASKED = 4, 12
WAIT_SECONDS = 60.0
BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1})


def kubectl(platform: Platform, *arguments: str) -> Any:
    return json.loads(platform.run("kubectl", "-n", "penstock", *arguments, "-o", "json").stdout)


def gateways(platform: Platform) -> list[str]:
    """Addresses of the live colour's gateways."""
    pods = kubectl(platform, "get", "pods", "-l", "app.kubernetes.io/name=gateway,penstock.dev/colour=blue")["items"]
    return sorted(pod["status"]["podIP"] for pod in pods if not pod["metadata"].get("deletionTimestamp"))


def ask(address: str, key: str, **headers: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(address, 8080, timeout=30)
    try:
        sent = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/v1/chat/completions", BODY, sent)
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


@pytest.fixture
def limited_key(platform: Platform) -> Iterator[str]:
    """A key of few requests, known to every gateway; gone afterwards."""
    (deployment,) = kubectl(
        platform, "get", "deployments", "-l", "app.kubernetes.io/name=gateway,penstock.dev/colour=blue"
    )["items"]
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    name = next(volume["secret"]["secretName"] for volume in volumes if volume["name"] == "keys")
    before = kubectl(platform, "get", "secret", name)["data"]["keys.json"]
    content, key = json.loads(base64.b64decode(before)), f"pk-{secrets.token_urlsafe(16)}"
    content["keys"].append(
        {
            "id": f"limited-{secrets.token_hex(4)}",
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "limits": {"requests_per_minute": 1, "burst_requests": ALLOWED},
        }
    )

    def write(text: str) -> None:
        patch = json.dumps({"data": {"keys.json": text}})
        platform.run("kubectl", "-n", "penstock", "patch", "secret", name, "--type=merge", "-p", patch)

    write(base64.b64encode(json.dumps(content).encode()).decode())
    yield key
    write(before)


def test_gateways_share_one_limit(platform: Platform, limited_key: str):
    addresses = gateways(platform)
    assert len(addresses) >= 2
    deadline = time.monotonic() + WAIT_SECONDS
    for address in addresses:  # an unknown model uses nothing of the limit, and tells that the key is known
        while _knows(address, limited_key) is False:
            assert time.monotonic() < deadline, f"{address} does not know the key"
            time.sleep(0.2)
    answers = [
        (address, *ask(address, limited_key))
        for address, _ in zip(itertools.cycle(addresses), range(ASKED), strict=False)
    ]
    allowed = [address for address, status, _ in answers if status == 200]
    assert len(allowed) == ALLOWED, [(address, status) for address, status, _ in answers]
    assert len(set(allowed)) >= 2, "several gateways let requests pass, and counted as one"
    refused = [headers for _, status, headers in answers if status == 429]
    assert len(refused) == ASKED - ALLOWED
    for headers in refused:
        assert headers["x-penstock-limit"] == "key.requests_per_minute"
        assert 0 < int(headers["retry-after"]) <= 60
        assert "x-penstock-limits" not in headers, "Redis decided, not each gateway alone"


def _knows(address: str, key: str) -> bool:
    connection = http.client.HTTPConnection(address, 8080, timeout=30)
    try:
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
        response = connection.getresponse()
        response.read()
        return response.status == 200
    finally:
        connection.close()


def test_what_is_asked_is_in_the_ledger_and_in_the_report(platform: Platform):
    feature = f"test-{secrets.token_hex(6)}"
    key = platform.endpoint.key
    addresses = gateways(platform)
    for address in addresses:
        status, _ = ask(address, key, x_penstock_feature=feature)
        assert status == 200
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        report = platform.penstock_json("usage", "--since", "1d", "--by", "feature,colour,tenant")
        rows = [row for row in report["rows"] if row["feature"] == feature]
        if rows and rows[0]["requests"] == len(addresses):
            break
        assert time.monotonic() < deadline, f"not all requests are in the ledger: {rows}"
        time.sleep(0.3)
    (row,) = rows
    assert (row["colour"], row["tenant"], row["failed"]) == ("blue", "default", 0)
    assert row["output_tokens"] == len(addresses)
    assert row["cost_usd"] > 0


def test_every_gateway_keeps_its_ledger_with_a_login_that_owns_nothing(platform: Platform):
    for address in gateways(platform):
        connection = http.client.HTTPConnection(address, 8080, timeout=30)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        assert "\npenstock_ledger_up 1.0\n" in text
        assert "\npenstock_limits_local 0.0\n" in text
    said = [json.dumps(item.get("data") or {}) for item in kubectl(platform, "get", "secrets")["items"]]
    owner = owners_password(platform)
    assert base64.b64encode(owner.encode()).decode() not in "".join(said), "the owner's password is not in the cluster"


def owners_password(platform: Platform) -> str:
    outputs = json.loads(platform.run("pulumi", "stack", "output", "-s", "local", "--json").stdout)
    code = (
        "import boto3, json; rds = boto3.client('rds').describe_db_instances()['DBInstances']; "
        f"one = next(i for i in rds if i['Endpoint']['Address'] == {outputs['databaseAddress'].partition(':')[0]!r}); "
        "arn = one['MasterUserSecret']['SecretArn']; "
        "text = boto3.client('secretsmanager').get_secret_value(SecretId=arn)['SecretString']; "
        "print(json.loads(text)['password'])"
    )
    return platform.run("python", "-c", code).stdout.strip()


def test_the_migration_of_each_colour_is_done(platform: Platform):
    jobs = kubectl(platform, "get", "jobs")["items"]
    assert {job["metadata"]["name"].rsplit("-", 1)[0] for job in jobs} == {"migration-blue", "migration-green"}
    assert all(job["status"].get("succeeded") == 1 for job in jobs)
