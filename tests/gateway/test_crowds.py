"""More than a thousand requests at once: each gets its own answer, and what lies behind the gateway sees no crowd."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.gateway.database.connection import connect
from app.gateway.database.settings import Database
from app.gateway.keys.admin import MOST_WAITING
from app.gateway.ledger.settings import LedgerSettings
from tests.gateway.harness import (
    CHAT,
    DONE,
    Engine,
    Request,
    Running,
    Wire,
    chat_reply,
    event,
    eventually,
    make_config,
    running,
)
from tests.gateway.key_cases import ADMIN_KEY, file_with_admin
from tests.gateway.real_postgres import rows

CROWD = 1_200
STREAM: dict[str, Any] = CHAT | {"stream": True}


@pytest.fixture(autouse=True)
def enough_open_files() -> Iterator[None]:
    """Four for each request: client, both sides of the gateway, and engine are all in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CROWD * 4 + 500
    assert hard >= needed or hard == resource.RLIM_INFINITY, f"this test opens {needed} files; `ulimit -Hn` says {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """An engine that answers once all are there."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.all_there = asyncio.Event()

    async def __call__(self, request: Request, wire: Wire) -> None:
        self.left -= 1
        if self.left == 0:
            self.all_there.set()
        await self.all_there.wait()
        name = request.headers["x-request-id"]
        if not request.body.get("stream"):
            await wire.json(200, chat_reply() | {"id": name})
            return
        await wire.begin_stream()
        for number in range(3):
            await wire.chunk(event(f"{name} {number}"))
        await wire.chunk(DONE)
        await wire.end_stream()


async def ask(gateway: Running, number: int) -> bytes:
    client = await gateway.connect()
    await client.send(client.request(STREAM if number % 2 else CHAT, x_request_id=f"id-{number}-"))
    reply = await asyncio.wait_for(client.reply(), 90)
    assert reply.status == 200
    assert reply.whole
    return reply.body


async def test_a_crowd_at_once_is_answered_and_nobody_gets_anothers_answer():
    crowd = Crowd(CROWD)
    # Clients, gateway and engine share one event loop here: on a busy machine a connection takes it longer than 1 s.
    async with running(Engine(crowd), config=make_config(timeouts={"connect_seconds": 30})) as gateway:
        try:
            bodies = await asyncio.gather(*(ask(gateway, number) for number in range(CROWD)))
        finally:
            crowd.all_there.set()  # whatever went wrong: nobody is left waiting
        for number, body in enumerate(bodies):
            own = body.count(b"id-%d-" % number)
            assert own == (3 if number % 2 else 1)
            assert body.count(b"id-") == own
        await eventually(lambda: not gateway.service.exchanges)
        assert await gateway.metric('penstock_in_flight{model="tiny"}') == 0


async def sessions_of(database: Database) -> int:
    connection = await connect(database)
    try:
        found = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return await connection.fetchval(found)
    finally:
        await connection.close()


async def test_a_crowd_is_a_handful_of_sessions_for_the_database(empty_database: Database, tmp_path: Path):
    ledger = LedgerSettings(empty_database, tmp_path, 10_000_000)
    crowd = Crowd(100)
    async with running(Engine(crowd), ledger=ledger, keys=empty_database) as gateway:
        file = file_with_admin()
        gateway.service.keys.take_file(file.keys, file.admins)
        await eventually(lambda: gateway.service.keys.loaded)
        asked = asyncio.gather(*(ask(gateway, number) for number in range(100)))
        admins = asyncio.gather(
            *(gateway.get("/admin/v1/keys", authorization=f"Bearer {ADMIN_KEY}") for _ in range(MOST_WAITING))
        )
        try:
            there = asyncio.ensure_future(crowd.all_there.wait())
            done, _ = await asyncio.wait({there, asked}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert done, f"{crowd.left} of the crowd have not come to the engine"
            assert there in done, await asked
            sessions = await sessions_of(empty_database)
        finally:
            crowd.all_there.set()  # whatever went wrong: nobody is left waiting
        assert {reply.status for reply in await admins} <= {200, 503}
        await asked
        # The ledger's, the keys', the admins' few at once, and those that a busy server has not ended yet.
        assert max(sessions, await sessions_of(empty_database)) < MOST_WAITING
    assert len(await rows(empty_database)) == 100
