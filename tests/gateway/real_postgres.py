"""A real PostgreSQL for a module's tests, and a proxy before it that can be away, silent or cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import asyncpg
import pytest

from app.gateway.database.connection import connect
from app.gateway.database.settings import Database
from infra.local.aws.planes.postgres import Cluster, Quarters, installations
from infra.local.processes import Processes

OWNER_PASSWORD = "owner-of-the-test"
_NUMBERS = itertools.count(1)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Postgres:
    cluster: Cluster

    def database(self, name: str) -> Database:
        return Database("127.0.0.1", self.cluster.port, name, "owner", OWNER_PASSWORD)

    async def ready(self) -> None:
        """The port is open a moment before the server takes sessions."""
        async with asyncio.timeout(20):
            while True:
                try:
                    await execute(self.database("postgres"), "SELECT 1")
                except asyncpg.CannotConnectNowError:
                    await asyncio.sleep(0.05)
                else:
                    return


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One server for the whole run."""
    folder = tmp_path_factory.mktemp("postgres")
    quarters, processes = Quarters(folder / "state"), Processes(folder / "logs")
    installed = installations()
    cluster = Cluster(
        name="ledger",
        installation=installed[max(installed)],
        quarters=quarters,
        processes=processes,
        address="127.0.0.1",
        port=free_port(),
        username="owner",
        password=OWNER_PASSWORD,
    )
    cluster.create(None)
    cluster.start()
    server = Postgres(cluster)
    asyncio.run(server.ready())
    yield server
    cluster.stop()
    quarters.remove()


async def execute(database: Database, *statements: str) -> None:
    connection = await connect(database)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def refuses(login: asyncpg.Connection, *statements: str) -> None:
    """Fails where this login may carry one of them out."""
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.execute(statement)


async def rows(database: Database, what: str = "*", more: str = "") -> list[asyncpg.Record]:
    """Rows of the ledger; none where it has no tables yet."""
    connection = await connect(database)
    try:
        return await connection.fetch(f"SELECT {what} FROM penstock_ledger.usage {more}")  # noqa: S608 - the test's own
    except asyncpg.UndefinedTableError:
        return []
    finally:
        await connection.close()


@pytest.fixture
async def empty_database(postgres: Postgres) -> Database:
    """A database of the test's own."""
    name = f"test_{next(_NUMBERS)}"
    await execute(postgres.database("postgres"), f"CREATE DATABASE {name}")
    return postgres.database(name)


def variables_of(database: Database) -> dict[str, str]:
    """As a pod's environment names a database."""
    return {
        "PENSTOCK_DATABASE_ADDRESS": f"{database.host}:{database.port}",
        "PENSTOCK_DATABASE_NAME": database.name,
        "PENSTOCK_DATABASE_USER": database.user,
        "PENSTOCK_DATABASE_PASSWORD": database.password,
    }


@pytest.fixture
def as_owner(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The test's own database, which a command of this process finds in its environment."""
    for name, value in variables_of(empty_database).items():
        monkeypatch.setenv(name, value)
    return empty_database


@dataclass
class Proxy:
    """Stands before a database. `mode`: "on", "silent" (takes connections and bytes, answers nothing)."""

    database: Database
    mode: Literal["on", "silent"] = "on"
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def before(self) -> Database:
        return replace(self.database, port=self.port)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Away: connections end, and new ones are refused."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.database.port)
        try:
            await asyncio.gather(
                self._pass(reader, server_writer, to=True), self._pass(server_reader, writer, to=False)
            )
        finally:
            writer.close()
            server_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.mode == "on":
                    writer.write(data)
                    await writer.drain()
        writer.close()


@pytest.fixture
async def proxy(empty_database: Database) -> AsyncIterator[Proxy]:
    one = Proxy(empty_database)
    await one.start()
    yield one
    await one.stop()


def folder_of(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())
