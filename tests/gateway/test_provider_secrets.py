"""Keys of providers out of AWS Secrets Manager: missing, written, rotated, refused, and never shown."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.gateway.config import ApiKey, KeyFile
from app.gateway.providers.keys import NoKey
from app.gateway.providers.secret import KeySecret
from app.gateway.providers.start import SECRETS, keys_and_roles
from app.gateway.service import Service
from app.gateway.settings import SettingsError
from tests.gateway.harness import KeptLog, eventually, make_config

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:provider-key-anthropic-1a2b3c-AbCdEf"
KEY = "sk-outside-0123456789"
NO_VALUE = (
    400,
    {"__type": "ResourceNotFoundException", "Message": "can't find the specified secret value: AWSCURRENT"},
)
PROVIDER = {"name": "anthropic", "kind": "anthropic", "key_secret": True}
KEYS = KeyFile(keys=(ApiKey(id="first", sha256="0" * 64),))
MODEL = {
    "name": "claude",
    "provider": "anthropic",
    "upstream": "claude-sonnet-4-5",
    "context_tokens": 200_000,
    "max_output_tokens": 8192,
}


class Cloud(http.server.ThreadingHTTPServer):
    """Secrets Manager with one secret."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: tuple[int, Any] = NO_VALUE
        self.calls = 0

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_address[1]}",
        }


class Handler(http.server.BaseHTTPRequestHandler):
    server: Cloud  # ty: ignore[incompatible-mutable-override]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.calls += 1
        status, content = self.server.answer
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing to standard error."""


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    server = Cloud()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@asynccontextmanager
async def kept(cloud: Cloud, lines: KeptLog, *, fresh: float = 60.0):
    key = KeySecret(
        "anthropic",
        ARN,
        cloud.environment,
        lines,
        fresh_seconds=fresh,
        missing_seconds=0.02,
        floor_seconds=0.01,
    )
    task = asyncio.create_task(key.keep())
    yield key
    task.cancel()


async def until(cloud: Cloud, calls: int) -> None:
    await eventually(lambda: cloud.calls >= calls)


async def taken(key: KeySecret) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                return key.text(0.0)
            except NoKey:
                await asyncio.sleep(0.01)


async def test_a_secret_without_a_value_is_told_once_with_the_command_that_writes_it(cloud: Cloud):
    lines = KeptLog()
    async with kept(cloud, lines) as key:
        await until(cloud, 3)
        with pytest.raises(NoKey, match="has no value yet: `penstock provider key anthropic` writes it"):
            key.text(0.0)
        assert len(lines.events) == 1
        cloud.answer = (200, {"SecretString": f"{KEY}\n"})
        assert await taken(key) == KEY
    assert [line["usable"] for line in lines.events] == [False, True]
    assert KEY not in str(lines.events)


async def test_a_rotated_key_is_taken_up_and_an_outage_keeps_the_old_one(cloud: Cloud):
    lines = KeptLog()
    cloud.answer = (200, {"SecretString": KEY})
    async with kept(cloud, lines, fresh=0.03) as key:
        assert await taken(key) == KEY
        cloud.answer = (500, {"__type": "InternalServiceError"})
        await until(cloud, cloud.calls + 2)
        assert key.text(0.0) == KEY
        cloud.answer = (200, {"SecretString": "sk-rotated"})
        await eventually(lambda: key.text(0.0) == "sk-rotated")


async def test_a_key_that_the_provider_refuses_is_read_anew_at_once(cloud: Cloud):
    cloud.answer = (200, {"SecretString": KEY})
    async with kept(cloud, KeptLog()) as key:
        await taken(key)
        before = cloud.calls
        await asyncio.sleep(0.05)
        assert cloud.calls == before  # fresh for a minute
        key.refused()
        await until(cloud, before + 1)


@pytest.mark.parametrize("text", ["", "  \n", "with\x00zero", "schlüssel", "x" * 20_000])
async def test_what_can_be_no_key_is_not_sent(cloud: Cloud, text: str):
    cloud.answer = (200, {"SecretString": text})
    async with kept(cloud, KeptLog()) as key:
        await until(cloud, 2)
        with pytest.raises(NoKey, match="is empty or holds no key"):
            key.text(0.0)


@pytest.mark.parametrize("value", ["", "{}", "[1]", "not json", '{"anthropic": 1}'])
async def test_a_gateway_without_the_secrets_arn_does_not_start(value: str):
    config = make_config(providers=[PROVIDER], outside_models=[MODEL])
    service = Service(config, KEYS, KeptLog(), loop=asyncio.get_running_loop())
    with pytest.raises(SettingsError, match=SECRETS):
        list(keys_and_roles(service, {SECRETS: value}))


async def test_a_missing_key_shows_in_a_metric(cloud: Cloud):
    config = make_config(providers=[PROVIDER], outside_models=[MODEL])
    service = Service(config, KEYS, KeptLog(), loop=asyncio.get_running_loop())
    (work,) = keys_and_roles(service, {**cloud.environment, SECRETS: json.dumps({"anthropic": ARN})})
    usable = lambda: service.metrics.registry.get_sample_value(  # noqa: E731 - read twice
        "penstock_provider_key_usable", {"provider": "anthropic"}
    )
    assert usable() == 0.0
    cloud.answer = (200, {"SecretString": KEY})
    task = asyncio.create_task(work)
    outside = service.outside["claude"].outside
    assert outside is not None
    assert isinstance(outside.key, KeySecret)
    assert await taken(outside.key) == KEY
    assert usable() == 1.0
    task.cancel()
