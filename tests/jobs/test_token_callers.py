"""Callers with a token of an issuer: what of jobs they may do, and what takes a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest

from tests.gateway.harness import Client, Engine, Reply, Running, eventually, make_config, running
from tests.gateway.test_tokens import ISSUER, Issuer, token
from tests.jobs.conftest import Platform, as_login, lines, put_file, start_batch

JOB = {
    "endpoint": "/v1/chat/completions",
    "body": {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]},
}


@pytest.fixture
async def gateway(platform: Platform) -> AsyncIterator[Running]:
    """A gateway of the platform that knows an issuer too."""
    issuer = Issuer()
    issuer.server.answer = issuer.answer
    await issuer.server.start()
    config = make_config(
        jobs=platform.config.model_dump(),
        jwt={"issuer": ISSUER, "audience": ["penstock"], "jwks_url": issuer.url},
    )
    place = platform.place()
    place = type(place)(as_login(platform.database, "gateway"), place.bucket, place.secret)
    try:
        async with running(Engine(), config=config, jobs=place) as one:
            tokens = one.service.keys.tokens
            assert tokens is not None
            await eventually(lambda: tokens.state()["signing_keys"])
            yield one
    finally:
        await issuer.server.stop()


async def ask(gateway: Running, method: str, path: str, body: object = b"", tenant: str = "default") -> Reply:
    given = token(tenant=tenant)
    client = await gateway.connect()
    await client.send(Client.request(body, path, method, authorization=f"Bearer {given}"))
    return await asyncio.wait_for(client.reply(), 20)


async def test_a_token_starts_no_work_and_is_told_why_and_what_to_do(platform: Platform, gateway: Running):
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=token(tenant="default"), max_retries=0
    ) as ai:
        file = await put_file(ai, lines(1))
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await ai.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
        assert refused.value.code == "api_key_needed"
        assert "Ask the operator of this gateway for a key of your tenant" in refused.value.message
        assert (await ai.files.content(file)).content == lines(1), "what it uploaded is there"
    made = await ask(gateway, "POST", "/v1/jobs", JOB)
    assert (made.status, made.error["code"]) == (403, "api_key_needed")
    assert not await platform.fetch("SELECT FROM penstock_jobs.batches")


async def test_a_token_sees_and_cancels_the_work_of_its_tenant_and_of_no_other(platform: Platform, gateway: Running):
    async with platform.client() as ai:
        batch = await start_batch(ai, lines(2))
    assert (await ask(gateway, "GET", f"/v1/batches/{batch.id}")).json["status"] == "validating"
    assert (await ask(gateway, "GET", f"/v1/batches/{batch.id}", tenant="other")).status == 404
    assert (await ask(gateway, "POST", f"/v1/batches/{batch.id}/cancel")).json["status"] == "cancelling"
    assert [one["id"] for one in (await ask(gateway, "GET", "/v1/batches")).json["data"]] == [batch.id]
