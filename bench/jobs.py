"""A batch of 10,000 requests through two workers, one of which is killed every 10 s: `python -m bench.jobs`.

Everything runs on this machine: PostgreSQL, moto's S3, one gateway, one simulated engine, the workers as processes.
It prints one JSON object: rows lost, rows doubled, bills lost and doubled, kills, seconds, requests a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import boto3
import openai

from app.gateway.database.connection import connect
from app.gateway.database.migrations import migrate
from app.gateway.database.settings import Database
from app.gateway.keys.schema import KEYS
from app.gateway.ledger.schema import LEDGER
from app.jobs.config import JobsConfig
from app.jobs.schema import JOBS
from infra.local.aws.planes.postgres import Cluster, Quarters, installations
from infra.local.processes import Processes

ROOT = Path(__file__).resolve().parents[1]
KEY, SECRET, BUCKET = "sk-bench-of-jobs", "a-secret-of-the-bench-alone", "files"
BILLS = """
SELECT split_part(request_id, '-', 2) AS row, count(*) AS bills FROM penstock_ledger.usage WHERE cost_usd > 0 GROUP BY 1
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(folder: Path, name: str, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"]} | environment,
        )


@contextlib.contextmanager
def database_server(folder: Path) -> Generator[Database]:
    installed, port = installations(), free_port()
    cluster = Cluster(
        name="bench", installation=installed[max(installed)], quarters=Quarters(folder / "state"),
        processes=Processes(folder / "logs"), address="127.0.0.1", port=port, username="owner", password=SECRET,
    )  # fmt: skip
    cluster.create(None)
    cluster.start()
    try:
        yield Database("127.0.0.1", port, "postgres", "owner", SECRET)
    finally:
        cluster.stop()


async def tables(database: Database) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                connection = await connect(database)
                break
            except Exception:  # noqa: BLE001 - it starts
                await asyncio.sleep(0.1)
    for schema in (LEDGER, KEYS, JOBS):
        await migrate(connection, schema)
    await connection.close()


async def ready(client: openai.AsyncOpenAI) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(openai.APIError):
                await client.models.list()
                return
            await asyncio.sleep(0.1)


def bucket(url: str) -> None:
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="bench", aws_secret_access_key=SECRET
    )
    for _ in range(100):
        with contextlib.suppress(Exception):
            client.create_bucket(Bucket=BUCKET)
            return
        time.sleep(0.1)
    raise SystemExit("moto did not start")


def lines(count: int) -> bytes:
    body = {"model": "tiny", "max_tokens": 8}
    return b"\n".join(
        json.dumps(
            {
                "custom_id": f"r-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body | {"messages": [{"role": "user", "content": f"Question {number}"}]},
            }
        ).encode()
        for number in range(count)
    )


async def measure(rows: int, kill_seconds: float, concurrency: int, folder: Path, database: Database) -> dict[str, Any]:
    s3_port, engine_port, gateway_port = free_port(), free_port(), free_port()
    s3 = f"http://127.0.0.1:{s3_port}"
    model = {
        "name": "tiny", "selector": "x=y", "context_tokens": 2048, "max_output_tokens": 64,
        "input_usd_per_million_tokens": 1.0, "output_usd_per_million_tokens": 2.0,
    }  # fmt: skip
    config = JobsConfig(concurrency=concurrency, lease_seconds=3)
    gateway_config = {"colour": "blue", "namespace": "bench", "models": [model], "jobs": config.model_dump(mode="json")}
    keys = {"keys": [{"id": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}
    (folder / "gateway.json").write_text(json.dumps(gateway_config))
    (folder / "keys.json").write_text(json.dumps(keys))
    (folder / "spool").mkdir()
    environment = {
        "AWS_ENDPOINT_URL": s3, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench", "PENSTOCK_JOBS_BUCKET": BUCKET, "PENSTOCK_JOBS_SECRET": SECRET,
        "PENSTOCK_JOBS_CONFIG": config.model_dump_json(), "PENSTOCK_LEDGER_FOLDER": str(folder / "spool"),
        "PENSTOCK_DATABASE_ADDRESS": f"{database.host}:{database.port}", "PENSTOCK_DATABASE_NAME": database.name,
        "PENSTOCK_DATABASE_USER": database.user, "PENSTOCK_DATABASE_PASSWORD": SECRET,
    }  # fmt: skip
    gateway = f"http://127.0.0.1:{gateway_port}"

    def worker() -> subprocess.Popen[bytes]:
        return start(folder, "worker", environment, "app.jobs", "--gateway", gateway)

    processes = [
        start(folder, "s3", {}, "moto.server", "-H", "127.0.0.1", "-p", str(s3_port)),
        start(folder, "engine", {"PENSTOCK_SIM_LOAD_SECONDS": "0"}, "app.engine", "serve", "tiny",
              "--served-model-name", "tiny",
              "--host", "127.0.0.1", "--port", str(engine_port), "--max-model-len", "2048"),
        start(folder, "gateway", environment, "app.gateway", "--port", str(gateway_port), "--engines",
              f"http://127.0.0.1:{engine_port}", "--config", str(folder / "gateway.json"),
              "--keys", str(folder / "keys.json")),
    ]  # fmt: skip
    workers: list[subprocess.Popen[bytes]] = []
    try:
        await tables(database)
        await asyncio.to_thread(bucket, s3)
        async with openai.AsyncOpenAI(base_url=f"{gateway}/v1", api_key=KEY) as client:
            await ready(client)
            file = await client.files.create(file=("bench.jsonl", lines(rows)), purpose="batch")
            workers = [worker(), worker()]
            begun = time.monotonic()
            batch = await client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            kills, killed_at = 0, begun
            while batch.status not in ("completed", "failed", "expired"):
                await asyncio.sleep(0.25)
                batch = await client.batches.retrieve(batch.id)
                if time.monotonic() - killed_at > kill_seconds and batch.status == "in_progress":
                    victim = kills % 2
                    workers[victim].kill()
                    workers[victim].wait()
                    workers[victim] = worker()
                    kills, killed_at = kills + 1, time.monotonic()
            seconds = time.monotonic() - begun
            found = (await client.files.content(batch.output_file_id or "")).text.splitlines()
        answers = Counter(json.loads(line)["custom_id"] for line in found)
        await asyncio.sleep(3)  # the ledger stores what it has twice a second
        connection = await connect(database)
        bills = await connection.fetch(BILLS)
        again = await connection.fetchval("SELECT count(*) FROM penstock_jobs.rows WHERE attempts > 1")
        await connection.close()
    finally:
        for process in [*workers, *processes]:
            process.kill()
            process.wait()
    return {
        "rows": rows,
        "status": batch.status,
        "kills": kills,
        "rows_asked_again": again,
        "lost": rows - len(answers),
        "doubled": sum(count - 1 for count in answers.values()),
        "bills_lost": rows - len(bills),
        "bills_doubled": sum(one["bills"] - 1 for one in bills),
        "seconds": round(seconds, 1),
        "requests_per_second": round(rows / seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--kill-seconds", type=float, default=10.0)
    parser.add_argument("--concurrency", type=int, default=32, help="of one worker")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, database_server(Path(name)) as database:
        print(json.dumps(asyncio.run(
            measure(options.rows, options.kill_seconds, options.concurrency, Path(name), database)
        ), indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
