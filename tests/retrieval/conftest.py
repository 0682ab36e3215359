"""A gateway with retrieval before a scripted engine that makes embeddings, and a real PostgreSQL with pgvector."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from app.gateway.config import KeyFile
from app.gateway.database.connection import connect
from app.gateway.database.migrations import make_login, migrate
from app.gateway.database.settings import Database
from app.gateway.keys.schema import KEYS
from app.gateway.server import Gateway
from app.gateway.surroundings import Surroundings
from app.retrieval.schema import RETRIEVAL
from tests.gateway.harness import (
    KEY,
    Client,
    Engine,
    KeptLog,
    Reply,
    Request,
    Running,
    Wire,
    key_file,
    make_config,
    well,
)
from tests.gateway.real_postgres import empty_database, postgres, proxy

__all__ = ["empty_database", "postgres", "proxy"]  # fixtures

OTHER_KEY = "sk-test-of-another-tenant"
NARROW_KEY = "sk-test-without-retrieval"
LOGIN, PASSWORD = "retrieval_gateway", "of-the-test"


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def hashed(text: str, size: int = 256) -> list[float]:
    """Words and their beginnings, each at a place that its hash names: alike texts get alike vectors."""
    found = [0.0] * size
    for word in re.findall(r"\w+", text.lower()):
        for piece in {word, word[:5]}:
            digest = hashlib.blake2b(piece.encode(), digest_size=8).digest()
            found[int.from_bytes(digest[:4], "big") % size] += 1.0 if digest[4] & 1 else -1.0
    norm = math.sqrt(sum(one * one for one in found)) or 1.0
    return [one / norm for one in found] if any(found) else [1.0] + [0.0] * (size - 1)


@dataclass
class Embeddings:
    """An engine's answers: `size` values for each text. Chats are answered as by `chat`."""

    size: int = 64
    asked: list[list[str]] = field(default_factory=list)
    chats: list[dict[str, Any]] = field(default_factory=list)
    chat: Callable[[Request, Wire], Any] = well
    hold: asyncio.Event | None = None
    fails: int = 0
    """Status of each reply to a request for embeddings; 0: it succeeds."""

    async def answer(self, request: Request, wire: Wire) -> None:
        if not request.path.endswith("/embeddings"):
            self.chats.append(request.body)
            await self.chat(request, wire)
            return
        given = request.body["input"]
        texts = [given] if isinstance(given, str) else given
        self.asked.append(texts)
        if self.hold is not None:
            await self.hold.wait()
        if self.fails:
            await wire.json(self.fails, {"error": {"message": "no such thing", "type": "BadRequestError", "code": 400}})
            return
        data = [
            {"object": "embedding", "index": at, "embedding": hashed(text, self.size)} for at, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
        await wire.json(200, {"object": "list", "model": "tiny", "data": data, "usage": usage})


@dataclass
class Platform:
    running: Running
    engine: Embeddings
    database: Database
    """As the gateway's own login."""
    owner: Database
    engine_process: Engine | None = None

    async def ask(self, method: str, path: str, body: object = b"", key: str = KEY) -> Reply:
        client = await self.running.connect()
        await client.send(
            Client.request(body, f"/v1/retrieval/{path}", method, authorization=f"Bearer {key}" if key else "")
        )
        return await asyncio.wait_for(client.reply(), 30)

    async def ingest(self, text: str, collection: str = "notes", key: str = KEY, **more: Any) -> Reply:
        return await self.ask("POST", "ingest", {"collection": collection, "text": text} | more, key)

    async def search(self, query: str, collection: str = "notes", key: str = KEY, **more: Any) -> Reply:
        return await self.ask("POST", "search", {"collection": collection, "query": query} | more, key)


@pytest.fixture(scope="session")
def login() -> str:
    return LOGIN


@pytest.fixture
def more_settings() -> dict[str, Any]:
    """Of the gateway, beside retrieval: a module may have its own."""
    return {}


SETTINGS = {
    "model": "small",
    "chunk_tokens": 64,
    "overlap_tokens": 8,
    "embed_batch": 4,
    "max_document_bytes": 400_000,
}


@pytest.fixture
async def platform(empty_database: Database, more_settings: dict[str, Any]) -> AsyncIterator[Platform]:
    connection = await connect(empty_database)
    for schema in (KEYS, RETRIEVAL):
        await migrate(connection, schema)
    await make_login(connection, LOGIN, PASSWORD, (KEYS, RETRIEVAL), RETRIEVAL.lock)
    await connection.close()
    own = Database(empty_database.host, empty_database.port, empty_database.name, LOGIN, PASSWORD)
    embeddings = Embeddings()
    engine = Engine(answer=embeddings.answer)
    await engine.start()
    running = await gateway_on(own, engine, more_settings)
    yield Platform(running, embeddings, own, empty_database, engine)
    await running.stop()
    await engine.stop()


def keys_of_all() -> KeyFile:
    first, other, narrow = key_file(test=KEY, other=OTHER_KEY, narrow=NARROW_KEY).keys
    return KeyFile(
        keys=(
            first.model_copy(update={"tenant": "first"}),
            other.model_copy(update={"tenant": "other"}),
            narrow.model_copy(update={"routes": ("chat", "embeddings")}),
        )
    )


async def gateway_on(database: Database, engine: Engine, more: Mapping[str, Any]) -> Running:
    """A gateway of the platform: the same database, keys and engine."""
    log = KeptLog()
    around = Surroundings(engines=(("127.0.0.1", engine.port),), keys=database)
    gateway = Gateway(make_config(**{"retrieval": SETTINGS, **more}), keys_of_all(), around, log)
    return Running(gateway, await gateway.start("127.0.0.1", 0), log)
