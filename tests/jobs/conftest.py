"""A platform for jobs: real PostgreSQL, moto's S3, a gateway process, simulated engines, workers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import IO, Any

import boto3
import openai
import pytest

from app.gateway.config import AdminKey, KeyFile
from app.gateway.console.schema import CONSOLE
from app.gateway.database.connection import connect
from app.gateway.database.migrations import make_login, migrate
from app.gateway.database.settings import Database
from app.gateway.keys.schema import KEYS
from app.gateway.ledger.schema import LEDGER
from app.gateway.log import Log
from app.jobs.config import JobsConfig, WebhookRules
from app.jobs.schema import JOBS, WORKERS
from app.jobs.settings import Place
from app.jobs.worker import Worker
from tests.gateway.harness import KEY, Client, Reply, key_file, make_config
from tests.gateway.real_postgres import Postgres, execute, free_port, postgres, variables_of

__all__ = ["postgres"]  # a fixture

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-the-tests-alone"
LOGIN_PASSWORD = "of-gateways-and-workers"
OTHER_KEY = "sk-test-of-another-tenant"
ADMIN_KEY = "adm-test-of-jobs"


@dataclass
class S3:
    """moto's S3 with a door: `broken` makes each write fail as a full or failing bucket does."""

    url: str
    broken: threading.Event
    client: Any

    def bucket(self, name: str) -> str:
        self.client.create_bucket(Bucket=name)
        return name

    def keys(self, bucket: str) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    broken = threading.Event()
    application = DomainDispatcherApplication(create_backend_app)

    def door(environment: Any, start: Any) -> Any:
        if broken.is_set() and environment["REQUEST_METHOD"] in ("PUT", "POST"):
            start("507 Insufficient Storage", [("content-type", "application/xml"), ("content-length", "0")])
            return [b""]
        return application(environment, start)

    server = make_server("127.0.0.1", 0, door, threaded=True, request_handler=Quiet)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    yield S3(url, broken, client)
    client.close()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def aws_environment(s3: S3) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


class QuietLog(Log):
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def line(self, fields: dict[str, Any]) -> None:
        self.events.append({name: value for name, value in fields.items() if name != "time"})


@dataclass
class Platform:
    port: int
    database: Database
    bucket: str
    s3: S3
    folder: Path
    environment: dict[str, str]
    """Of workers, database aside."""
    config: JobsConfig
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    logs: list[IO[bytes]] = field(default_factory=list)

    def log(self, name: str) -> IO[bytes]:
        self.logs.append((self.folder / f"{name}.log").open("ab"))
        return self.logs[-1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str = KEY) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    async def find_gateway(self, process: subprocess.Popen[bytes]) -> None:
        """Waits until the gateway is ready, and takes its port from its log."""
        log = self.folder / "gateway.log"
        async with asyncio.timeout(60):
            while not self.port:
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.05)
                first = log.read_text().partition("\n")[0]
                self.port = json.loads(first)["port"] if '"listening"' in first else 0
            while (await self.ask("GET", "/readyz")).status != 200:  # noqa: ASYNC110 - a process's own state
                await asyncio.sleep(0.05)

    async def ask(self, method: str, path: str, body: object = b"", **headers: str) -> Reply:
        client = await Client.connect(self.port)
        try:
            await client.send(Client.request(body, path, method, **headers))
            return await client.reply()
        finally:
            client.close()

    async def fetch(self, statement: str, *values: object) -> list[Any]:
        connection = await connect(self.database)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    def place(self) -> Place:
        return Place(as_login(self.database, "jobs"), self.bucket, SECRET.encode())

    @contextlib.asynccontextmanager
    async def worker(self, database: Database | None = None, **changes: Any) -> AsyncGenerator[Worker]:
        """In the test's own loop."""
        place = self.place() if database is None else replace(self.place(), database=database)
        one = Worker(self.config.model_copy(update=changes), place, lambda: (self.url,), QuietLog())
        task = asyncio.ensure_future(one.run(1.0))
        try:
            yield one
        finally:
            one.stop()
            await task

    async def worker_process(self, **changes: Any) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.jobs", "--gateway", self.url, "--grace", "5"),
            cwd=ROOT,
            stdout=self.log("worker"),
            stderr=asyncio.subprocess.STDOUT,
            env=self.environment
            | variables_of(as_login(self.database, "jobs"))
            | {"PENSTOCK_JOBS_CONFIG": self.config.model_copy(update=changes).model_dump_json()},
        )
        self.processes.append(process)
        return process

    async def until_done(self, ai: openai.AsyncOpenAI, identity: str, count: int) -> None:
        async with asyncio.timeout(60):
            while completed(await ai.batches.retrieve(identity)) < count:  # noqa: ASYNC110 - state of other processes
                await asyncio.sleep(0.05)

    async def until_ended(self, ai: openai.AsyncOpenAI, identity: str, seconds: float = 60) -> Any:
        async with asyncio.timeout(seconds):
            while True:
                batch = await ai.batches.retrieve(identity)
                if batch.status in ("completed", "failed", "expired", "cancelled"):
                    return batch
                await asyncio.sleep(0.05)


def completed(batch: Any) -> int:
    return batch.request_counts.completed


def request_line(number: int, **body: object) -> str:
    content = {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": f"hello {number}"}]} | body
    return json.dumps({"custom_id": f"r-{number}", "method": "POST", "url": "/v1/chat/completions", "body": content})


def lines(count: int, **body: object) -> bytes:
    return "\n".join(request_line(number, **body) for number in range(count)).encode()


async def put_file(ai: openai.AsyncOpenAI, content: bytes) -> str:
    return (await ai.files.create(file=("input.jsonl", content), purpose="batch")).id


async def start_batch(ai: openai.AsyncOpenAI, content: bytes, **more: Any) -> Any:
    return await ai.batches.create(
        input_file_id=await put_file(ai, content),
        endpoint="/v1/chat/completions",
        completion_window="24h",
        **more,
    )


async def read_lines(ai: openai.AsyncOpenAI, identity: str | None) -> list[dict[str, Any]]:
    if identity is None:
        return []
    return [json.loads(line) for line in (await ai.files.content(identity)).text.splitlines()]


def config_of_the_tests() -> JobsConfig:
    return JobsConfig(
        lease_seconds=2, chunk_rows=16, concurrency=16, max_rows=20_000, max_file_bytes=5_000_000,
        webhooks=WebhookRules(networks=(IPv4Network("127.0.0.0/8"),)),
    )  # fmt: skip


async def make_tables(postgres: Postgres, name: str) -> Database:
    await execute(postgres.database("postgres"), f"CREATE DATABASE {name}")
    database = postgres.database(name)
    connection = await connect(database)
    for schema in (LEDGER, KEYS, JOBS, CONSOLE):
        await migrate(connection, schema)
    # As in a cluster: neither gateways nor workers are the owner, and each has the rights of its login alone.
    await make_login(connection, "gateway", LOGIN_PASSWORD, (LEDGER, KEYS, JOBS, CONSOLE), LEDGER.lock)
    await make_login(connection, "jobs", LOGIN_PASSWORD, (WORKERS,), LEDGER.lock)
    await connection.close()
    return database


def as_login(database: Database, user: str) -> Database:
    return replace(database, user=user, password=LOGIN_PASSWORD)


@pytest.fixture(scope="session")
def base(
    postgres: Postgres, s3: S3, aws_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """One gateway process and one simulated engine for all tests: starting them takes longer than most tests."""
    folder = tmp_path_factory.mktemp("jobs")
    database, bucket, config = (
        asyncio.run(make_tables(postgres, "jobs")),
        s3.bucket("files-of-jobs"),
        config_of_the_tests(),
    )
    keys = key_file(test=KEY, other=OTHER_KEY)
    admin = AdminKey(id="ops", sha256=hashlib.sha256(ADMIN_KEY.encode()).hexdigest())
    first, other = keys.keys
    keys = KeyFile(keys=(first, other.model_copy(update={"tenant": "other"})), admins=(admin,))
    (folder / "gateway.json").write_text(make_config(jobs=config.model_dump(), console={}).model_dump_json())
    (folder / "keys.json").write_text(keys.model_dump_json())
    (folder / "spool").mkdir()
    environment = {"PATH": os.environ["PATH"], "PENSTOCK_JOBS_BUCKET": bucket, "PENSTOCK_JOBS_SECRET": SECRET}
    one = Platform(0, database, bucket, s3, folder, environment | aws_environment, config)
    engine_port = free_port()
    engine = subprocess.Popen(
        [
            *(sys.executable, "-m", "app.engine", "serve", "tiny", "--served-model-name", "tiny"),
            *("--host", "127.0.0.1", "--port", str(engine_port), "--max-model-len", "2048"),
        ],
        cwd=ROOT, stdout=one.log("engine"), stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PENSTOCK_SIM_LOAD_SECONDS": "0"},
    )  # fmt: skip
    gateway = subprocess.Popen(
        [
            *(sys.executable, "-m", "app.gateway", "--port", "0", "--engines", f"http://127.0.0.1:{engine_port}"),
            *("--config", str(folder / "gateway.json"), "--keys", str(folder / "keys.json")),
        ],
        cwd=ROOT, stdout=one.log("gateway"), stderr=subprocess.STDOUT,
        env=one.environment
        | variables_of(as_login(database, "gateway"))
        | {"PENSTOCK_LEDGER_FOLDER": str(folder / "spool"), "PENSTOCK_KEYS_DATABASE": "true"},
    )  # fmt: skip
    try:
        asyncio.run(one.find_gateway(gateway))
        yield one
    finally:
        for process in (gateway, engine):
            process.kill()
            process.wait()
        for log in one.logs:
            log.close()


@pytest.fixture
async def platform(
    base: Platform, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Platform]:
    """The one platform, with nothing in it."""
    for name, value in aws_environment.items():
        monkeypatch.setenv(name, value)
    await base.fetch(
        "TRUNCATE penstock_jobs.files, penstock_jobs.batches, penstock_jobs.rows, penstock_jobs.parts, "
        "penstock_jobs.tenants, penstock_jobs.deliveries"
    )
    base.s3.bucket(base.bucket)  # moto is one for the process: tests elsewhere that mock AWS empty it
    for key in base.s3.keys(base.bucket):
        base.s3.client.delete_object(Bucket=base.bucket, Key=key)
    yield base
    base.s3.broken.clear()
    for process in base.processes:
        if process.returncode is None:
            process.kill()
        await process.wait()
    base.processes.clear()
