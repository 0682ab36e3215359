"""Documents in, passages out, over HTTP and against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import openai
import pytest

from tests.gateway.harness import DONE, KEY, Client, eventually
from tests.retrieval.conftest import NARROW_KEY, OTHER_KEY, Platform
from tests.retrieval.test_reading_documents import make_pdf

BEES = "# Bees\n\nA hive of honey bees has one queen.\n\nWorkers dance to tell where nectar is."
IRON = "# Iron\n\nIron rusts where water and oxygen meet it.\n\nSteel is iron with a little carbon."


async def test_a_passage_is_found_by_what_it_says(platform: Platform):
    assert (await platform.ingest(BEES, name="bees.md", metadata={"shelf": "3"})).status == 201
    assert (await platform.ingest(IRON, name="iron.md")).status == 201
    found = (await platform.search("Where does iron rust?")).json["data"]
    assert found[0]["document_name"] == "iron.md"
    assert found[0]["heading"] == "Iron"
    assert "rusts" in found[0]["text"]
    assert found[0]["score"] > found[-1]["score"]
    bees = (await platform.search("dance of the workers", k=1)).json["data"]
    assert [(one["document_name"], one["metadata"]) for one in bees] == [("bees.md", {"shelf": "3"})]


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("text/plain", b"Rust needs water and oxygen."),
        ("text/markdown", b"# Iron\n\nRust needs *water* and oxygen."),
        ("text/html", b"<h1>Iron</h1><script>alert(1)</script><p>Rust needs <b>water</b> and oxygen.</p>"),
        ("application/pdf", make_pdf("Something about bees", "Rust needs water and oxygen")),
    ],
)
async def test_each_kind_of_document_is_taken_in_and_found(platform: Platform, media_type: str, content: bytes):
    body = {"collection": "notes", "name": "iron", "media_type": media_type, "data": base64.b64encode(content).decode()}
    reply = await platform.ask("POST", "ingest", body)
    assert reply.status == 201, reply.body
    await platform.ingest(BEES, name="bees.md")
    best = (await platform.search("What does rust need?")).json["data"][0]
    assert best["document_name"] == "iron"
    assert "oxygen" in best["text"]
    assert "alert" not in best["text"]
    assert best["heading"] == ("Iron" if media_type in ("text/markdown", "text/html") else "")
    assert best["page"] == (1 if media_type == "application/pdf" else None)


async def test_each_way_of_search_can_be_asked_for_alone(platform: Platform):
    await platform.ingest(BEES, name="bees.md")
    await platform.ingest(IRON, name="iron.md")
    asked = len(platform.engine.asked)
    words = (await platform.search("rusting", mode="words")).json["data"]
    assert [one["document_name"] for one in words] == ["iron.md"], "the stem of the word is found"
    assert len(platform.engine.asked) == asked, "words need no embedding"
    assert len((await platform.search("carbon steel", mode="meaning")).json["data"]) == 2
    wrong = await platform.search("carbon", mode="magic")
    assert (wrong.status, wrong.error["param"]) == (400, "mode")


async def test_the_same_document_is_taken_once(platform: Platform):
    first = await platform.ingest(BEES, name="bees.md")
    asked = len(platform.engine.asked)
    again = await platform.ingest(BEES, name="bees.md")
    assert (again.status, again.json["id"], again.json["created"]) == (200, first.json["id"], False)
    assert len(platform.engine.asked) == asked
    both = await asyncio.gather(*(platform.ingest(IRON) for _ in range(4)))
    assert len({one.json["id"] for one in both}) == 1
    assert sorted(one.status for one in both) == [200, 200, 200, 201]
    assert len((await platform.ask("GET", "collections/notes/documents")).json["data"]) == 2


async def test_documents_are_listed_in_pages_and_deleted(platform: Platform):
    ids = [(await platform.ingest(f"Note number {number}.")).json["id"] for number in range(3)]
    page = (await platform.ask("GET", "collections/notes/documents?limit=2")).json
    assert [one["id"] for one in page["data"]] == ids[:0:-1]
    rest = (await platform.ask("GET", f"collections/notes/documents?limit=2&before={page['next']}")).json
    assert ([one["id"] for one in rest["data"]], rest["next"]) == (ids[:1], None)
    assert (await platform.ask("DELETE", f"collections/notes/documents/{ids[0]}")).json["deleted"] is True
    assert (await platform.ask("GET", f"collections/notes/documents/{ids[0]}")).status == 404
    left = (await platform.search("note number", k=10)).json["data"]
    assert {one["document_id"] for one in left} == set(ids[1:])
    assert (await platform.ask("DELETE", "collections/notes")).status == 200
    assert (await platform.search("note")).error["code"] == "collection_not_found"
    assert (await platform.ask("GET", "collections")).json["data"] == []


async def test_another_tenant_sees_nothing(platform: Platform):
    identity = (await platform.ingest(BEES)).json["id"]
    assert (await platform.search("bees", key=OTHER_KEY)).status == 404
    await platform.ingest(IRON, key=OTHER_KEY)
    found = (await platform.search("bees hive queen", key=OTHER_KEY, k=20)).json["data"]
    assert found
    assert not [one for one in found if "hive" in one["text"]]
    path = f"collections/notes/documents/{identity}"
    assert (await platform.ask("GET", path, key=OTHER_KEY)).status == 404
    assert (await platform.ask("DELETE", path, key=OTHER_KEY)).status == 404
    assert (await platform.ask("GET", path)).status == 200


async def test_a_key_needs_the_route_and_pays_for_its_embeddings(platform: Platform):
    refused = await platform.ingest(BEES, key=NARROW_KEY)
    assert (refused.status, refused.error["code"]) == (403, "route_not_allowed")
    assert (await platform.ask("GET", "collections", key="")).status == 401
    await platform.ingest(BEES)
    own = [line for line in platform.running.requests if line["route"] == "embeddings"]
    assert own
    assert {line["key"] for line in own} == {"test"}


async def test_a_failure_of_embeddings_is_told_and_leaves_nothing(platform: Platform):
    platform.engine.fails = 400
    told = await platform.ingest(BEES)
    assert told.status == 400
    assert told.error["message"].startswith("Embeddings: ")
    platform.engine.fails = 0
    assert (await platform.ask("GET", "collections/notes/documents")).json["data"] == []


async def test_wrong_requests_get_a_sentence_that_names_the_field(platform: Platform):
    for body, status, param in (
        ({"collection": "notes"}, 400, "text"),
        ({"collection": "Notes!", "text": "x"}, 400, "collection"),
        ({"collection": "notes", "text": "x", "data": "eA=="}, 400, "text"),
        ({"collection": "notes", "data": "%%%"}, 400, "data"),
        ({"collection": "notes", "text": "x", "media_type": "image/png"}, 415, "media_type"),
        ({"collection": "notes", "text": "   "}, 422, "data"),
        ({"collection": "notes", "text": "x", "colour": 1}, 400, "colour"),
        ({"collection": "notes", "text": "x" * 400_001}, 413, "data"),
    ):
        reply = await platform.ask("POST", "ingest", body)
        assert (reply.status, reply.error["param"]) == (status, param), reply.body
    assert (await platform.ask("PUT", "ingest", {})).status == 405
    assert (await platform.ask("GET", "nothing")).status == 404
    assert (await platform.search("x", k=51)).error["param"] == "k"


async def test_an_answer_rests_on_passages_and_cites_them(platform: Platform):
    await platform.ingest(IRON, name="iron.md")
    chat = {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why does iron rust?"}],
        "retrieve": {"collection": "notes", "k": 1},
    }
    reply = await platform.ask("POST", "chat/completions", chat)
    assert reply.status == 200
    assert reply.headers["x-penstock-citations"] == "1"
    assert reply.headers["x-penstock-model"] == "tiny"
    cited = reply.json["citations"]
    assert [(one["number"], one["document_name"]) for one in cited] == [(1, "iron.md")]
    sent = platform.engine.chats[0]
    assert "retrieve" not in sent
    assert [one["role"] for one in sent["messages"]] == ["system", "user"]
    assert sent["messages"][0]["content"].startswith("Be short.\n\n")
    assert "[1] iron.md, Iron\n" in sent["messages"][0]["content"]
    assert "rusts" in sent["messages"][0]["content"]


async def test_a_streamed_answer_begins_with_its_citations(platform: Platform):
    await platform.ingest(IRON, name="iron.md")
    chat = {
        "model": "tiny",
        "stream": True,
        "messages": [{"role": "user", "content": "Why does iron rust?"}],
        "retrieve": {"collection": "notes"},
    }
    reply = await platform.ask("POST", "chat/completions", chat)
    assert reply.headers["content-type"].startswith("text/event-stream")
    first = json.loads(reply.events[0].removeprefix(b"data: "))
    assert first["choices"] == []
    assert first["citations"][0]["document_name"] == "iron.md"
    assert reply.events[-1] == DONE
    assert b"hel" in reply.body


async def test_an_engine_stops_when_the_client_of_a_grounded_chat_leaves(platform: Platform):
    await platform.ingest(IRON)
    gone = asyncio.Event()

    async def endless(request, wire):
        await wire.begin_stream()
        await wire.gone()
        gone.set()

    platform.engine.chat = endless
    client = await platform.running.connect()
    chat = {
        "model": "tiny",
        "stream": True,
        "messages": [{"role": "user", "content": "iron"}],
        "retrieve": {"collection": "notes"},
    }
    await client.send(Client.request(chat, "/v1/retrieval/chat/completions"))
    await eventually(lambda: platform.engine.chats)
    client.writer.transport.abort()
    await asyncio.wait_for(gone.wait(), 10)
    await eventually(lambda: not platform.running.service.exchanges)


async def test_a_chat_without_a_usable_wish_is_refused(platform: Platform):
    await platform.ingest(IRON)
    user = [{"role": "user", "content": "iron"}]
    for body, param in (
        ({"messages": user}, "retrieve"),
        ({"messages": user, "retrieve": {"collection": 3}}, "retrieve"),
        ({"messages": [], "retrieve": {"collection": "notes"}}, "messages"),
        ({"messages": user, "retrieve": {"collection": "elsewhere"}}, "collection"),
    ):
        reply = await platform.ask("POST", "chat/completions", {"model": "tiny"} | body)
        assert reply.error["param"] == param, reply.body
    passed = await platform.ask(
        "POST", "chat/completions", {"model": "nobody", "messages": user, "retrieve": {"collection": "notes"}}
    )
    assert (passed.status, passed.error["code"]) == (404, "model_not_found")


async def test_a_database_that_is_away_gives_a_503(platform: Platform):
    await platform.ingest(IRON)
    retrieval = platform.running.service.retrieval
    assert retrieval is not None
    stores = retrieval._retrieval.stores
    stores._pool.close()
    stores._pool._database = type(platform.database)("127.0.0.1", 9, "none", "nobody", "none")
    reply = await platform.search("iron")
    assert (reply.status, reply.error["code"]) == (503, "retrieval_database_away")
    assert reply.headers["retry-after"] == "2"


async def test_the_official_client_takes_a_grounded_chat(platform: Platform):
    await platform.ingest(IRON, name="iron.md")
    client = openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{platform.running.port}/v1/retrieval", api_key=KEY, max_retries=0
    )
    try:
        asked: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Why does iron rust?"}]}
        wish = {"retrieve": {"collection": "notes"}}
        whole = await client.chat.completions.create(**asked, extra_body=wish)
        assert whole.choices[0].message.content == "hi"
        assert (whole.model_extra or {})["citations"][0]["document_name"] == "iron.md"
        stream = await client.chat.completions.create(**asked, stream=True, extra_body=wish)
        chunks = [chunk async for chunk in stream]
        assert (chunks[0].model_extra or {})["citations"][0]["number"] == 1
        assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "hello"
    finally:
        await client.close()
