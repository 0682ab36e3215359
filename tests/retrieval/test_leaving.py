"""A tenant that leaves: its documents are in the export, and go with the erasure; those of others stay."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.gateway.harness import Client, Reply
from tests.gateway.key_cases import ADMIN_KEY, file_with_admin
from tests.retrieval.conftest import OTHER_KEY, Platform, keys_of_all


@pytest.fixture(autouse=True)
def an_admin(platform: Platform) -> None:
    platform.running.service.keys.take_file(keys_of_all().keys, file_with_admin().admins)


async def admin(platform: Platform, method: str, path: str) -> Reply:
    client = await platform.running.connect()
    await client.send(Client.request(b"", f"/admin/v1/tenants/{path}", method, authorization=f"Bearer {ADMIN_KEY}"))
    return await asyncio.wait_for(client.reply(), 30)


async def documents(platform: Platform, tenant: str) -> list[str]:
    lines = [json.loads(line) for line in (await admin(platform, "GET", f"{tenant}/export")).body.splitlines()]
    assert lines[-1]["object"] == "end"
    return [one["text"] for one in lines if one["object"] == "document"]


async def test_documents_are_exported_and_erased_with_their_tenant(platform: Platform):
    """By the gateway's own login, which sees the rows of the tenant that it names and no others."""
    await platform.ingest("Bees dance.", name="own")
    await platform.ingest("Wasps do not.", name="other", key=OTHER_KEY)
    assert await documents(platform, "first") == ["Bees dance."]
    assert await documents(platform, "other") == ["Wasps do not."]
    erased = await admin(platform, "DELETE", "first/data?confirm=first")
    assert (erased.status, erased.json["collections"]) == (200, 1)
    assert await documents(platform, "first") == []
    assert await documents(platform, "other") == ["Wasps do not."]
    found = (await platform.search("wasps", key=OTHER_KEY, mode="words")).json["data"]
    assert [one["document_name"] for one in found] == ["other"]
