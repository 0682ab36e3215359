"""A model without engines on the running platform: its requests wait in the gateways until an engine is there.

KEDA is not on this machine (docs/autoscaling.md); what it would do is done by hand, with the formula that it is given.
tests/operators/test_keda.py has the real one scale from such a figure.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from components.scaling import replicas_for
from infra.ops.endpoint import Endpoint, request
from infra.ops.load.generator import PAST_THE_CACHES
from tests.local.conftest import Platform

pytestmark = [pytest.mark.local, pytest.mark.timeout(300)]

MODEL, NAMESPACE = "embed", "penstock"
REQUESTS, TARGET, CEILING = 6, 4, 3
SECONDS = 90.0


class Engines:
    """Of MODEL and the colour that is live."""

    def __init__(self, platform: Platform) -> None:
        live = platform.penstock_json("release", "status")["live"]
        self.platform, self.colour = platform, max(live, key=live.get)
        self.name = f"engine-{MODEL}-{self.colour}"

    def pods(self, app: str) -> list[dict[str, Any]]:
        labels = f"app.kubernetes.io/name={app},penstock.dev/colour={self.colour}"
        found = self.platform.run("kubectl", "-n", NAMESPACE, "get", "pods", "-l", labels, "-o", "json")
        return json.loads(found.stdout)["items"]

    def count(self) -> int:
        return sum(pod["metadata"]["name"].startswith(self.name) for pod in self.pods("engine"))

    def scale(self, replicas: int) -> None:
        self.platform.run("kubectl", "-n", NAMESPACE, "scale", f"deployment/{self.name}", f"--replicas={replicas}")

    def demand(self) -> float:
        """As KEDA sums it up: over all gateways of the colour."""
        total = 0.0
        for pod in self.pods("gateway"):
            with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/metrics", timeout=30) as reply:
                lines = reply.read().decode().splitlines()
            total += sum(
                float(line.rpartition(" ")[2])
                for line in lines
                if line.startswith("penstock_demand{") and f'model="{MODEL}"' in line
            )
        return total


@pytest.fixture
def engines(platform: Platform) -> Iterator[Engines]:
    found = Engines(platform)
    before = found.count()
    assert before, "the program has engines of it"
    yield found
    found.scale(before)
    until(lambda: found.count() == before, "as many engines as before")


def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.25)


def vector_of(endpoint: Endpoint, text: str) -> list[float]:
    ask = {"model": MODEL, "input": text}
    with request(endpoint, "POST", "/v1/embeddings", ask, SECONDS, PAST_THE_CACHES) as answer:
        return json.load(answer)["data"][0]["embedding"]


def test_requests_wait_at_the_gateways_and_their_demand_brings_the_engines_that_answer_them(
    platform: Platform, engines: Engines
):
    engines.scale(0)
    until(lambda: engines.count() == 0, "the last engine has gone")
    with ThreadPoolExecutor(REQUESTS) as threads:
        answers = [
            threads.submit(vector_of, platform.endpoint, f"a penstock carries water to turbine {number}")
            for number in range(REQUESTS)
        ]
        until(lambda: engines.demand() == REQUESTS, "all requests wait, and are counted")
        assert not any(answer.done() for answer in answers), "nobody was sent away"
        wanted = replicas_for(REQUESTS, TARGET, 0, CEILING)
        assert wanted == 2
        engines.scale(wanted)
        for answer in answers:
            assert answer.result(SECONDS)
    until(lambda: engines.demand() == 0, "no demand is left")
