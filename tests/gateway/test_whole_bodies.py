"""Requests beside the hot path are read whole: nothing is done with a part of one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.gateway.body import ClientGoneError, whole
from app.gateway.database.settings import Database
from app.gateway.errors import Refused
from tests.gateway.harness import Client
from tests.gateway.key_cases import ADMIN_KEY, admin, chat, gateway_on, make_key


async def test_a_request_whose_client_leaves_before_it_is_whole_changes_nothing(empty_database: Database):
    """A rotation without a body has its defaults: the lost one must not be taken for that."""
    async with gateway_on(empty_database) as gateway:
        identity, key = await make_key(gateway)
        for sent in (b"", b'{"overlap_sec'):
            client = await gateway.connect()
            authorization = f"Bearer {ADMIN_KEY}"
            path = f"/admin/v1/keys/{identity}/rotate"
            await client.send(Client.request(b"", path, authorization=authorization, content_length="22") + sent)
            await asyncio.sleep(0.05)
            client.close()
        await asyncio.sleep(0.3)
        assert (await chat(gateway, key)).status == 200
        audit = (await admin(gateway, "GET", "audit")).json
        assert "rotate" not in str(audit)


def told(*messages: dict[str, Any]) -> Any:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return receive


def some(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_may_come_in_parts_up_to_its_bound():
    assert await whole(told(some(b"ab", more=True), some(b"", more=True), some(b"cd")), 4) == b"abcd"
    assert await whole(told({"type": "http.request"}), 0) == b""
    with pytest.raises(Refused) as refused:
        await whole(told(some(b"ab", more=True), some(b"cde", more=True)), 4)
    problem = refused.value.problem
    assert (problem.status, problem.code) == (413, "request_too_large")
    assert (b"connection", b"close") in problem.headers, "what is left of it is not read as the next request"


async def test_a_client_that_left_is_no_shorter_body():
    with pytest.raises(ClientGoneError):
        await whole(told(some(b"{}", more=True), {"type": "http.disconnect"}), 100)
