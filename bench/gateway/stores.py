"""Redis and PostgreSQL for the own gateway, on the load's core; what they hold afterwards shows that it used them."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.compiled import Missing
from infra.local.aws.planes.caches import redis_server
from infra.local.aws.planes.postgres import Cluster, PostgresError, Quarters, installations
from infra.local.processes import NotReadyError, Processes

OWNER, TABLES = "owner", "penstock"
MIGRATE_SECONDS = 60
READY_SECONDS = 20.0


@dataclass(frozen=True)
class Stores:
    """Where they are, as the gateway's environment, and how to look into them."""

    environment: dict[str, str]
    cache_port: int
    cache_root: int
    """Redis' process: a request waits for it."""

    def limits_kept(self) -> bool:
        """True where Redis holds keys."""
        return int(_redis(self.cache_port, "DBSIZE")) > 0

    def usage_rows(self) -> int:
        """Rows of the usage ledger."""
        import asyncio

        return asyncio.run(_rows(self.environment))


async def _rows(environment: dict[str, str]) -> int:
    from app.gateway.database.connection import connect
    from app.gateway.database.settings import read_database

    database = read_database(environment)
    if database is None:
        return 0
    connection = await connect(database)
    try:
        return await connection.fetchval("SELECT count(*) FROM penstock_ledger.usage")
    finally:
        await connection.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _redis(port: int, command: str) -> str:
    """The reply of a command without arguments, without its type sign. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as wire:
        wire.sendall(f"{command}\r\n".encode())
        return wire.recv(64).decode().strip()[1:]


@contextlib.contextmanager
def stores(folder: Path) -> Generator[Stores]:
    """Both servers with the ledger's tables, in `folder`. Raises Missing where one is not to be had."""
    quarters, processes = Quarters(folder / "state"), Processes(folder / "logs")
    cluster: Cluster | None = None
    try:
        cache_port = _start_cache(folder, processes)
        found = installations()
        cluster = Cluster(
            name="bench",
            installation=found[max(found)],
            quarters=quarters,
            processes=processes,
            address="127.0.0.1",
            port=_free_port(),
            username=OWNER,
            password=secrets.token_hex(16),
        )
        cluster.create(TABLES)
        cluster.start()
        environment = {
            "PENSTOCK_CACHE_ADDRESS": f"127.0.0.1:{cache_port}",
            "PENSTOCK_DATABASE_ADDRESS": f"127.0.0.1:{cluster.port}",
            "PENSTOCK_DATABASE_NAME": TABLES,
            "PENSTOCK_DATABASE_USER": OWNER,
            "PENSTOCK_DATABASE_PASSWORD": cluster.password,
        }
        _migrate(environment)
        yield Stores(environment, cache_port, processes.children["redis"].process.pid)
    except (PostgresError, NotReadyError, FileNotFoundError) as reason:
        raise Missing(str(reason)) from reason
    finally:
        if cluster is not None:
            cluster.stop()
        processes.stop_all()
        quarters.remove()


def _start_cache(folder: Path, processes: Processes) -> int:
    port = _free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = processes.start("redis", [str(redis_server()), *options], cwd=folder)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return _redis(port, "PING") == "PONG"
        return False

    server.wait_until(answers, READY_SECONDS)
    return port


def _migrate(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "app.gateway.database", "migrate"]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=MIGRATE_SECONDS
    )
    if done.returncode:
        raise Missing(f"the ledger's tables cannot be made: {done.stderr.strip()[-300:]}")
