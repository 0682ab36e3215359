"""Streams that cannot be put together from two engines' parts, and what their clients get."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.broken_engines import Model, Told, cut, told
from tests.gateway.harness import CHAT, Engine, Request, Running, Wire, running

TOKENS = [b"Nothing", b" is", b" lost", b":", b" 12", b" ms", b"."]
CHAT_STREAM: dict[str, Any] = CHAT | {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 100}
PROMPT_STREAM: dict[str, Any] = {"model": "tiny", "prompt": "Say|", "max_tokens": 100, "stream": True}


async def ask(gateway: Running, body: dict[str, Any] = CHAT_STREAM) -> Told:
    return told(await gateway.ask(body, "/v1/chat/completions" if "messages" in body else "/v1/completions"))


TEXT_SENT = [
    ("n", {"n": 2}),
    ("best_of", {"best_of": 2}),
    ("use_beam_search", {"use_beam_search": True}),
    ("logprobs", {"logprobs": True, "top_logprobs": 2}),
    ("prompt_logprobs", {"prompt_logprobs": 0}),
    ("response_format", {"response_format": {"type": "json_object"}}),
    ("structured_outputs", {"structured_outputs": {"choice": ["a"]}}),
    ("guided_regex", {"guided_regex": "a"}),
    ("tool_choice", {"tools": [{}], "tool_choice": "required"}),
    ("echo", {"echo": True}),
    ("return_token_ids", {"return_token_ids": True}),
    ("truncate_prompt_tokens", {"truncate_prompt_tokens": 5}),
    ("include_reasoning", {"include_reasoning": False}),
    ("add_generation_prompt", {"add_generation_prompt": False}),
    ("stop_string", {"stop": ["lost and found"]}),
    ("stop_string", {"stop": "lost!", "include_stop_str_in_output": True}),
]


@pytest.mark.parametrize(
    ("reason", "extra"), TEXT_SENT, ids=[f"{reason}-{n}" for n, (reason, _) in enumerate(TEXT_SENT)]
)
async def test_what_cannot_be_put_together_ends_with_an_error_event(reason: str, extra: dict[str, Any]):
    model = Model(TOKENS, breaks=[(4, cut)])
    async with running(Engine(model), Engine(model)) as gateway:
        found = await ask(gateway, CHAT_STREAM | extra)
        assert len(model.bodies) == 1
        assert found.text == "Nothing is lost"
        assert found.error is not None
        assert found.error["error"]["retryable"] is True
        assert reason in found.error["error"]["message"]
        assert found.error["usage"]["completion_tokens"] == 3
        assert gateway.requests[0]["not_resumed"] == reason
        assert await gateway.metric('penstock_resumed_streams_total{outcome="not_resumable"}') == 1


@pytest.mark.parametrize(
    ("reason", "extra"), TEXT_SENT, ids=[f"{reason}-{n}" for n, (reason, _) in enumerate(TEXT_SENT)]
)
async def test_before_the_first_token_every_stream_is_asked_again(reason: str, extra: dict[str, Any]):
    model = Model(TOKENS, breaks=[(1, cut)])
    async with running(Engine(model), Engine(model)) as gateway:
        found = await ask(gateway, CHAT_STREAM | extra)
        assert (found.text, found.error, found.done, found.roles) == (model.text, None, 1, 1)
        assert model.bodies[1] == model.bodies[0]


@pytest.mark.parametrize(
    ("reason", "extra"),
    [
        ("prompt", {"prompt": [1, 2, 3]}),
        ("prompt", {"prompt": ["a", "b"]}),
        ("suffix", {"suffix": "x"}),
        ("logprobs", {"logprobs": 0}),
        ("echo", {"echo": True}),
    ],
)
async def test_completions_that_cannot_be_put_together(reason: str, extra: dict[str, Any]):
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.chunk(b'data: {"id":"a","choices":[{"index":0,"text":"x","finish_reason":null}]}\n\n')
        await cut(wire)

    async with running(Engine(answer), Engine(answer)) as gateway:
        found = await ask(gateway, PROMPT_STREAM | extra)
        assert found.text == "x"
        assert found.error is not None
        assert gateway.requests[0]["not_resumed"] == reason


@pytest.mark.parametrize(
    ("reason", "delta"),
    [
        ("tool_calls", {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{"}}]}),
        ("tool_calls", {"content": "", "tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
        ("tool_calls", {"content": "So", "tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
        ("reasoning", {"reasoning": "Hm"}),
        ("reasoning", {"reasoning_content": "Hm"}),
        ("other", {"refusal": "No"}),
        ("unreadable", {"content": ["a", "list"]}),
    ],
)
async def test_what_is_more_than_text_cannot_go_on(reason: str, delta: dict[str, Any]):
    async def answer(request: Request, wire: Wire) -> None:
        await wire.begin_stream()
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        await wire.chunk(b"data: %b\n\n" % json.dumps({"id": "a", "choices": [choice]}).encode())
        await cut(wire)

    async with running(one := Engine(answer), two := Engine(answer)) as gateway:
        assert (await ask(gateway)).error is not None
        assert len(one.requests) + len(two.requests) == 1
        assert gateway.requests[0]["not_resumed"] == reason
