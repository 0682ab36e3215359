"""Pipelines: clients call them like a model, and each step does its part."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from app.gateway.config import KeyFile
from tests.gateway.harness import (
    KEY,
    Client,
    Engine,
    Request,
    Wire,
    event,
    eventually,
    fails,
    key_file,
    running,
)
from tests.gateway.pipeline_cases import (
    Scripted,
    chat,
    chunks,
    comments,
    model,
    pipeline,
    reply,
    text_of,
    with_pipelines,
)

PROMPTS = [
    {"name": "polite", "version": 1, "system": "Be brief.", "user": "Say: {{input}}"},
    {"name": "polite", "version": 2, "system": "Be kind.", "user": "Please say: {{ input }} ({{kind}})"},
]
KIND = {
    "kind": "classify",
    "name": "kind",
    "classes": [{"name": "code", "words": ["python"]}, {"name": "money", "words": ["refund", "invoice"]}],
}


async def test_a_pipeline_is_listed_and_answers_like_a_model():
    script = Scripted()
    config = with_pipelines(
        pipeline(KIND, {"kind": "prompt", "name": "say", "prompt": "polite", "version": 2}, model(prompt="say")),
        prompts=PROMPTS,
    )
    async with running(Engine(script), config=config) as gateway:
        listed = (await gateway.get("/v1/models")).json
        answer = await gateway.ask(chat("my refund"))
    assert [one["id"] for one in listed["data"]] == ["tiny", "small", "answer"]
    assert answer.status == 200
    assert answer.json["model"] == "answer"
    assert answer.json["choices"][0]["message"]["content"] == "Please say: my refund (money)"
    assert answer.json["usage"] == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    assert [(one["name"], one["outcome"]) for one in answer.json["pipeline"]["steps"]] == [
        ("kind", "ok"), ("say", "ok"), ("ask", "ok"),
    ]  # fmt: skip
    assert answer.json["pipeline"]["steps"][1]["prompt"] == "polite 2"
    assert script.asked[0]["messages"][0] == {"role": "system", "content": "Be kind."}
    assert script.asked[0]["max_tokens"] == 64


async def test_the_official_client_streams_a_pipeline_and_passes_over_its_progress():
    config = with_pipelines(pipeline(KIND, model()))
    async with running(Engine(Scripted("one two three")), config=config) as gateway:
        base = f"http://127.0.0.1:{gateway.port}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0) as ai:
            stream = await ai.chat.completions.create(
                model="answer", messages=[{"role": "user", "content": "hi"}], stream=True,
                stream_options={"include_usage": True},
            )  # fmt: skip
            seen = [chunk async for chunk in stream]
            whole = await ai.chat.completions.create(model="answer", messages=[{"role": "user", "content": "hi"}])
            assert "answer" in [one.id async for one in await ai.models.list()]
        raw = await gateway.ask(chat(stream=True))
    assert "".join(one.choices[0].delta.content or "" for one in seen if one.choices) == "onetwothree"
    assert {one.model for one in seen} == {"answer"}
    assert len({one.id for one in seen}) == 1
    assert seen[-1].usage is not None
    assert seen[-1].usage.total_tokens == 15
    assert whole.choices[0].message.content == "one two three"
    assert [(one["step"], one["state"]) for one in comments(raw.body)][:4] == [
        ("kind", "begun"), ("kind", "classified"), ("kind", "ended"), ("ask", "begun"),
    ]  # fmt: skip
    assert raw.body.endswith(b"data: [DONE]\n\n")
    assert "usage" not in chunks(raw.body)[-1], "usage comes where it is asked for"


async def test_tokens_of_the_last_step_come_as_they_are_made():
    go = asyncio.Event()

    async def slowly(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("first"))
        await go.wait()
        await wire.chunk(event("second"))
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end_stream()

    async with running(Engine(slowly), config=with_pipelines(pipeline(model()))) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(chat(stream=True)))
        await client.head()
        while b"first" not in await asyncio.wait_for(client.chunk(), 10):
            pass
        go.set()
        rest = b""
        while part := await asyncio.wait_for(client.chunk(), 10):
            rest += part
    assert b"second" in rest


async def test_an_inner_answer_does_not_reach_the_client_and_the_last_one_does():
    config = with_pipelines(
        pipeline(
            model("draft"),
            {"kind": "prompt", "name": "again", "prompt": "better", "version": 1},
            model("final", prompt="again"),
        ),
        prompts=[{"name": "better", "version": 1, "user": "Improve: {{draft}}"}],
    )
    script = Scripted("a draft", "the final")
    async with running(Engine(script), config=config) as gateway:
        streamed = await gateway.ask(chat(stream=True, stream_options={"include_usage": True}))
    assert text_of(streamed.body) == "thefinal"
    assert script.asked[1]["messages"] == [{"role": "user", "content": "Improve: a draft"}]
    assert chunks(streamed.body)[-1]["usage"]["total_tokens"] == 30


async def test_a_value_that_looks_like_a_hole_stays_text():
    config = with_pipelines(
        pipeline(
            {"kind": "text", "name": "secret", "text": "hidden"}, {"kind": "text", "name": "out", "text": "<{{input}}>"}
        )
    )
    async with running(Engine(), config=config) as gateway:
        answer = await gateway.ask(chat("{{secret}} {{ input }}"))
    assert answer.json["choices"][0]["message"]["content"] == "<{{secret}} {{ input }}>"


BRANCHED = pipeline(
    KIND,
    {
        "kind": "branch", "name": "which", "of": "{{kind}}", "then": "ask",
        "cases": [{"equals": ["money"], "to": "desk"}, {"equals": ["code"], "to": "ask"}],
    },
    {"kind": "text", "name": "desk", "text": "Ask the desk.", "then": "end"},
    model(),
)  # fmt: skip


@pytest.mark.parametrize(("text", "said", "asked"), [("a refund", "Ask the desk.", 0), ("python", "from tiny", 1)])
async def test_a_branch_goes_by_what_a_step_gave(text: str, said: str, asked: int):
    script = Scripted("from tiny")
    async with running(Engine(script), config=with_pipelines(BRANCHED)) as gateway:
        answer = await gateway.ask(chat(text))
        streamed = await gateway.ask(chat(text, stream=True, temperature=1))
    assert answer.json["choices"][0]["message"]["content"] == said
    assert text_of(streamed.body).replace(" ", "") == said.replace(" ", "")
    assert len(script.asked) == 2 * asked


def checked(**check: Any) -> dict[str, Any]:
    return {"kind": "validate", "name": "check", "of": "ask"} | check


SCHEMA = {"type": "object", "required": ["year"], "properties": {"year": {"type": "integer", "minimum": 1900}}}


async def test_an_invalid_answer_is_asked_for_again_and_then_a_fallback_answers():
    config = with_pipelines(
        pipeline(
            model(),
            checked(json_schema=SCHEMA, retries=1, otherwise="sorry", then="end"),
            {"kind": "text", "name": "sorry", "text": "I could not tell."},
        )
    )
    for texts, said, times in (
        (['{"year": 1969}'], '{"year": 1969}', 1),
        (["1969", '{"year": 1969}'], '{"year": 1969}', 2),
        (['{"year": 12}'], "I could not tell.", 2),
    ):
        script = Scripted(*texts)
        async with running(Engine(script), config=config) as gateway:
            answer = await gateway.ask(chat())
            streamed = await gateway.ask(chat(stream=True)) if times == 1 else None
        assert answer.json["choices"][0]["message"]["content"] == said
        assert len(script.asked) == times + (streamed is not None)
        if streamed is not None:
            assert text_of(streamed.body) == said


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ({"pattern": "[0-9]+"}, "does not match the pattern"),
        ({"max_characters": 3}, "has 5 characters; allowed: 0 to 3"),
        ({"json_schema": SCHEMA}, "it is no JSON"),
    ],
)
async def test_without_a_fallback_the_error_names_the_step(check: dict[str, Any], why: str):
    async with running(
        Engine(Scripted("words")), config=with_pipelines(pipeline(model(), checked(**check)))
    ) as gateway:
        answer = await gateway.ask(chat())
    assert answer.status == 502
    assert answer.error["code"] == "pipeline_validation_failed"
    assert answer.error["message"].startswith("Step `check` of the pipeline `answer`: ")
    assert why in answer.error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_fails_is_told_with_its_step(stream: bool):
    config = with_pipelines(pipeline(model(), progress=False))
    async with running(Engine(fails(500)), config=config) as gateway:
        answer = await gateway.ask(chat(stream=stream))
    assert answer.status == 500
    assert answer.error["message"].startswith("Step `ask` of the pipeline `answer`: ")


async def test_a_failure_after_progress_is_an_event():
    async with running(Engine(fails(500)), config=with_pipelines(pipeline(model()))) as gateway:
        answer = await gateway.ask(chat(stream=True))
    told = chunks(answer.body)[-1]["error"]
    assert told["message"].startswith("Step `ask` of the pipeline `answer`: ")
    assert b"[DONE]" not in answer.body


async def test_a_stream_that_breaks_inside_ends_with_the_event_of_a_broken_stream():
    async def breaks(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(event("half"))
        wire.cut()

    async with running(Engine(breaks), config=with_pipelines(pipeline(model()))) as gateway:
        answer = await gateway.ask(chat(stream=True))
    last = chunks(answer.body)[-1]
    assert last["error"]["message"].startswith("Step `ask` of the pipeline `answer`: ")
    assert last["error"]["retryable"] is True
    assert not answer.whole or answer.headers.get("connection") == "close" or b"[DONE]" not in answer.body


async def test_a_client_that_leaves_stops_the_engine():
    gone = asyncio.Event()

    async def hangs(request: Request, wire: Wire) -> None:
        await wire.gone()
        gone.set()

    for stream in (False, True):
        engine = Engine(hangs)
        gone.clear()
        async with running(engine, config=with_pipelines(pipeline(model()))) as gateway:
            client = await gateway.connect()
            await client.send(Client.request(chat(stream=stream)))
            await eventually(lambda one=engine: one.requests)
            client.close()
            await asyncio.wait_for(gone.wait(), 10)
            await eventually(lambda: len(gateway.requests) == 2)
            assert {one["status"] for one in gateway.requests} == {499}
            assert not gateway.service.exchanges
            assert gateway.service.pipelines is not None
            assert not gateway.service.pipelines.authority, "the step's token is gone"
            assert await gateway.metric('penstock_pipeline_runs{pipeline="answer"}') == 0


async def test_a_step_and_a_run_have_a_longest_time():
    async def hangs(request: Request, wire: Wire) -> None:
        await wire.gone()

    for config, why in (
        (
            with_pipelines(pipeline(model(seconds=0.1))),
            "Step `ask` of the pipeline `answer`: it took longer than 0.1 s",
        ),
        (with_pipelines(pipeline(model(), max_seconds=0.1)), "the pipeline took longer than 0.1 s"),
    ):
        engine = Engine(hangs)
        async with running(engine, config=config) as gateway:
            answer = await gateway.ask(chat())
        assert (answer.status, answer.error["code"]) == (504, "timeout")
        assert why in answer.error["message"]


async def test_a_run_has_a_budget_of_tokens():
    script = Scripted("again")
    config = with_pipelines(pipeline(model("one"), model("two"), model("three"), max_tokens=25))
    async with running(Engine(script), config=config) as gateway:
        answer = await gateway.ask(chat())
    assert [one["max_tokens"] for one in script.asked] == [25, 10], "what is left bounds the next step"
    assert answer.error["code"] == "pipeline_out_of_tokens"
    assert "Step `three`" in answer.error["message"]


async def test_runs_at_once_are_bounded():
    hold = asyncio.Event()

    async def waits(request: Request, wire: Wire) -> None:
        await hold.wait()
        await wire.json(200, reply("done"))

    engine = Engine(waits)
    async with running(engine, config=with_pipelines(pipeline(model(), max_at_once=1))) as gateway:
        first = asyncio.ensure_future(gateway.ask(chat()))
        await eventually(lambda: engine.requests)
        second = await gateway.ask(chat())
        hold.set()
        assert (await first).status == 200
    assert (second.status, second.error["code"], "retry-after" in second.headers) == (503, "pipeline_busy", True)


async def test_a_pipeline_may_be_a_step_of_another():
    config = with_pipelines(pipeline(model("outer", model="inner"), name="answer"), pipeline(model(), name="inner"))
    async with running(Engine(Scripted("deep")), config=config) as gateway:
        answer = await gateway.ask(chat())
        streamed = await gateway.ask(chat(stream=True))
    assert answer.json["choices"][0]["message"]["content"] == "deep"
    assert answer.json["usage"]["total_tokens"] == 15
    assert text_of(streamed.body) == "deep"


def narrow(**access: Any) -> KeyFile:
    found = key_file(test=KEY)
    return KeyFile(keys=(found.keys[0].model_copy(update=access),))


async def test_a_key_needs_the_pipeline_s_name_and_no_model_of_it():
    async with running(Engine(Scripted("yes")), config=with_pipelines(pipeline(model()))) as gateway:
        gateway.service.keys.take_file(narrow(models=("answer",), routes=("chat",)).keys, ())
        allowed = await gateway.ask(chat())
        plain = await gateway.ask(chat(name="tiny"))
        gateway.service.keys.take_file(narrow(models=("tiny",)).keys, ())
        refused = await gateway.ask(chat())
    assert allowed.json["choices"][0]["message"]["content"] == "yes"
    assert plain.status == 403
    assert refused.status == 403
    assert "answer" not in [one for one in refused.error["message"].split("`") if one == "tiny"]


async def test_the_limits_of_a_key_hold_for_the_models_inside():
    from app.gateway.config import Limits

    async with running(Engine(Scripted("yes")), config=with_pipelines(pipeline(model("one"), model("two")))) as gateway:
        gateway.service.keys.take_file(narrow(limits=Limits(requests_per_minute=2, burst_requests=2)).keys, ())
        first = await gateway.ask(chat())
        second = await gateway.ask(chat())
    assert first.status == 200
    assert second.status == 429
    assert second.error["message"].startswith("Step `one` of the pipeline `answer`: ")
    assert "retry-after" in second.headers


async def test_the_ceiling_of_a_key_bounds_each_step():
    script = Scripted("yes")
    async with running(Engine(script), config=with_pipelines(pipeline(model()))) as gateway:
        gateway.service.keys.take_file(narrow(max_output_tokens=8, max_usd_per_request=1.0).keys, ())
        answer = await gateway.ask(chat())
    assert answer.status == 200
    assert script.asked[0]["max_tokens"] == 8


async def test_a_step_s_token_from_outside_opens_nothing():
    async with running(Engine(), config=with_pipelines(pipeline(model()))) as gateway:
        for token in ("ps-", "ps-abc", "ps-" + "A" * 32):
            assert (await gateway.ask(chat(), authorization=f"Bearer {token}")).status == 401


@pytest.mark.parametrize(
    ("more", "name"),
    [({"tools": [{"type": "function"}]}, "tools"), ({"n": 2}, "n"), ({"logprobs": True}, "logprobs"),
     ({"response_format": {"type": "json_object"}}, "response_format")],
)  # fmt: skip
async def test_what_a_pipeline_cannot_do_is_refused(more: dict[str, Any], name: str):
    async with running(Engine(), config=with_pipelines(pipeline(model()))) as gateway:
        answer = await gateway.ask(chat(**more))
    assert (answer.status, answer.error["param"]) == (400, name)


async def test_other_routes_say_where_a_pipeline_is_asked():
    async with running(Engine(), config=with_pipelines(pipeline(model()))) as gateway:
        answer = await gateway.ask({"model": "answer", "prompt": "a"}, path="/v1/completions")
    assert (answer.status, answer.error["code"]) == (404, "unsupported_route")
    assert "/v1/chat/completions" in answer.error["message"]


async def test_all_requests_of_a_run_have_one_id_and_their_step_in_the_log():
    config = with_pipelines(pipeline(model("one"), model("two")))
    engine = Engine(Scripted("yes"))
    async with running(engine, config=config) as gateway:
        answer = await gateway.ask(chat(), x_request_id="my-own-id")
    assert {one["request_id"] for one in gateway.requests} == {"my-own-id"}
    assert [one.get("step") for one in gateway.requests] == ["one", "two", None]
    assert [one["model"] for one in gateway.requests] == ["tiny", "tiny", "answer"]
    assert answer.headers["x-request-id"] == "my-own-id"
    assert answer.json["id"] == "chatcmpl-my-own-id"
    assert {one.headers["x-request-id"] for one in engine.requests} == {"my-own-id"}


async def test_metrics_count_each_step():
    async with running(Engine(Scripted("yes")), config=with_pipelines(pipeline(KIND, model()))) as gateway:
        await gateway.ask(chat())
        labels = 'pipeline="answer",step="ask"'
        assert await gateway.metric(f'penstock_pipeline_steps_total{{outcome="ok",{labels}}}') == 1
        assert await gateway.metric(f"penstock_pipeline_step_seconds_count{{{labels}}}") == 1
        assert await gateway.metric('penstock_requests_total{code="200",model="answer",stream="false"}') == 1
        assert await gateway.metric('penstock_requests_total{code="200",model="tiny",stream="false"}') == 1


async def test_a_run_under_way_ends_well_in_a_drain():
    """Steps ask this gateway itself: that its port is closed must not fail them."""
    hold = asyncio.Event()

    async def waits(request: Request, wire: Wire) -> None:
        await hold.wait()
        await wire.json(200, reply("done"))

    engine = Engine(waits)
    config = with_pipelines(pipeline(model("one"), model("two")))
    async with running(engine, config=config) as gateway:
        asked = asyncio.ensure_future(gateway.ask(chat(), x_penstock_cache="no-store"))
        await eventually(lambda: engine.requests)
        drained = asyncio.ensure_future(gateway.gateway.drain())
        await eventually(lambda: gateway.service.draining)
        hold.set()
        assert (await asked).json["choices"][0]["message"]["content"] == "done"
        await asyncio.wait_for(drained, 20)


async def test_guards_look_at_what_comes_in_and_what_goes_out():
    guards = {"modes": {"pii_input": "mask", "pii_output": "mask"}}
    config = with_pipelines(
        pipeline({"kind": "text", "name": "echo", "text": "you said {{input}}, ask boss@example.com"}),
        around={"guards": guards},
    )
    async with running(Engine(), config=config) as gateway:
        whole = await gateway.ask(chat("I am eve@example.com"))
        streamed = await gateway.ask(chat("I am eve@example.com", stream=True))
    for body in (whole.body, streamed.body):
        assert b"eve@example.com" not in body
        assert b"boss@example.com" not in body
    assert whole.status == streamed.status == 200
