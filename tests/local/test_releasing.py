"""A release on the running platform under load: a good one without a failed request, a bad one taken back by itself."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import contextmanager

import pytest

from infra.ops import kube, traffic
from infra.ops.context import Context
from infra.ops.endpoint import request
from infra.ops.load.generator import Load, Plan
from tests.local.conftest import CHECKOUT, Platform

pytestmark = pytest.mark.local

RATE, STREAMS, STREAM_TOKENS = 30.0, 12, 60
WEIGHT_BACK_SECONDS = 5.0
"""The promise: from the scrape that shows a breach until the load balancer has the old weights."""
END_SECONDS = 150.0
"""For streams to end once the load is stopped, those of engines that were made slow among them."""
AFTERWARDS = 60
"""Requests, once the release has ended."""
ENGINE = "engine-tiny-green"
NAMESPACE = "penstock"


@pytest.fixture
async def load(platform: Platform) -> AsyncIterator[Load]:
    plan = Plan(
        platform.endpoint.models[0],
        rate=RATE,
        streams=STREAMS,
        seconds=1200,
        stream_tokens=STREAM_TOKENS,
        same_text=True,
    )
    running = Load(platform.endpoint, plan)
    task = asyncio.create_task(running.run())
    yield running
    running.stop()
    await asyncio.wait_for(task, END_SECONDS)


async def penstock(platform: Platform, *arguments: str) -> tuple[int, dict, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.ops.cli", *arguments, "--json",
        cwd=CHECKOUT,
        env=os.environ | platform.variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 900)
    return process.returncode or 0, json.loads(out or "{}"), err.decode()


def journal(platform: Platform) -> list[dict]:
    file = platform.state / "releases" / "journal.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def reported(platform: Platform, release: str) -> dict:
    return json.loads((platform.state / "releases" / f"rollback-{release}.json").read_text())


@contextmanager
def engines_with(**variables: str) -> Generator[None]:
    """Green's engines get these environment variables behind the program's back, as a fault does."""
    access = Context(checkout=CHECKOUT).open("local")
    state = access.state()
    cluster = kube.connect(access, str(state.output("clusterName")), str(state.output("region")))

    def patch(values: Mapping[str, str | None]) -> None:
        entries = [
            {"name": name, "$patch": "delete"} if value is None else {"name": name, "value": value}
            for name, value in values.items()
        ]
        body = {"spec": {"template": {"spec": {"containers": [{"name": "engine", "env": entries}]}}}}
        call = urllib.request.Request(  # noqa: S310 - the platform's own API server
            f"{cluster.url}/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{ENGINE}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/strategic-merge-patch+json"},
            method="PATCH",
        )
        handlers = [urllib.request.HTTPSHandler(context=cluster.trust), urllib.request.ProxyHandler({})]
        with urllib.request.build_opener(*handlers).open(call, timeout=10) as response:
            assert response.status == 200

    patch(variables)
    try:
        yield
    finally:
        patch(dict.fromkeys(variables))


@pytest.mark.timeout(1100)
@pytest.mark.usefixtures("stack_file_restored")
async def test_a_good_release_takes_all_traffic_and_goes_back_without_a_failed_request(
    platform: Platform, load: Load, capsys: pytest.CaptureFixture[str]
):
    before = platform.stack_file.read_bytes()
    code, staged, errors = await penstock(platform, "release", "stage", "--yes")
    assert code == 0, errors
    assert staged["colour"] == "green"
    assert staged["validation"]["failed"] == 0

    code, done, errors = await penstock(platform, "release", "promote", "--yes")
    assert (code, done.get("outcome")) == (0, "promoted"), f"{done}\n{errors}"
    assert platform.penstock_json("release", "status")["live"] == {"blue": 0, "green": 100}

    started = time.monotonic()
    code, back, errors = await penstock(platform, "release", "rollback", "--yes")
    rolled = time.monotonic() - started
    assert (code, back["outcome"]) == (0, "rolled back"), errors
    status = platform.penstock_json("release", "status")
    assert (status["settled"], status["live"]) == (True, {"blue": 100, "green": 0})
    load.stop()
    await asyncio.wait_for(load.finished.wait(), END_SECONDS)
    figures = load.records.figures()
    with capsys.disabled():
        print(
            f"\nrelease under load: {figures.requests} requests, {figures.streams} streams, {figures.failures} failed, "
            f"{figures.cut_streams} cut; promote {done['seconds']:.0f} s, rollback with file and state {rolled:.0f} s"
        )
    assert figures.failures == 0, figures.reasons
    assert figures.cut_streams == 0
    assert {"blue", "green"} == set(figures.colours)
    assert platform.stack_file.read_bytes() == before, "the way back restores the file byte for byte"


@pytest.mark.timeout(1100)
@pytest.mark.usefixtures("stack_file_restored")
async def test_a_slow_release_is_taken_back_by_itself_within_5_seconds(
    platform: Platform, load: Load, capsys: pytest.CaptureFixture[str]
):
    """One whose engines fail is the drill `bad-release`."""
    entries = len(journal(platform))
    work = asyncio.create_task(penstock(platform, "release", "promote", "--yes"))
    while not any(entry["event"] == "passed" for entry in journal(platform)[entries:]):
        assert not work.done(), "the first step passes while all is well"
        await asyncio.sleep(0.5)
    with engines_with(PENSTOCK_SIM_SLOW_FACTOR="15"):
        code, done, errors = await work
        ended = load.now
    assert (code, done.get("outcome")) == (1, "rolled back"), f"{done}\n{errors}"
    report = reported(platform, done["id"])
    while load.records.figures(ended).requests < AFTERWARDS:  # noqa: ASYNC110 - the load goes on meanwhile
        await asyncio.sleep(0.1)
    load.stop()
    await asyncio.wait_for(load.finished.wait(), END_SECONDS)
    figures = load.records.figures()
    with capsys.disabled():
        print(
            f"\nslow release: weight back {report['weight_back_seconds']:.2f} s after the scrape that showed "
            f"it, seen by {report['seen']}; clients: {figures.failures} of "
            f"{figures.requests + figures.streams} failed\n"
            f"  {report['reason']}"
        )
    assert "p95" in report["reason"]
    assert report["weight_back_seconds"] < WEIGHT_BACK_SECONDS
    assert load.records.figures(ended).failures == 0, "nobody sees it once the weight is back"
    status = platform.penstock_json("release", "status")
    assert status["settled"] is True
    assert status["live"] == {"blue": 100, "green": 0}


COPIES, TEXTS = 30, 15
"""The load's streams alone are asked at temperature 0; most of its requests have no text to compare."""


@pytest.fixture
def copies_waited_for(platform: Platform) -> Iterator[bytes]:
    """A release waits for so many copies of requests. The setting is the command's alone: nothing is deployed."""
    before = platform.stack_file.read_bytes()
    text = before.decode().replace("minCopies: 0", f"minCopies: {COPIES}").replace("minTexts: 0", f"minTexts: {TEXTS}")
    platform.stack_file.write_text(text)
    yield before
    platform.stack_file.write_bytes(before)


def compared(platform: Platform) -> dict[str, float]:
    """What blue's gateways counted of copies, by what was compared and how it came out."""
    found: dict[str, float] = {}
    for pod in json.loads(platform.run("kubectl", "-n", NAMESPACE, "get", "pods", "-o", "json").stdout)["items"]:
        labels = pod["metadata"]["labels"]
        if (labels.get("app.kubernetes.io/name"), labels.get("penstock.dev/colour")) != ("gateway", "blue"):
            continue
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/metrics", timeout=30) as reply:
            text = reply.read().decode()
        for line in text.splitlines():
            if line.startswith("penstock_shadow_compared_total{"):
                labels = dict(re.findall(r'(\w+)="(\w+)"', line))
                name = f"{labels['what']} {labels['same']}"
                found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
    return found


async def until_compared(platform: Platform, what: str, count: float) -> dict[str, float]:
    while (found := await asyncio.to_thread(compared, platform)).get(what, 0.0) < count:  # noqa: ASYNC110 - gateways count
        await asyncio.sleep(0.5)
    return found


@pytest.mark.timeout(1100)
async def test_a_colour_that_says_other_things_gets_no_traffic_as_copies_of_requests_show(
    platform: Platform, load: Load, copies_waited_for: bytes, capsys: pytest.CaptureFixture[str]
):
    text = platform.stack_file.read_bytes()
    before = await asyncio.to_thread(compared, platform)
    different = before.get("text false", 0.0)
    after = await until_compared(platform, "text true", before.get("text true", 0.0) + 5)
    assert after.get("text false", 0.0) == different, "both colours say the same"

    with engines_with(PENSTOCK_SIM_SEED="7"):
        await until_compared(platform, "text false", different + 1)
        code, _, errors = await penstock(platform, "release", "promote", "--colour", "green", "--yes")
    with capsys.disabled():
        print(
            f"\ncopies of requests: {await asyncio.to_thread(compared, platform)}\n"
            f"  {errors.strip().splitlines()[-1][:300]}"
        )
    assert code == 1, errors
    assert "texts of copies" in errors
    load.stop()
    await asyncio.wait_for(load.finished.wait(), END_SECONDS)
    figures = load.records.figures()
    assert figures.failures == 0, figures.reasons
    assert set(figures.colours) == {"blue"}
    assert platform.penstock_json("release", "status")["live"] == {"blue": 100, "green": 0}
    assert platform.stack_file.read_bytes() == text


@pytest.mark.timeout(1100)
@pytest.mark.usefixtures("stack_file_restored")
def test_a_promotion_that_is_killed_in_its_update_is_told_and_taken_back_without_drift(platform: Platform):
    before = platform.stack_file.read_bytes()
    access = Context(checkout=CHECKOUT).open("local")
    way, balancer = traffic.route(access.state()), access.aws("elbv2")
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.ops.cli", "release", "promote", "--yes"],
        cwd=CHECKOUT,
        env=os.environ | platform.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while traffic.live_weights(balancer, way).green == 0:
        assert process.poll() is None, "it is killed while it works"
        time.sleep(0.05)
    process.kill()  # the load balancer has the new weights, and the update has not ended
    process.wait(10)

    status = platform.penstock_json("release", "status")
    assert status["release"]["outcome"] == "open"
    assert "rollback` goes back" in status["advice"]
    done = platform.penstock_json("release", "rollback", "--yes")
    assert done["outcome"] == "rolled back"
    assert platform.penstock_json("release", "status")["settled"] is True
    assert platform.stack_file.read_bytes() == before
    platform.penstock("preview", "--expect-no-changes")


def test_without_the_secret_a_request_cannot_choose_its_colour(platform: Platform):
    assert platform.penstock_json("release", "status")["live"] == {"blue": 100, "green": 0}
    body = {"model": platform.endpoint.models[0], "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    for headers in ({"x-penstock-colour": "green"}, {"x-penstock-colour": "green", "x-penstock-probe": "guess"}):
        with request(platform.endpoint, "POST", "/v1/chat/completions", body, headers=headers) as response:
            assert response.getheader("x-penstock-colour") == "blue"
