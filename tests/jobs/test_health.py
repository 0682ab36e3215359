"""What workers tell of themselves: probes that say the truth, and figures that scaling may trust."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
import pytest

from app.jobs import __main__ as command
from app.jobs.health import READY_SECONDS, Health, served
from app.jobs.queue import MOST_COUNTED, Depth
from tests.gateway.real_postgres import variables_of
from tests.jobs.conftest import Platform, as_login, lines, start_batch


@dataclass
class Work:
    """A worker that does nothing."""

    found: Depth = field(default_factory=lambda: Depth(7, 3, 1, 12.5))
    failure: Exception | None = None
    rows_done: int = 40
    rows_failed: int = 2
    rows_retried: int = 5
    rows_pushed_back: int = 9
    in_hand: int = 3
    ended_loops: list[str] = field(default_factory=list)

    async def depth(self) -> Depth:
        if self.failure is not None:
            raise self.failure
        return self.found


async def page(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as reply:
        return reply.status, await reply.text()


def samples(text: str) -> dict[str, float]:
    rows = [line.rpartition(" ") for line in text.splitlines() if line.startswith("penstock_")]
    return {name: float(value) for name, _, value in rows}


async def test_a_worker_tells_the_queues_depth_and_what_it_has_done():
    health = Health(Work())
    await health.sample()
    async with served(health, "127.0.0.1", 0, 1000) as port:
        assert samples((await page(port, "/metrics"))[1]) == {
            'penstock_jobs_rows{state="queued"}': 7,
            'penstock_jobs_rows{state="running"}': 3,
            "penstock_jobs_demand": 11,
            "penstock_jobs_oldest_seconds": 12.5,
            "penstock_jobs_in_hand": 3,
            'penstock_jobs_ended_total{result="done"}': 40,
            'penstock_jobs_ended_total{result="failed"}': 2,
            'penstock_jobs_retries_total{reason="failed"}': 5,
            'penstock_jobs_retries_total{reason="pushed_back"}': 9,
        }


async def test_a_depth_that_is_old_is_not_told_and_the_worker_is_not_ready():
    now = [1000.0]
    work = Work()
    health = Health(work, lambda: now[0])
    await health.sample()
    work.failure = asyncpg.CannotConnectNowError("away")
    now[0] += READY_SECONDS - 1
    await health.sample()
    async with served(health, "127.0.0.1", 0, 1000) as port:
        assert (await page(port, "/readyz"))[0] == 200, "one look that failed ends nothing"
        now[0] += 2
        assert (await page(port, "/readyz"))[0] == 503
        assert (await page(port, "/livez"))[0] == 200, "a restart would not bring the database back"
        told = samples((await page(port, "/metrics"))[1])
        assert not any(name.startswith(("penstock_jobs_demand", "penstock_jobs_rows")) for name in told)
        assert told["penstock_jobs_in_hand"] == 3


async def test_a_worker_whose_part_has_ended_asks_to_be_restarted():
    work = Work(ended_loops=["sweep"])
    async with served(Health(work), "127.0.0.1", 0, 1000) as port:
        assert await page(port, "/livez") == (503, "ended: sweep\n")
        work.ended_loops.clear()
        assert (await page(port, "/livez"))[0] == 200


async def test_nothing_but_probes_and_figures_is_answered():
    async with served(Health(Work()), "127.0.0.1", 0, 1000) as port:
        assert (await page(port, "/"))[0] == 404
        async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/metrics") as reply:
            assert reply.status == 405


async def test_an_unforeseen_error_in_a_part_of_the_work_shows(platform: Platform, monkeypatch: pytest.MonkeyPatch):
    async with platform.worker() as worker:

        async def broken() -> bool:
            raise KeyError("unforeseen")

        monkeypatch.setattr(worker, "_sweep", broken)
        async with asyncio.timeout(20):
            while worker.in_hand or not worker._loops:  # noqa: ASYNC110 - a task's own state
                await asyncio.sleep(0.01)
        worker._loops["sweep"].cancel()
        worker._loops["sweep"] = asyncio.ensure_future(worker._for_ever("sweep", worker._sweep, 0.01))
        await asyncio.wait([worker._loops["sweep"]], timeout=10)
        assert worker.ended_loops == ["sweep"]


async def test_the_depth_follows_the_queue(platform: Platform):
    async with platform.client() as client:
        batch = await start_batch(client, lines(60))
        async with platform.worker() as worker:
            async with asyncio.timeout(30):
                while (depth := await worker.depth()).demand == 0:  # noqa: ASYNC110 - rows of another process
                    await asyncio.sleep(0.01)
            assert depth.queued + depth.running <= 60
            assert 0 < depth.oldest_seconds < 60
            await platform.until_ended(client, batch.id)
            after = await worker.depth()
            assert (after.demand, after.oldest_seconds) == (0, 0)
            assert (worker.rows_done, worker.rows_failed) == (60, 0)
        held = await platform.fetch("SELECT count(*) AS n FROM penstock_jobs.rows WHERE state = 2")
        assert held[0]["n"] == 60


async def test_a_long_queue_is_counted_up_to_a_bound_and_by_its_index(platform: Platform):
    async with platform.client() as client:
        await start_batch(client, lines(3))
        async with platform.worker() as worker:
            (batch,) = await platform.fetch("SELECT id, seq FROM penstock_jobs.batches")
            await platform.fetch(
                "INSERT INTO penstock_jobs.rows (id, batch, tenant, key_id, rank, batch_seq, line, custom_id, start, "
                "size, due_at) SELECT gen_random_uuid(), $1, 'far', 'key', 1, $2, n, n::text, 0, 1, "
                "now() + interval '1 day' FROM generate_series(1000, $3) n",
                *(batch["id"], batch["seq"], MOST_COUNTED + 5_000),
            )
            assert (await worker.depth()).queued == MOST_COUNTED


async def test_the_command_listens_where_it_is_told(platform: Platform):
    process = await platform.worker_process()
    log = platform.folder / "worker.log"

    def port() -> int:
        lines_of_log = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        mine = [line["port"] for line in lines_of_log if line.get("event") == "working"]
        return mine[-1] if mine else 0

    async with asyncio.timeout(30):
        while not (found := port()) or (await page_or_none(found, "/readyz")) != 200:  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.05)
    assert (await page(found, "/livez"))[0] == 200
    assert "penstock_jobs_demand 0.0" in (await page(found, "/metrics"))[1]
    process.kill()
    await process.wait()


async def page_or_none(port: int, path: str) -> int | None:
    try:
        return (await page(port, path))[0]
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("given", ["8080", ":8080", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_refused(
    given: str, platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    variables: dict[str, Any] = platform.environment | variables_of(as_login(platform.database, "jobs"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert command.main(["--gateway", "http://127.0.0.1:1", "--listen", given]) == 2
    assert f"--listen {given}: allowed is HOST:PORT" in capsys.readouterr().err
