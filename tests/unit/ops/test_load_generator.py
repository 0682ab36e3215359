import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.ops.endpoint import Endpoint
from infra.ops.errors import PenstockError, UsageError
from infra.ops.load.generator import Load, Plan, is_loopback
from infra.ops.load.reader import StreamReader
from infra.ops.load.records import OTHER_REASONS, Records, Request, Stream, percentile, reasons
from infra.ops.load.workloads import WORKLOADS
from tests.unit.ops.fake_gateway import events


async def test_a_run_sends_at_its_rate_and_keeps_its_streams_open(gateway):
    gateway.colours = ("blue", "green")
    load = Load(gateway.endpoint, Plan("tiny", rate=40, streams=3, seconds=1.0))
    figures = (await load.run()).figures()
    assert figures.failures == 0, figures.reasons
    assert 20 <= figures.requests <= 40, "an open loop sends what is due, and a busy machine not all of the end"
    assert figures.streams >= 6, "a stream that ended is opened again"
    assert figures.tokens == 3 * figures.streams
    assert set(figures.colours) == {"blue", "green"}
    assert figures.ttft_p99 is not None


async def test_refusals_are_counted_with_their_reason(gateway):
    gateway.status = 503
    load = Load(gateway.endpoint, Plan("tiny", rate=20, streams=1, seconds=0.4))
    figures = (await load.run()).figures()
    assert figures.failed_requests == figures.requests > 0
    assert figures.failed_streams == figures.streams > 0
    assert figures.cut_streams == 0, "a stream that never began was not cut"
    assert any("HTTP 503" in reason for reason in figures.reasons)


async def test_a_client_that_tries_again_fails_only_where_every_try_did(gateway, monkeypatch):
    monkeypatch.setattr("infra.ops.load.retry.FIRST_SECONDS", 0.1)
    load = Load(gateway.endpoint, Plan("tiny", rate=20, streams=1, seconds=0.5, retries=2))
    running = asyncio.create_task(load.run())
    gateway.status = 503
    await asyncio.sleep(0.1)
    gateway.status = 200
    records = await running
    retried = [one for one in (*records.requests, *records.streams) if one.retries]
    assert retried
    assert records.figures().failures == 0, records.figures().reasons


async def test_what_a_client_got_wrong_is_not_sent_again(gateway):
    gateway.status = 400
    load = Load(gateway.endpoint, Plan("tiny", rate=20, streams=0, seconds=0.3, retries=2))
    records = await load.run()
    assert {one.retries for one in records.requests} == {0}
    assert len(gateway.requests) == len(records.requests)


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        (events(done=False), "cut: no [DONE]"),
        (events(finish=None), "cut: no finish_reason"),
        (events(tokens=5, usage=3), "cut: 5 tokens came, usage says 3"),
        (events(tokens=3, usage=5), "cut: 3 tokens came, usage says 5"),
        ([*events()[:-2], b"data: [DONE]\n\n"], "cut: no usage"),
        ([b'data: {"error":{"message":"lost"}}\n\n', *events()], "error event"),
    ],
)
async def test_a_stream_that_is_not_whole_is_cut(gateway, chunks, fault):
    gateway.stream = lambda: chunks
    load = Load(gateway.endpoint, Plan("tiny", rate=0, streams=1, seconds=0.1))
    figures = (await load.run()).figures()
    assert figures.cut_streams == figures.streams > 0
    assert all(reason.startswith(fault) for reason in figures.reasons), figures.reasons


def answer(text="t0 t1 t2 ", tokens=3):
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": {"completion_tokens": tokens}}).encode()


async def run_with_text(gateway, chunks):
    gateway.reply, gateway.stream = answer, lambda: chunks
    load = Load(gateway.endpoint, Plan("tiny", rate=0, streams=1, seconds=0.1, same_text=True))
    return (await load.run()).figures()


async def test_streams_are_compared_with_an_answer_that_was_asked_for_beforehand(gateway):
    figures = await run_with_text(gateway, events(tokens=3))
    assert figures.failures == 0, figures.reasons
    assert [body["temperature"] for body in gateway.requests] == [0] * len(gateway.requests)


def content(text, finish=None):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        ([*events()[:4], content("t1 "), *events()[4:]], "cut: the text differs from character 7 on: '1 t2 ' instead"),
        ([*events()[:3], *events()[4:]], "cut: the text differs from character 4 on: '2 ' instead of '1 t2 '"),
        (events(usage=4), "cut: usage says 4 tokens, an undisturbed answer has 3"),
    ],
    ids=["twice", "lost", "usage"],
)
async def test_text_that_comes_twice_or_not_at_all_is_found(gateway, chunks, fault):
    figures = await run_with_text(gateway, chunks)
    assert figures.cut_streams == figures.streams > 0
    assert all(reason.startswith(fault) for reason in figures.reasons), figures.reasons


async def test_the_same_text_in_other_events_is_whole(gateway):
    one_more = [*events()[:2], content("t"), content("0 "), *events()[3:]]
    assert (await run_with_text(gateway, one_more)).failures == 0


async def test_a_run_that_cannot_compare_ends_before_it_begins(gateway, monkeypatch):
    monkeypatch.setattr("infra.ops.load.retry.FIRST_SECONDS", 0.01)
    gateway.status = 503
    with pytest.raises(PenstockError, match="HTTP 503"):
        await Load(gateway.endpoint, Plan("tiny", rate=9, streams=1, seconds=5, same_text=True)).run()


def test_a_stream_of_unknown_text_may_have_one_event_more_than_tokens_and_none_less():
    for tokens, whole in ((4, True), (3, True), (5, False), (2, False)):
        reader = StreamReader()
        for chunk in events(tokens=tokens, usage=3):
            reader.feed(chunk)
        assert (reader.fault() == "") is whole


async def eventually(reached):
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110 - another part of the program is watched
            await asyncio.sleep(0.01)


async def test_what_is_under_way_is_known_by_when_it_was_due(gateway):
    load = Load(gateway.endpoint, Plan("tiny", rate=20, streams=2, seconds=600))
    assert load.oldest is None
    running = asyncio.create_task(load.run())
    await eventually(lambda: load.records.streams)
    mark, since = load.records.mark(), load.now
    await eventually(lambda: load.oldest is not None and load.oldest > since)
    load.stop()
    await asyncio.wait_for(running, 10)
    assert load.oldest is None
    later = load.records.since(mark)
    assert 0 < len(later.streams) < len(load.records.streams)


async def test_a_gateway_that_is_not_there_is_counted_not_raised():
    load = Load(Endpoint("http://127.0.0.1:9", "k"), Plan("tiny", rate=10, streams=1, seconds=0.2))
    figures = (await load.run()).figures()
    assert figures.failures == figures.requests + figures.streams > 0


async def test_stop_ends_a_run_early_and_lets_open_streams_end(gateway):
    load = Load(gateway.endpoint, Plan("tiny", rate=10, streams=2, seconds=600))
    running = asyncio.create_task(load.run())
    await asyncio.sleep(0.2)
    load.stop()
    figures = (await asyncio.wait_for(running, 5)).figures()
    assert figures.failures == 0
    assert load.open_streams == 0


@given(st.lists(st.integers(1, 40), max_size=12))
@settings(max_examples=50)
def test_a_stream_reads_the_same_however_it_is_cut_into_chunks(sizes):
    content = b"".join(events(tokens=4))
    reader = StreamReader()
    for size in sizes:
        reader.feed(content[:size])
        content = content[size:]
    reader.feed(content)
    assert (reader.tokens, reader.fault()) == (4, "")


def test_token_ids_count_where_an_event_carries_several():
    reader = StreamReader()
    reader.feed(b'data: {"choices":[{"delta":{"content":"ab"},"token_ids":[1,2],"finish_reason":"stop"}]}\n\n')
    reader.feed(b'data: {"choices":[],"usage":{"completion_tokens":2}}\n\ndata: [DONE]\n\n')
    assert reader.fault() == ""


@pytest.mark.parametrize(
    ("plan", "url", "message"),
    [
        (Plan("m"), "http://203.0.113.7", "not on this machine"),
        (Plan("m", rate=9999), "http://127.0.0.1", "--rate is 9999; allowed: 0 to 5000"),
        (Plan("m", streams=-1), "http://127.0.0.1", "--streams"),
        (Plan("m", seconds=0), "http://127.0.0.1", "--seconds"),
        (Plan("m", workload=WORKLOADS["chat"], same_text=True), "http://127.0.0.1", "--same-text"),
        (Plan("m", rate=5000, seconds=3600), "http://127.0.0.1", "more than 1000000 requests"),
    ],
)
def test_a_plan_beyond_its_bounds_is_refused(plan, url, message):
    with pytest.raises(UsageError, match=message):
        plan.check(Endpoint(url, "k"))


def test_only_addresses_of_this_machine_are_loopback():
    assert is_loopback("http://127.9.3.1:8080")
    assert is_loopback("http://localhost")
    assert is_loopback("http://[::1]:80")
    assert not is_loopback("http://127.0.0.1.example.com")
    assert not is_loopback("https://gateway.example.com")


def test_figures_of_a_window_leave_out_what_is_not_in_it():
    records = Records(
        requests=[Request(0.5, 0.1, "blue"), Request(1.5, 0.3, "green"), Request(2.5, 9.0, "", "HTTP 500: x")],
        streams=[Stream(1.0, 0.2, 3.0, 8, "green"), Stream(5.0, None, 0.1, 0, "", "cut: no [DONE]", cut=True)],
    )
    window = records.figures(1.0, 2.0)
    assert (window.requests, window.streams, window.failures) == (1, 1, 0)
    assert window.share("green") == 1.0
    whole = records.figures()
    assert (whole.failed_requests, whole.failed_streams, whole.cut_streams) == (1, 1, 1)
    assert whole.latency_p99 == 0.3, "a failed request has no latency"
    assert records.by_second()[0] == {"second": 0, "failed": 0, "blue": 1}
    assert records.figures(100).share("blue") == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 100))
def test_a_percentile_is_a_measured_value_with_enough_at_or_below_it(values, percent):
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9


def test_rare_reasons_are_summed():
    counted = reasons([f"reason {'x' * number}" for number in range(30)] + ["reason x", ""])
    assert len(counted) == 21
    assert counted["reason x"] == 2
    assert counted[OTHER_REASONS] == 10


def test_reasons_that_differ_in_numbers_alone_are_one_as_it_came_first():
    assert reasons(["asked for 79 of 64", "asked for 80 of 64", "refused"]) == {"asked for 79 of 64": 2, "refused": 1}
