"""The gate's statistics: bounds that hold at every look, few false alarms, and power against what matters."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.ops.release.gate import Count, Limits, judge, lower_bound, p95_bound, upper_bound
from infra.ops.release.samples import FAILED, ITL, REQUESTS, TTFT, Histogram, Key, Sample, Window, histogram, read

TTFT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ITL_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
LIMITS = Limits(error_margin=0.01, slow_margin=0.05, min_requests=50, min_streams=20, alpha=0.01)


class Colour:
    """Adds up what its gateways would count. Times in seconds; `model` has one name."""

    def __init__(self, seed: int, errors: float = 0.0, slow: float = 1.0, model: str = "m") -> None:
        self.random = random.Random(seed)
        self.errors, self.slow, self.model = errors, slow, model
        self.requests = self.failed = 0
        self.ttft: list[float] = []
        self.itl: list[float] = []

    def serve(self, requests: int) -> None:
        """Every second request is a stream of 20 gaps that share the luck of their engine's batch."""
        for number in range(requests):
            self.requests += 1
            self.failed += self.random.random() < self.errors
            if number % 2:
                self.ttft.append(self.slow * self.random.lognormvariate(-2.5, 0.5))
                luck = self.random.lognormvariate(0, 0.4)
                self.itl += [self.slow * 0.012 * luck * self.random.uniform(0.8, 1.2) for _ in range(20)]

    def sample(self) -> Sample:
        counters: dict[Key, float] = {
            (REQUESTS, self.model): float(self.requests),
            (FAILED, self.model): float(self.failed),
        }
        for kind, bounds, values in ((TTFT, TTFT_BOUNDS, self.ttft), (ITL, ITL_BOUNDS, self.itl)):
            buckets = histogram(bounds, values)
            rising = itertools.accumulate(buckets.counts)
            counters |= {
                (kind, self.model, str(top)): float(up) for top, up in zip(buckets.bounds, rising, strict=True)
            }
        return Sample(counters)


def looks(live: Colour, new: Colour, share: float, count: int, each: int = 100) -> list[str]:
    """States at each of `count` looks; `each` requests of both colours between two."""
    states = []
    for _ in range(count):
        new.serve(round(each * share))
        live.serve(each - round(each * share))
        states.append(judge(live.sample(), new.sample(), LIMITS, ["m"]).state)
        if states[-1] == "bad":
            break
    return states


@pytest.mark.parametrize(("errors", "share"), [(0.0, 0.05), (0.02, 0.25), (0.2, 0.5)])
def test_an_equal_colour_is_hardly_ever_called_bad_however_often_one_looks(errors: float, share: float):
    runs = 25
    alarms = sum(
        "bad" in looks(Colour(seed, errors), Colour(seed + 1000, errors), share, count=12) for seed in range(runs)
    )
    assert alarms == 0, "1 % is allowed over all looks; with 25 runs one alarm would have a chance of 22 %, two of 3 %"


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_colour_within_the_margin_is_not_called_bad(share: float):
    for seed in range(10):
        assert "bad" not in looks(Colour(seed, 0.01), Colour(seed + 500, 0.02), share, count=12)


@pytest.mark.parametrize(
    ("errors", "slow", "most_looks"),
    [(1.0, 1.0, 3), (0.3, 1.0, 6), (0.08, 1.0, 30), (0.0, 4.0, 10), (0.0, 10.0, 8)],
)
def test_a_bad_colour_is_found_with_a_twentieth_of_the_traffic(errors: float, slow: float, most_looks: int):
    found = [looks(Colour(seed), Colour(seed + 99, errors, slow), 0.1, count=most_looks)[-1] for seed in range(10)]
    assert found.count("bad") >= 9


def test_a_colour_is_good_only_with_enough_samples_of_both():
    live, new = Colour(1), Colour(2)
    live.serve(5000)
    new.serve(49)
    assert judge(live.sample(), new.sample(), LIMITS, ["m"]).state == "waiting"
    new.serve(51)
    assert judge(live.sample(), new.sample(), LIMITS, ["m"]).state == "good"
    assert judge(Sample(), new.sample(), LIMITS, ["m"]).state == "waiting", "nothing to compare with is not good"
    assert judge(live.sample(), Sample(), LIMITS, ["m"]).state == "waiting"


def test_a_colour_beyond_the_margin_waits_while_it_is_not_sure():
    live, new = Colour(1), Colour(2)
    live.serve(1000)
    new.serve(100)
    new.failed = 2
    verdict = judge(live.sample(), new.sample(), LIMITS, ["m"])
    assert verdict.state == "waiting"
    assert any("not yet sure" in reason for reason in verdict.reasons("waiting"))


def test_a_rare_models_failure_is_seen_though_all_models_together_look_well():
    def both(rare_failed: int) -> Sample:
        many, rare = Colour(3, model="many"), Colour(4, model="rare")
        many.serve(20_000)
        rare.serve(60)
        rare.failed = rare_failed
        return Sample({**many.sample().counters, **rare.sample().counters})

    verdict = judge(both(0), both(50), LIMITS, ["many", "rare"])
    assert verdict.state == "bad"
    assert [one.rule for one in verdict.findings if one.state == "bad"] == ["errors of rare"]
    assert judge(both(0), both(0), LIMITS, ["many", "rare", "idle"]).state == "good", "an idle model holds nothing"


@given(total=st.integers(0, 5000), bad=st.integers(0, 5000), alpha=st.floats(1e-9, 0.2))
def test_bounds_hold_the_observed_share_between_them(total: int, bad: int, alpha: float):
    count = Count(min(bad, total), total)
    low, high = lower_bound(count, alpha), upper_bound(count, alpha)
    assert 0 <= low <= count.share + 1e-9
    assert count.share - 1e-9 <= high <= 1
    assert lower_bound(count, alpha / 10) <= low + 1e-9
    assert upper_bound(count, alpha / 10) >= high - 1e-9


@settings(max_examples=15)
@given(share=st.sampled_from([0.01, 0.1, 0.5]), seed=st.integers(0, 10_000))
def test_the_true_share_stays_within_its_bounds_at_every_look(share: float, seed: int):
    coin = random.Random(seed)
    bad = 0
    for total in range(1, 600):
        bad += coin.random() < share
        if total % 7 == 0:
            count = Count(bad, total)
            assert lower_bound(count, 1e-6) <= share <= upper_bound(count, 1e-6)


def test_the_95th_percentile_is_a_bucket_bound():
    assert p95_bound(Histogram()) is None
    assert p95_bound(histogram((0.1, 0.5), [0.05] * 95 + [0.4] * 5)) == 0.1
    assert p95_bound(histogram((0.1, 0.5), [0.05] * 94 + [0.4] * 6)) == 0.5


SCRAPE = """\
# TYPE penstock_requests_total counter
penstock_requests_total{{model="m",code="200",stream="true"}} {good}
penstock_requests_total{{model="m",code="503",stream="false"}} {failed}
penstock_requests_total{{model="m",code="499",stream="false"}} 7
# TYPE penstock_interrupted_streams_total counter
penstock_interrupted_streams_total{{model="m"}} {cut}
# TYPE penstock_ttft_seconds histogram
penstock_ttft_seconds_bucket{{model="m",le="0.1"}} {fast}
penstock_ttft_seconds_bucket{{model="m",le="+Inf"}} {good}
penstock_ttft_seconds_sum{{model="m"}} 1
penstock_ttft_seconds_count{{model="m"}} {good}
"""


def test_a_window_counts_differences_over_a_gateways_restart():
    window = Window()
    window.feed("a", read(SCRAPE.format(good=100, failed=5, cut=1, fast=90)))
    assert window.sample().of("m").requests == 0, "what was before is not counted"
    window.feed("a", read(SCRAPE.format(good=110, failed=7, cut=2, fast=95)))
    sample = window.sample().of("m")
    assert (sample.requests, sample.failed) == (12, 3), "clients that left have not failed; a cut stream has"
    assert sample.ttft.counts == (5, 5)
    window.feed("a", read(SCRAPE.format(good=3, failed=0, cut=0, fast=3)))
    assert window.sample().of("m").requests == 12 + 3 + 7, "a restarted gateway counts from nothing"
    assert window.next().sample().of("m").requests == 0
