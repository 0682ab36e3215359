"""A pipeline's step that retrieves: what it gives the model, what the client is told meanwhile, and whose it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.harness import Client, Reply
from tests.gateway.pipeline_cases import chunks, comments, pipeline
from tests.retrieval.conftest import OTHER_KEY, Platform

RETRIEVE = {"kind": "retrieve", "name": "documents", "collections": ["bees", "wasps"], "query": "{{input}}", "k": 5}
ASK = {"kind": "model", "name": "ask", "model": "tiny", "max_tokens": 16, "prompt": "grounded"}
PROMPT = {"kind": "prompt", "name": "grounded", "prompt": "grounded", "version": 1}
SORRY = {"kind": "text", "name": "sorry", "text": "There are no documents."}


@pytest.fixture
def more_settings() -> dict[str, Any]:
    return {
        "pipelines": {
            "pipelines": [
                pipeline(RETRIEVE, PROMPT, ASK),
                pipeline(RETRIEVE | {"otherwise": "sorry", "then": "end"}, SORRY, name="kind"),
            ],
            "prompts": [
                {"name": "grounded", "version": 1, "system": "Cite.", "user": "{{documents}}\n\nQuestion: {{input}}"}
            ],
        }
    }


async def chat(platform: Platform, text: str, key: str = "", **more: Any) -> Reply:
    body = {"model": "answer", "messages": [{"role": "user", "content": text}]} | more
    client = await platform.running.connect()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    await client.send(Client.request(body, **headers))
    return await asyncio.wait_for(client.reply(), 30)


async def filled(platform: Platform) -> None:
    for number in range(3):
        await platform.ingest(f"Honey bees dance for nectar, part {number}.", collection="bees", name=f"bee {number}")
    for number in range(4):
        await platform.ingest(f"Wasps build nests of paper, part {number}.", collection="wasps", name=f"wasp {number}")


async def test_a_stream_tells_how_many_documents_are_there_after_each_collection(platform: Platform):
    await filled(platform)
    streamed = await chat(platform, "honey bees and wasps", stream=True)
    told = [one for one in comments(streamed.body) if one["step"] == "documents"]
    assert [(one["state"], one.get("text", "")) for one in told] == [
        ("begun", ""),
        ("retrieved", "3 of 5 documents retrieved"),
        ("retrieved", "5 of 5 documents retrieved"),
        ("ended", ""),
    ]
    first = next(one for one in chunks(streamed.body) if one.get("citations"))
    assert [one["number"] for one in first["citations"]] == [1, 2, 3, 4, 5]
    assert streamed.body.endswith(b"data: [DONE]\n\n")


async def test_progress_comes_while_a_later_collection_is_still_searched(platform: Platform):
    """Two searches, each embeds the question: the second waits at the engine."""
    await filled(platform)
    engine = platform.engine
    asked = len(engine.asked)
    held = asyncio.Event()
    taken = engine.answer

    async def second_waits(request: Any, wire: Any) -> None:
        if len(engine.asked) > asked:
            await held.wait()
        await taken(request, wire)

    assert platform.engine_process is not None
    platform.engine_process.answer = second_waits
    client = await platform.running.connect()
    body = {"model": "answer", "messages": [{"role": "user", "content": "honey bees"}], "stream": True}
    await client.send(Client.request(body))
    await asyncio.wait_for(client.head(), 30)
    seen = b""
    while b"3 of 5 documents retrieved" not in seen:
        seen += await asyncio.wait_for(client.chunk(), 30)
    assert b"5 of 5" not in seen
    held.set()
    while b"[DONE]" not in seen:
        seen += await asyncio.wait_for(client.chunk(), 30)
    assert b"5 of 5 documents retrieved" in seen


async def test_the_model_gets_the_passages_of_its_own_tenant_and_the_reply_cites_them(platform: Platform):
    await filled(platform)
    answer = await chat(platform, "honey bees")
    assert answer.status == 200
    cited = [one["document_name"] for one in answer.json["citations"]]
    assert len(cited) == 5
    assert {"bee 0", "bee 1", "bee 2"} <= set(cited)
    asked = platform.engine.chats[-1]["messages"]
    assert asked[0] == {"role": "system", "content": "Cite."}
    assert "Honey bees dance" in asked[1]["content"]
    assert asked[1]["content"].endswith("Question: honey bees")
    steps = {one["name"]: one["outcome"] for one in answer.json["pipeline"]["steps"]}
    assert steps == {"documents": "ok", "grounded": "ok", "ask": "ok"}


async def test_another_tenant_has_no_such_documents_and_the_step_says_so(platform: Platform):
    await filled(platform)
    refused = await chat(platform, "honey bees", key=OTHER_KEY)
    assert refused.status == 404
    assert refused.error["message"].startswith("Step `documents` of the pipeline `answer`: There is no collection")
    told = await chat(platform, "honey bees", key=OTHER_KEY, model="kind")
    assert told.json["choices"][0]["message"]["content"] == "There are no documents."
    assert not platform.engine.chats
