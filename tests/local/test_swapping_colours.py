"""The promise of the project: a release moves under load without one failed or cut request."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator

import pytest

from infra.ops.load.generator import Load, Plan
from infra.ops.load.records import Records
from tests.local.conftest import CHECKOUT, Platform

pytestmark = pytest.mark.local

RATE = 50.0
STREAMS = 20
STREAM_TOKENS = 200
"""About 2.5 s of stream: several of each place's streams live through a shift."""

QUIET_SECONDS = 8.0
SETTLE_SECONDS = 1.0
"""After the load balancer has reported the weights, Envoy may still route by the old file for a moment."""

SHARE_SECONDS = 6.0
SHARE_TOLERANCE = 0.12
"""300 answers at 50 %: four standard deviations are 0.115."""


async def shift(platform: Platform, weight: str) -> dict:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.ops.cli", "release", "shift", weight, "--yes", "--json",
        cwd=CHECKOUT,
        env=os.environ | platform.variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 0, f"{out.decode()}\n{err.decode()}"
    return json.loads(out)


@pytest.fixture
async def load(platform: Platform) -> AsyncIterator[Load]:
    plan = Plan(platform.endpoint.models[0], rate=RATE, streams=STREAMS, seconds=600, stream_tokens=STREAM_TOKENS)
    running = Load(platform.endpoint, plan)
    task = asyncio.create_task(running.run())
    yield running
    running.stop()
    await asyncio.wait_for(task, 60)


@pytest.mark.timeout(500)
@pytest.mark.usefixtures("stack_file_restored")
async def test_a_release_moves_to_green_and_back_under_load_without_a_failed_or_cut_request(
    platform: Platform, load: Load, capsys: pytest.CaptureFixture[str]
):
    text = platform.stack_file.read_text()
    assert platform.penstock_json("release", "status")["live"] == {"blue": 100, "green": 0}
    await asyncio.sleep(QUIET_SECONDS)
    assert load.open_streams > STREAMS * 0.7, "streams are open before the first shift"

    windows: dict[str, tuple[float, float]] = {}
    began = load.now
    for step, weight in (("half", "green=50"), ("green", "green=100"), ("back", "blue=100")):
        done = await shift(platform, weight)
        types = {change["type"] for change in done["changes"]}
        assert types == {"aws:lb/listenerRule:ListenerRule"}, "a shift changes the rule and nothing else"
        start = load.now + SETTLE_SECONDS
        await asyncio.sleep(SETTLE_SECONDS + SHARE_SECONDS)
        windows[step] = (start, load.now)
    ended = load.now
    load.stop()
    await asyncio.wait_for(load.finished.wait(), 60)

    records = load.records
    with capsys.disabled():
        print(report(records, began, ended))
    figures = records.figures()
    assert figures.failures == 0, figures.reasons
    assert figures.cut_streams == 0
    assert figures.requests >= 0.95 * RATE * ended, "the load was really sent"

    assert records.figures(0, began).share("blue") == 1.0
    assert records.figures(*windows["half"]).share("green") == pytest.approx(0.5, abs=SHARE_TOLERANCE)
    assert records.figures(*windows["green"]).share("green") == 1.0
    assert records.figures(*windows["back"]).share("blue") == 1.0
    assert platform.stack_file.read_text() == text, "the way back restores the file byte for byte"


def report(records: Records, began: float, ended: float) -> str:
    before, during, whole = records.figures(0, began), records.figures(began, ended), records.figures()
    ratio = during.ttft_p99 / before.ttft_p99 if during.ttft_p99 and before.ttft_p99 else float("nan")
    return (
        f"\nswap under load: {whole.requests} requests and {whole.streams} streams ({STREAMS} open at all times) in "
        f"{ended:.0f} s, {whole.failures} failed, {whole.cut_streams} cut\n"
        f"  TTFT p99 before {_ms(before.ttft_p99)}, during {_ms(during.ttft_p99)} (ratio {ratio:.2f}); "
        f"p50 {_ms(before.ttft_p50)}, {_ms(during.ttft_p50)}\n"
        f"  JSON latency p99 before {_ms(before.latency_p99)}, during {_ms(during.latency_p99)}"
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def test_a_shift_that_is_refused_leaves_the_file_and_the_traffic(platform: Platform):
    before = platform.stack_file.read_bytes()
    refused = platform.penstock("release", "shift", "green=30", check=False)  # nobody can be asked
    assert refused.returncode == 4, refused.stderr
    assert "--yes" in refused.stderr
    assert platform.stack_file.read_bytes() == before
    position = platform.penstock_json("release", "status")
    assert position["settled"] is True
    assert position["live"] == {"blue": 100, "green": 0}


def test_a_shift_to_where_the_traffic_is_changes_nothing(platform: Platform):
    done = platform.penstock_json("release", "shift", "blue=100", "--yes")
    assert done["changes"] == []
