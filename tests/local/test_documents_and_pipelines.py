"""Documents and pipelines on the running platform: Envoy, gateways, PostgreSQL and the simulated engines."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import openai
import pytest

pytestmark = pytest.mark.local

LEAVE = "# Leave\n\nEverybody has thirty days of paid leave each year. Unused days end in March."
TURBINE = "# Turbine\n\nThe turbine is inspected twice a year by the maintenance crew."
OTHER = "# Secret\n\nThe vault of the other tenant opens at noon."


class Client:
    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - http alone
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def ingest(self, name: str, text: str, collection: str = "handbook") -> int:
        return self.call("POST", "/v1/retrieval/ingest", {"collection": collection, "name": name, "text": text})[0]

    def search(self, query: str, collection: str = "handbook", mode: str = "hybrid") -> list[str]:
        body = {"collection": collection, "query": query, "k": 3, "mode": mode}
        status, found = self.call("POST", "/v1/retrieval/search", body)
        return [one["document_name"] for one in found["data"]] if status == 200 else [str(status)]


@pytest.fixture
def own(platform: Any) -> Iterator[Client]:
    client = Client(platform.variables["PENSTOCK_GATEWAY_URL"], platform.variables["PENSTOCK_API_KEY"])
    assert client.ingest("leave.md", LEAVE) in (200, 201)
    assert client.ingest("turbine.md", TURBINE) in (200, 201)
    yield client
    client.call("DELETE", "/v1/retrieval/collections/handbook")


@pytest.fixture
def stranger(platform: Any) -> Iterator[Client]:
    tenant = f"other-{uuid.uuid4().hex[:8]}"
    platform.penstock("tenant", "create", tenant)
    made = platform.penstock_json("key", "create", "documents", "--tenant", tenant)
    client = Client(platform.variables["PENSTOCK_GATEWAY_URL"], made["key"])
    yield client
    client.call("DELETE", "/v1/retrieval/collections/handbook")
    platform.penstock("key", "revoke", made["id"])


def test_documents_are_found_by_words_and_by_meaning_and_ground_a_chat(own: Client) -> None:
    for mode in ("hybrid", "meaning", "words"):
        assert own.search("days of paid leave", mode=mode)[0] == "leave.md"
    status, answer = own.call(
        "POST",
        "/v1/retrieval/chat/completions",
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "When is the turbine inspected?"}],
            "retrieve": {"collection": "handbook", "k": 1},
            "max_tokens": 32,
        },
    )
    assert status == 200
    assert [one["document_name"] for one in answer["citations"]] == ["turbine.md"]


def test_another_tenant_sees_nothing_of_them(own: Client, stranger: Client) -> None:
    assert stranger.search("days of paid leave") == ["404"]
    assert stranger.ingest("secret.md", OTHER) == 201
    assert stranger.search("days of paid leave", mode="meaning") == ["secret.md"]
    assert "secret.md" not in own.search("the vault of the other tenant")


def test_a_new_index_is_made_while_searches_go_on(own: Client) -> None:
    status, _ = own.call(
        "POST", "/v1/retrieval/collections/handbook/reindex", {"chunk_tokens": 64, "overlap_tokens": 8}
    )
    assert status == 202
    until = time.monotonic() + 60
    while True:
        assert own.search("days of paid leave")[0] == "leave.md"
        _, shown = own.call("GET", "/v1/retrieval/collections/handbook")
        if shown["reindexing"] is None and shown["chunk_tokens"] == 64:
            break
        assert time.monotonic() < until, shown


def test_the_example_pipeline_answers_from_documents_and_tells_of_its_steps(own: Client, platform: Any) -> None:
    client = openai.OpenAI(base_url=f"{own.url}/v1", api_key=own.key, max_retries=0)
    assert "answer" in [model.id for model in client.models.list()]
    question = [{"role": "user", "content": "How many days of paid leave are there?"}]
    whole = client.chat.completions.create(model="answer", messages=question, max_tokens=24)  # ty: ignore
    steps = [one["name"] for one in (whole.model_extra or {})["pipeline"]["steps"]]
    assert steps == ["intent", "small-talk", "documents", "question", "draft", "length"]
    assert (whole.model_extra or {})["citations"][0]["document_name"] == "leave.md"
    text = whole.choices[0].message.content
    stream = client.chat.completions.create(model="answer", messages=question, max_tokens=24, stream=True)  # ty: ignore
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    greeting = [{"role": "user", "content": "Hello, how are you?"}]
    small = client.chat.completions.create(model="answer", messages=greeting, max_tokens=8)  # ty: ignore
    assert [one["name"] for one in (small.model_extra or {})["pipeline"]["steps"]] == ["intent", "small-talk", "plain"]
    assert text
    until = time.monotonic() + 30
    while True:
        rows = platform.penstock_json("usage", "--by", "pipeline,step,model")["rows"]
        found = {(one["step"], one["model"]) for one in rows if one["pipeline"] == "answer"}
        if found >= {("documents", "embed"), ("draft", "tiny"), ("plain", "tiny"), (None, "answer")}:
            break
        assert time.monotonic() < until, found
        time.sleep(0.5)
