"""The gate before a colour's first traffic: copies of requests, compared by the live colour's gateways."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace as Box

import pytest
from prometheus_client import generate_latest

from app.gateway.config import GatewayConfig, KeyFile
from app.gateway.log import Log
from app.gateway.service import Service
from app.gateway.shadow.compare import Answer
from app.gateway.shadow.mirror import Copy, Mirror
from infra.ops.errors import PenstockError
from infra.ops.progress import Progress
from infra.ops.release.gate import Limits
from infra.ops.release.samples import Sample, ShadowSample, histogram, read
from infra.ops.release.shadow import CopyLimits, CopyWatch, judge

BOUNDS = (0.01, 0.1, 1.0)


def limits(min_copies: int = 50, text_margin: float = 0.02) -> CopyLimits:
    return CopyLimits(Limits(0.01, 0.05, min_requests=50, min_streams=20, alpha=0.01), text_margin, min_copies)


def times(quick: int, slow: int = 0):
    return histogram(BOUNDS, [0.005] * quick + [0.5] * slow)


def test_copies_that_fail_are_the_new_colours_doing():
    verdict = judge(ShadowSample(failed=30, compared=100), limits())
    assert verdict.state == "bad"
    assert verdict.reasons("bad")[0].startswith("errors of copies: 30 of 100")


def test_a_colour_waits_until_enough_copies_were_compared():
    assert judge(ShadowSample(compared=49), limits()).state == "waiting"
    assert judge(ShadowSample(compared=50), limits()).state == "good"


def test_copies_whose_first_event_comes_late_are_found():
    sample = ShadowSample(compared=200, original=times(195, 5), copy=times(100, 100))
    verdict = judge(sample, limits())
    assert verdict.state == "bad"
    assert "TTFT p95 of copies" in verdict.reasons("bad")[0]
    assert judge(ShadowSample(compared=200, original=times(195, 5), copy=times(195, 5)), limits()).state == "good"


def test_texts_may_differ_by_the_margin_and_not_by_more():
    assert judge(ShadowSample(compared=100, texts=100, texts_differ=40), limits()).state == "bad"
    assert judge(ShadowSample(compared=100, texts=100, texts_differ=40), limits(text_margin=1.0)).state == "good"


def test_a_colour_waits_for_texts_too_where_they_are_asked_for():
    """Most requests are not asked at temperature 0: many copies may be compared before a single text is."""
    given = replace(limits(), min_texts=5)
    assert judge(ShadowSample(compared=500), given).state == "waiting"
    assert judge(ShadowSample(compared=500, texts=4), given).state == "waiting"
    assert judge(ShadowSample(compared=500, texts=5), given).state == "good"
    assert judge(ShadowSample(compared=500), limits()).state == "good", "unless nobody asks for them"


def test_what_a_gateway_writes_of_copies_is_what_the_release_reads():
    config = GatewayConfig.model_validate(
        {
            "colour": "blue",
            "namespace": "penstock",
            "models": [{"name": "tiny", "selector": "a=b", "context_tokens": 100, "max_output_tokens": 10}],
            "shadow": {"share_percent": 1, "targets": [{"model": "tiny", "selector": "a=c"}]},
        }
    )
    service = Service(config, KeyFile.model_construct(keys=(), admins=()), Log(), loop=Box())  # ty: ignore[invalid-argument-type]
    assert config.shadow is not None
    mirror = Mirror(service, config.shadow)
    for answer in (Answer(200, 1.0, 0.3, 5, "a"), Answer(200, 1.0, 0.3, 6, "b"), Answer(0)):
        mirror.answered(Copy("tiny", b"/", b"id", b"{}", True, Answer(200, 0.5, 0.02, 5, "a")), answer)
    found = Sample(read(generate_latest(service.metrics.registry).decode())).shadow(["tiny"])
    assert (found.failed, found.compared, found.texts_differ, found.texts) == (1, 3, 1, 2)
    assert (found.original.total, found.copy.total) == (2, 2)
    assert (found.original.above(0.1), found.copy.above(0.1)) == (0, 2)


class FakeSource:
    """Each scrape the next figures of blue's gateway: (failed, compared) since its start; the last ones stay."""

    def __init__(self, *looks: tuple[int, int] | None) -> None:
        self.looks = list(looks)

    def scrape(self) -> Mapping[str, Mapping[str, Mapping[tuple[str, ...], float]]]:
        figures = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if figures is None:
            raise PenstockError("the cluster did not answer.")
        failed, compared = figures
        counters = {("shadow_status", "m", "true"): compared - failed, ("shadow_status", "m", "false"): failed}
        return {"blue": {"gateway-1": {key: float(value) for key, value in counters.items()}}, "green": {}}

    def healthy(self, colour: str) -> int:
        return 1


def watched(*looks: tuple[int, int] | None, wait_seconds: float = 30.0):
    clock = Box(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += max(seconds, 0.5)

    source = FakeSource(*looks)
    watch = CopyWatch(source, limits(), ["m"], wait_seconds, Progress(quiet=True), lambda: clock.now, sleep)
    return watch.watch("green")


def test_only_what_is_compared_from_now_on_counts():
    assert watched((500, 900), (500, 930), (500, 960)).state == "good"
    assert watched((0, 900), (30, 960)).state == "bad"


@pytest.mark.parametrize(
    ("looks", "words"),
    [(((0, 900), (0, 910)), "50 samples of each colour are needed"), (((0, 9), None), "the cluster did not answer.")],
)
def test_too_few_copies_for_too_long_are_told(looks: tuple, words: str):
    found = watched(*looks)
    assert found.state == "short"
    assert words in found.reason
