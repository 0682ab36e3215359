"""Workloads of published traces, sweeps, the knee and the report."""

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.ops.commands.load import WORKLOAD_NAMES
from infra.ops.endpoint import GatewayError
from infra.ops.errors import PenstockError, UsageError
from infra.ops.load.buckets import Buckets
from infra.ops.load.generator import Load, Plan
from infra.ops.load.knee import Step, knee, knee_in_words
from infra.ops.load.measure import tokens_of
from infra.ops.load.plots import within
from infra.ops.load.records import Records, Stream, percentile
from infra.ops.load.report import Told, page, write
from infra.ops.load.sweep import rates_of, sweep
from infra.ops.load.workloads import QUANTILES, WORKLOADS, Tokens, asks, at, gaps, mean
from tests.unit.ops.fake_gateway import events

TOLD = Told("Load on tiny", {"when": "2026-11-21 10:00 UTC", "sent": "<5 requests/s>"})


def test_the_command_offers_every_workload():
    assert tuple(WORKLOADS) == WORKLOAD_NAMES


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workloads_lengths_are_spread_as_its_trace_is(name: str):
    workload = WORKLOADS[name]
    sent = list(itertools.islice(asks(workload, seed=7), 1500))

    for lengths, drawn in (
        (workload.prompt_tokens, [each.prompt_tokens for each in sent]),
        (workload.output_tokens, [each.output_tokens for each in sent]),
    ):
        assert list(lengths) == sorted(lengths)
        assert statistics.mean(drawn) == pytest.approx(mean(lengths), rel=0.2)
        for quantile in (0.25, 0.75):
            assert percentile(drawn, 100 * quantile) == pytest.approx(at(lengths, quantile), rel=0.25)


def test_the_same_seed_sends_the_same_and_another_seed_does_not():
    first, again, other = (list(itertools.islice(asks(WORKLOADS["chat"], seed), 5)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_prompts_are_as_long_as_the_model_itself_counts_them(gateway):
    def counting() -> bytes:
        words = gateway.requests[-1]["messages"][0]["content"].split()
        return json.dumps({"usage": {"prompt_tokens": 7 + len(words) * 5 // 2}}).encode()

    gateway.reply = counting
    tokens = tokens_of(gateway.endpoint, "tiny")
    sent = list(itertools.islice(asks(WORKLOADS["chat"], 1, most_tokens=1000, tokens=tokens), 300))

    assert tokens == Tokens(2.5, 7)
    assert max(7 + 2.5 * len(each.prompt.split()) + each.output_tokens for each in sent) <= 1000
    assert any(7 + 2.5 * len(each.prompt.split()) + each.output_tokens > 990 for each in sent)


def test_a_model_that_counts_nothing_is_named(gateway):
    with pytest.raises(GatewayError, match="tiny counts as many tokens"):
        tokens_of(gateway.endpoint, "tiny")


def test_prompts_begin_as_others_do_and_end_as_none_does():
    sent = list(itertools.islice(asks(WORKLOADS["chat"], seed=3), 200))

    assert len({each.prompt for each in sent}) == len(sent)
    beginnings = [" ".join(each.prompt.split()[:20]) for each in sent if each.prompt_tokens > 200]
    assert len(set(beginnings)) <= 8 < len(beginnings)


@given(st.integers(2, 5000), st.sampled_from(sorted(WORKLOADS)), st.integers(0, 1000))
def test_a_request_fits_the_context_that_it_is_told(most: int, name: str, seed: int):
    for ask in itertools.islice(asks(WORKLOADS[name], seed, scale=0.05, most_tokens=most), 5):
        assert ask.prompt_tokens >= 1
        assert ask.output_tokens >= 1
        assert ask.prompt_tokens + ask.output_tokens <= most
        assert abs(len(ask.prompt.split()) - ask.prompt_tokens) <= 1


@given(st.floats(0, 1))
def test_a_length_lies_between_its_neighbouring_quantiles(share: float):
    lengths = WORKLOADS["chat"].prompt_tokens
    upper = next(index for index, known in enumerate(QUANTILES) if share <= known)

    assert lengths[max(0, upper - 1)] <= at(lengths, share) <= lengths[upper]


@pytest.mark.parametrize("cv", [0.0, 1.0, 3.0])
def test_arrivals_keep_their_rate_and_their_burstiness(cv: float):
    drawn = list(itertools.islice(gaps(10.0, cv, seed=5), 60_000))

    assert statistics.mean(drawn) == pytest.approx(0.1, rel=0.1)
    assert statistics.pstdev(drawn) / statistics.mean(drawn) == pytest.approx(cv, rel=0.15, abs=1e-9)


@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=200), st.sampled_from([50.0, 95.0, 99.0]))
def test_a_percentile_in_buckets_is_within_five_per_cent(values: list[float], percent: float):
    buckets = Buckets()
    for value in values:
        buckets.add(value)
    exact, found = percentile(values, percent), buckets.percentile(percent)

    assert exact is not None
    assert found is not None
    assert exact * 0.999 <= found <= exact * 1.051


async def test_an_open_loop_sends_streams_at_their_times(gateway):
    load = Load(gateway.endpoint, Plan("tiny", rate=40, seconds=1.0, workload=WORKLOADS["chat"], scale=0.01))
    records = await load.run()
    figures = records.figures()

    assert figures.failures == 0, figures.reasons
    assert 20 <= figures.streams <= 65
    assert figures.requests == 0
    assert figures.itl_p99 is not None
    assert set(records.gaps) == {"blue"}


async def test_clients_of_a_closed_loop_wait_for_their_answers(gateway):
    plan = Plan("tiny", seconds=0.6, workload=WORKLOADS["chat"], scale=0.01, clients=3, think_seconds=0.05)
    load = Load(gateway.endpoint, plan)
    running = asyncio.create_task(load.run())
    most = 0
    while not running.done():
        most = max(most, load.open_streams)
        await asyncio.sleep(0.005)

    assert (await running).figures().streams > 3
    assert most <= 3


def test_clients_without_a_workload_are_refused(gateway):
    with pytest.raises(UsageError, match=r"--clients needs --workload; allowed: chat, code, long"):
        Load(gateway.endpoint, Plan("tiny", clients=2))


async def test_a_sweep_tries_each_rate_and_finds_no_knee_in_a_fast_gateway(gateway):
    plan = Plan("tiny", seconds=0.5, workload=WORKLOADS["chat"], scale=0.01)
    begun: list[float] = []

    done = await sweep(gateway.endpoint, plan, (10.0, 20.0), lambda rate, load: begun.append(rate))

    assert begun == [step.rate for step in done.steps] == [10.0, 20.0]
    assert all(step.failed == 0 and step.sent for step in done.steps)


async def test_a_sweep_ends_with_the_run_that_was_stopped(gateway):
    plan = Plan("tiny", seconds=30, workload=WORKLOADS["chat"], scale=0.01)

    def stop_soon(rate: float, load: Load) -> None:
        asyncio.get_running_loop().call_later(0.2, load.stop)

    done = await sweep(gateway.endpoint, plan, (10.0, 20.0), stop_soon)

    assert [step.rate for step in done.steps] == [10.0]


@pytest.mark.parametrize("text", ["", "a", "5,5", "10,5", "0,5", "-1", ",".join(str(n) for n in range(1, 23))])
def test_rates_that_do_not_rise_are_refused(text: str):
    with pytest.raises(UsageError, match="--sweep"):
        rates_of(text)


STEP = Step(
    rate=10, sent=100, failed=0, seconds=10, tokens=1000, ttft_p50=0.1, ttft_p95=0.2,
    itl_p50=0.01, itl_p95=0.02, itl_p99=0.03, latency_p50=1.0, latency_p95=2.0,
)  # fmt: skip


def test_the_knee_is_the_last_rate_before_it_fails_or_slows():
    slow, failing = replace(STEP, rate=40, ttft_p95=0.7), replace(STEP, rate=40, failed=2)

    assert knee([STEP, replace(STEP, rate=20, ttft_p95=0.5), slow]) == 20
    assert knee([STEP, failing]) == 10
    assert knee([STEP, failing, replace(STEP, rate=80)]) == 10, "a rate beyond a gap says nothing"
    assert knee([replace(STEP, failed=2)]) is None
    assert knee([]) is None


def test_a_sweep_that_never_was_too_much_has_no_knee():
    slow = replace(STEP, rate=40, ttft_p95=0.7)

    assert knee_in_words([STEP, slow]) == "knee at 10 requests a second"
    assert knee_in_words([STEP, replace(STEP, rate=20)]) == "no knee up to 20 requests a second"
    assert knee_in_words([replace(STEP, failed=2)]) == "knee below the lowest rate"


def test_the_gaps_of_a_colour_are_drawn_to_their_last():
    gaps = Buckets()
    for seconds in (0.01, 0.01, 0.02, 0.5):
        gaps.add(seconds)

    times, shares = within(gaps)

    assert shares == [0.5, 0.75, 1.0]
    assert times[-1] == 500
    assert times[0] == pytest.approx(10, rel=0.05)


def some_records() -> Records:
    records = Records()
    for number in range(40):
        colour = ("blue", "green")[number % 2]
        records.streams.append(Stream(number / 10, 0.02 + number / 1000, 0.5, 20, colour))
        records.gaps.setdefault(colour, Buckets()).add(0.01)
    records.streams.append(Stream(4.0, None, 0.1, 0, "green", "HTTP 500: <script>alert(1)</script>"))
    return records


def test_a_report_is_a_page_with_its_pictures_inside(tmp_path: Path):
    path = write(tmp_path / "new" / "folder", TOLD, some_records(), [STEP, replace(STEP, rate=20)])

    text = path.read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "http" not in text.replace("HTTP 500", ""), "the page asks for nothing from elsewhere"
    for name in ("rates", "seconds", "colours"):
        assert (path.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((path.parent / "report.json").read_text())
    assert told["knee"] == 20
    assert told["streams"] == 41


def test_what_a_gateway_answers_cannot_become_part_of_the_page():
    text = page(TOLD, some_records(), (), {"seconds": b"", "colours": b""})

    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;5 requests/s&gt;" in text


def test_a_report_of_nothing_but_failures_can_be_written(tmp_path: Path):
    records = Records(streams=[Stream(0.0, None, 0.1, 0, "", "HTTP 503: no")])

    assert "HTTP 503: no" in write(tmp_path, TOLD, records).read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(PenstockError, match="cannot be written"):
        write(tmp_path / "file", TOLD, some_records())


async def test_a_stall_inside_a_stream_is_measured(gateway):
    def stalling() -> Iterator[bytes]:
        for number, event in enumerate(events(tokens=3)):
            if number == 4:
                time.sleep(0.2)
            yield event

    gateway.stream = stalling
    load = Load(gateway.endpoint, Plan("tiny", rate=0, streams=1, seconds=0.1))
    figures = (await load.run()).figures()

    assert figures.failures == 0, figures.reasons
    assert figures.worst_stall is not None
    assert 0.15 < figures.worst_stall < 2
