"""A stream survives its engine: another one goes on, and the client sees one stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app.gateway.choose import RetryBudget
from tests.gateway.broken_engines import Break, Model, abort, cut, end_early, stall, tell_error, told
from tests.gateway.harness import (
    CHAT,
    DONE,
    Client,
    Engine,
    Request,
    Running,
    Wire,
    draining,
    event,
    eventually,
    fails,
    hang,
    make_config,
    running,
)
from tests.gateway.resuming_cases import BODIES, CHAT_STREAM, TOKENS, ask, check_whole


async def metric(gateway: Running, outcome: str) -> float:
    return await gateway.metric(f'penstock_resumed_streams_total{{outcome="{outcome}"}}')


@pytest.mark.parametrize("strips", [False, True])
@pytest.mark.parametrize("route", ["chat", "completions"])
async def test_a_stream_that_is_cut_anywhere_goes_on_with_each_character_once(route: str, strips: bool):
    model = Model(TOKENS, strips=strips)
    async with running(Engine(model), Engine(model)) as gateway:
        body = BODIES[route]
        total = len(model.events(body, 0))
        for after in range(1, total):
            model.breaks = [(after, cut)]
            found = await ask(gateway, body)
            check_whole(found, model)
            assert found.roles == (route == "chat")
        assert len(model.bodies) == 2 * (total - 1) - 1, "the last time only [DONE] was missing"
        assert (await metric(gateway, "resumed"), await metric(gateway, "completed")) == (total - 2, 1)
        assert await gateway.metric('penstock_stream_stall_seconds_count{model="tiny"}') == total - 2
        line = gateway.requests[-2]
        assert (line["outcome"], line["resumed"], line["output_tokens"]) == ("ok", 1, len(TOKENS))
        assert line["input_tokens"] == model.prompt_tokens
        assert not line["estimated"]
        assert 0 < line["stall_ms"] < 2000
        states = gateway.service.targets["tiny"].pool.engines.values()
        assert [(engine.in_flight, engine.probes) for engine in states] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("breaks", [cut, stall, end_early, tell_error, abort])
async def test_however_an_engine_is_lost_another_one_goes_on(breaks: Break):
    model = Model(TOKENS, breaks=[(5, breaks)])
    config = make_config(timeouts={"between_bytes_seconds": 0.15})
    async with running(Engine(model), Engine(model), config=config) as gateway:
        check_whole(await ask(gateway), model)
        assert sum(engine.failures for engine in gateway.service.targets["tiny"].pool.engines.values()) == 1


async def test_the_engine_that_goes_on_gets_the_text_so_far_and_the_rest_of_the_limit():
    model = Model(TOKENS, breaks=[(5, cut)])
    extra = {"temperature": 0.5, "seed": 3, "tools": [{"type": "function"}], "min_tokens": 10}
    async with running(Engine(model), Engine(model)) as gateway:
        assert (await ask(gateway, CHAT_STREAM | extra)).text == model.text
        first, second = model.bodies
        assert second["messages"] == [*first["messages"], {"role": "assistant", "content": "Nothing is lost:"}]
        assert (second["continue_final_message"], second["add_generation_prompt"]) == (True, False)
        assert (second["max_tokens"], second["min_tokens"]) == (96, 6)
        changed = {"messages", "continue_final_message", "add_generation_prompt", "max_tokens", "min_tokens"}
        assert {k: v for k, v in second.items() if k not in changed} == {
            k: v for k, v in first.items() if k not in changed
        }


async def test_two_engines_are_lost_in_one_stream():
    model = Model(TOKENS, breaks=[(4, cut), (8, tell_error)])
    async with running(Engine(model), Engine(model)) as gateway:
        check_whole(await ask(gateway), model)
        assert gateway.requests[0]["resumed"] == 2


async def test_the_number_of_continuations_is_bounded_and_the_usage_so_far_is_told():
    model = Model(TOKENS, breaks=[(4, cut), (3, cut), (3, cut)])
    async with running(Engine(model), Engine(model)) as gateway:
        found = await ask(gateway)
        assert found.error is not None
        assert (found.error["error"]["type"], found.error["error"]["retryable"]) == ("upstream_interrupted", True)
        assert found.text == "Nothing is lost: 12 ms"
        assert found.error["usage"]["completion_tokens"] == 7
        assert found.done == 0
        line = gateway.requests[0]
        assert (line["resumed"], line["not_resumed"], line["output_tokens"]) == (2, "attempts", 7)
        assert await metric(gateway, "failed") == 1


async def test_without_another_engine_the_client_is_told():
    model = Model(TOKENS, breaks=[(4, cut)])
    async with running(Engine(model)) as gateway:
        found = await ask(gateway)
        assert found.error is not None
        assert found.error["usage"] == {"prompt_tokens": 17, "total_tokens": 20, "completion_tokens": 3}
        assert await metric(gateway, "no_engine") == 1
        assert await gateway.metric('penstock_interrupted_streams_total{model="tiny"}') == 1


@pytest.mark.parametrize("answer", [fails(500), fails(503), draining, fails(400)])
async def test_an_engine_that_refuses_to_go_on_is_passed_over(answer: Any):
    model = Model(TOKENS)
    first, bad, good = Engine(model), Engine(), Engine(model)

    async def broken(request: Request, wire: Wire) -> None:
        bad.answer, first.answer = answer, model
        model.breaks = [(4, cut)]
        gateway.service.targets["tiny"].pool.engines[f"127.0.0.1:{good.port}"].in_flight += 50
        await model(request, wire)

    async with running(first, bad, good) as gateway:
        pool = gateway.service.targets["tiny"].pool
        for engine in pool.engines.values():
            engine.in_flight = 0 if engine.port == first.port else 9
        first.answer = broken
        found = await ask(gateway)
        assert len(bad.requests) == 1
        if answer.__closure__ and 400 in [cell.cell_contents for cell in answer.__closure__]:
            assert found.error is not None, "a request that one engine calls wrong is wrong for all"
            assert gateway.requests[0]["not_resumed"] == "refused"
        else:
            check_whole(found, model)


@pytest.mark.parametrize("room", [0, 1])
async def test_the_first_engine_asked_to_go_on_is_free_and_more_keep_to_the_share_of_retries(room: int):
    model = Model(TOKENS, breaks=[(4, cut)])
    first, bad, good = Engine(model), Engine(fails(500)), Engine(model)
    async with running(first, bad, good) as gateway:
        gateway.service.budget = RetryBudget(0.0, floor=room)
        pool = gateway.service.targets["tiny"].pool
        for engine, busy in ((bad, 5), (good, 50)):
            pool.engines[f"127.0.0.1:{engine.port}"].in_flight = busy
        found = await ask(gateway)
        assert len(bad.requests) == 1, "asked without a retry to spare"
        assert len(good.requests) == room
        if room:
            check_whole(found, model)
        else:
            assert found.error is not None
            assert gateway.requests[0]["not_resumed"] == "retry_budget"


async def test_an_engine_without_a_stream_is_no_continuation():
    async def plain(request: Request, wire: Wire) -> None:
        await wire.json(200, {"choices": []})

    model = Model(TOKENS, breaks=[(4, cut)])
    engines = [Engine(model), Engine(plain)]
    async with running(*engines) as gateway:
        pool = gateway.service.targets["tiny"].pool
        pool.engines[f"127.0.0.1:{engines[1].port}"].in_flight = 9
        found = await ask(gateway)
        assert found.text == "Nothing is lost"
        assert found.error is not None


async def test_a_stream_that_only_lacks_its_end_is_ended_without_another_engine():
    model = Model(TOKENS, breaks=[(len(TOKENS) + 1, cut)])
    async with running(Engine(model)) as gateway:
        check_whole(await ask(gateway), model, usage=False)
        line = gateway.requests[0]
        assert (line["outcome"], line["output_tokens"], line["estimated"]) == ("ok", len(TOKENS), True)
        assert await metric(gateway, "completed") == 1


@pytest.mark.parametrize("breaks", [cut, stall])
async def test_an_engine_that_is_lost_after_the_last_event_is_no_matter(breaks: Break):
    model = Model(TOKENS, breaks=[(len(TOKENS) + 3, breaks), (len(TOKENS) + 3, breaks)])
    config = make_config(timeouts={"between_bytes_seconds": 0.1})
    async with running(Engine(model), Engine(model), config=config) as gateway:
        check_whole(await ask(gateway), model)
        assert len(model.bodies) == 1
        assert gateway.requests[0]["outcome"] == "ok"


async def test_the_clients_connection_is_kept():
    model = Model(TOKENS, breaks=[(4, cut)])
    async with running(Engine(model), Engine(model)) as gateway:
        client = await gateway.connect()
        for _ in range(2):
            await client.send(Client.request(CHAT_STREAM))
            check_whole(told(await client.reply()), model)


async def test_comments_of_both_engines_are_passed_on():
    model = Model(TOKENS, breaks=[(4, cut)])

    async def with_comments(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(b": keep-alive\n\n")
        wire.begin_stream = _nothing
        await model(request, wire)

    async with running(Engine(with_comments), Engine(with_comments)) as gateway:
        reply = await gateway.ask(CHAT_STREAM)
        assert reply.body.count(b": keep-alive") == 2
        check_whole(told(reply), model)


async def _nothing() -> None: ...


@pytest.mark.parametrize("content", ["Nothing", [{"type": "text", "text": "Nothing"}]])
async def test_a_message_that_the_client_began_is_continued_further(content: Any):
    model = Model(TOKENS, breaks=[(3, cut)])
    messages = [*CHAT["messages"], {"role": "assistant", "content": "Nothing"}]
    given = CHAT_STREAM | {"continue_final_message": True, "add_generation_prompt": False}
    async with running(Engine(model), Engine(model)) as gateway:
        # The scripted engine reads plain content only: a list reaches it as the client gave it the second time.
        if isinstance(content, list):
            model.written = lambda body: _text(body["messages"][-1]["content"]).encode()
        messages[-1] = {"role": "assistant", "content": content}
        found = await ask(gateway, given | {"messages": messages})
        assert "Nothing" + found.text == model.text
        assert len(model.bodies[1]["messages"]) == len(messages)
        assert _text(model.bodies[1]["messages"][-1]["content"]) == "Nothing is lost"


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def test_a_tokens_text_that_an_engine_holds_back_for_a_stop_string_is_made_again():
    # With stop strings vLLM sends each token with text of so many characters before: here 1.
    text, lag = "Nothing is lost: 12 ms", 1
    tokens = ["Nothing", " is", " lost", ":", " 12", " ms"]

    async def answer(request: Request, wire: Wire) -> None:
        body = request.body
        written = body["messages"][-1]["content"] if body.get("continue_final_message") else ""
        rest = text[len(written) :]
        assert text.startswith(written)
        await wire.begin_stream()
        pieces, shown, made = [], 0, ""
        for token in tokens:
            start = text.index(token)
            if start + len(token) > len(written):
                pieces.append(text[max(start, len(written)) : start + len(token)])
        for number, piece in enumerate(pieces):
            made += piece
            last = number == len(pieces) - 1
            end = len(made) if last else max(len(made) - lag, shown)
            more = {"id": "x", "created": 1}
            choice = {"index": 0, "delta": {"content": rest[shown:end]}, "finish_reason": "stop" if last else None}
            await wire.chunk(event("", **more, choices=[choice]))
            shown = end
            if len(requests) == 0 and number == 3:
                requests.append(body)
                await cut(wire)
                return
        usage = {"prompt_tokens": 17 + 6 - len(pieces), "total_tokens": 23, "completion_tokens": len(pieces)}
        await wire.chunk(event("", choices=[], usage=usage) + DONE)
        await wire.end_stream()
        requests.append(body)

    requests: list[dict[str, Any]] = []
    async with running(Engine(answer), Engine(answer)) as gateway:
        found = await ask(gateway, CHAT_STREAM | {"stop": ["##", "$"]})
        assert found.text == text
        assert requests[1]["messages"][-1]["content"] == "Nothing is lost"
        assert requests[1]["max_tokens"] == 97, "the colon is made again"
        assert found.usages == [(17, 6)]


async def test_a_long_answer_is_kept_up_to_a_bound():
    model = Model([b" word"] * 500 + [b" end"], breaks=[(450, cut)])
    config = make_config(resume={"max_kept_bytes": 1000})
    async with running(Engine(model), Engine(model), config=config) as gateway:
        assert (await ask(gateway, CHAT_STREAM | {"max_tokens": 510})).error is not None
        assert gateway.requests[0]["not_resumed"] == "too_long"
        model.breaks = [(100, cut)]
        check_whole(await ask(gateway, CHAT_STREAM | {"max_tokens": 510}), model)


async def test_continuing_can_be_turned_off():
    model = Model(TOKENS, breaks=[(4, cut)])
    async with running(Engine(model), Engine(model), config=make_config(resume={"enabled": False})) as gateway:
        assert (await ask(gateway)).error is not None
        assert len(model.bodies) == 1


async def test_a_stream_that_took_its_whole_time_is_not_continued():
    model = Model(TOKENS, breaks=[(4, stall)])
    config = make_config(timeouts={"total_seconds": 0.2})
    async with running(Engine(model), Engine(model), config=config) as gateway:
        found = await ask(gateway)
        assert found.error is not None
        assert found.error["error"]["code"] == "timeout"
        assert len(model.bodies) == 1


async def test_an_error_that_is_the_clients_is_passed_on():
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        error = {"message": "bad image", "type": "BadRequestError", "param": None, "code": 400}
        await wire.chunk(event("a") + b"data: %b\n\n" % json.dumps({"error": error}).encode() + DONE)
        await wire.end_stream()

    async with running(one := Engine(answer), two := Engine(answer)) as gateway:
        found = await ask(gateway)
        assert found.error is not None
        assert (found.error["error"]["message"], found.error["error"]["retryable"]) == ("bad image", False)
        assert len(one.requests) + len(two.requests) == 1
        assert not any(engine.failures for engine in gateway.service.targets["tiny"].pool.engines.values())


@pytest.mark.parametrize("when", ["before its first byte", "inside its answer"])
async def test_a_client_that_leaves_stops_the_engine_that_went_on(when: str):
    stopped = asyncio.Event()

    async def second(request: Request, wire: Wire) -> None:
        if when == "inside its answer":
            await wire.begin_stream()
            await wire.chunk(event(" is"))
        await wire.gone()
        stopped.set()

    async def first(request: Request, wire: Wire) -> None:
        one.answer = two.answer = second
        await wire.begin_stream()
        await wire.chunk(event("Nothing"))
        await cut(wire)

    async with running(one := Engine(first), two := Engine(first)) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(CHAT_STREAM))
        await client.head()
        await client.chunk()
        await eventually(lambda: len(one.requests) + len(two.requests) == 2)
        if when == "inside its answer":
            await client.chunk()
        client.close()
        await asyncio.wait_for(stopped.wait(), 2)
        await eventually(lambda: gateway.requests)
        line = gateway.requests[0]
        expected = (499, 2) if when == "inside its answer" else (499, 1)
        assert (line["status"], line["output_tokens"]) == expected
        states = gateway.service.targets["tiny"].pool.engines.values()
        assert [engine.in_flight for engine in states] == [0, 0]


async def test_a_gateway_that_goes_down_tells_a_stream_that_waits_for_another_engine():
    async def first(request: Request, wire: Wire) -> None:
        one.answer = two.answer = hang
        await wire.begin_stream()
        await wire.chunk(event("Nothing"))
        await cut(wire)

    async with running(one := Engine(first), two := Engine(first), config=make_config(drain_seconds=0.1)) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(CHAT_STREAM))
        await eventually(lambda: len(one.requests) + len(two.requests) == 2)
        await asyncio.wait_for(gateway.gateway.drain(), 2)
        found = told(await client.reply())
        assert found.error is not None
        assert found.error["error"]["code"] == "shutting_down"


async def test_a_client_that_reads_slowly_gets_a_continued_stream_whole():
    model = Model([b" " + b"x" * 60_000] * 200, breaks=[(20, cut)])
    config = make_config(timeouts={"between_bytes_seconds": 0.3}, resume={"max_kept_bytes": 16 * 1024 * 1024})
    async with running(Engine(model), Engine(model), config=config) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(CHAT_STREAM | {"max_tokens": 500}))
        await asyncio.sleep(0.5)
        check_whole(told(await client.reply()), model)
