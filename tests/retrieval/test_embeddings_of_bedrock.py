"""Documents are kept and found by vectors of an embedding model on Amazon Bedrock, before a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.embedding_providers import COHERE, TITAN, Bedrock, embedding_config
from tests.gateway.harness import Engine
from tests.retrieval.conftest import SETTINGS, Platform, hashed

LEAVE = "# Leave\n\nEverybody has thirty days of annual leave, and carries five of them into the next year."
VPN = "# Network\n\nThe tunnel asks for a second factor. Its client is in the software centre."


class Aws:
    def __init__(self, folder: Path) -> None:
        self.bedrock = Bedrock(make=hashed)
        self.engine = Engine(answer=self.bedrock)
        self.folder = folder

    def settings(self, upstream: str) -> dict[str, object]:
        made = embedding_config(self.engine, self.folder, upstream)
        kept = json.loads(made.model_dump_json(include={"providers", "outside_models"}))
        return kept | {"retrieval": SETTINGS | {"model": "embed"}}


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Aws]:
    made = Aws(tmp_path)
    await made.engine.start()
    yield made
    await made.engine.stop()


@pytest.fixture(params=[TITAN, COHERE])
def upstream(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def more_settings(aws: Aws, upstream: str) -> dict[str, object]:
    return aws.settings(upstream)


async def test_documents_are_found_by_vectors_of_bedrock(platform: Platform, aws: Aws, upstream: str):
    for text in (LEAVE, VPN):
        reply = await platform.ingest(text)
        assert reply.status == 201, reply.body
    found = await platform.search("how many days of annual leave", mode="meaning")
    assert found.status == 200, found.body
    assert "thirty days" in found.json["data"][0]["text"]
    lines = [line for line in platform.running.requests if line["model"] == "embed"]
    assert len(lines) == 3, "each ingest and each search is one request in the ledger"
    assert all(line["cost_usd"] > 0 for line in lines)
    if upstream == COHERE:
        assert [call["input_type"] for call in aws.bedrock.calls] == [
            "search_document",
            "search_document",
            "search_query",
        ]


async def test_a_throttled_model_refuses_a_document_whole_and_keeps_nothing_of_it(platform: Platform, aws: Aws):
    aws.bedrock.refuse = lambda text, tries: (429, {"message": "Too many requests"}, {"retry_after": "30"})
    reply = await platform.ingest(LEAVE)
    assert (reply.status, reply.headers["retry-after"]) == (503, "30")
    aws.bedrock.refuse = lambda text, tries: None
    assert (await platform.ingest(LEAVE)).status == 201
    assert len((await platform.search("annual leave", mode="meaning")).json["data"]) == 1


async def test_vectors_of_another_length_are_not_stored(platform: Platform, aws: Aws):
    aws.bedrock.make = lambda text, size: hashed(text, 512)
    assert (await platform.ingest(LEAVE)).status == 502
    aws.bedrock.make = hashed
    assert (await platform.ingest(LEAVE)).status == 201
