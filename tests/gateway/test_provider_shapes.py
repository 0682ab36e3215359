"""Requests, replies and streams of other APIs, translated without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.account import read_usage
from app.gateway.providers import anthropic, bedrock, openai
from app.gateway.providers.conversation import Untranslatable, read
from app.gateway.providers.outside import TranslatedStream
from tests.gateway.lying_providers import CONVERSE, CONVERSE_FRAMES, MESSAGE, MESSAGE_EVENTS, MESSAGE_TOOL, frame, sse

TALK: dict[str, Any] = {
    "model": "claude",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is here?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}},
                {"id": "c2", "type": "function", "function": {"name": "look", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "tool", "tool_call_id": "c2", "content": "a dog"},
        {"role": "user", "content": "Thanks. And now?"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
    ],
    "tool_choice": "required",
    "temperature": 1.5,
    "stop": "END",
    "max_tokens": 100,
}


def test_a_chat_becomes_a_messages_request_whose_roles_alternate():
    asked = json.loads(anthropic.request(json.dumps(TALK).encode(), "claude-sonnet-4-5", 64))
    assert asked["system"] == "Be brief."
    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
    assert asked["messages"][0]["content"][1]["source"] == {
        "type": "base64",
        "media_type": "image/png",
        "data": "iVBORw0KGgo=",
    }
    assert asked["messages"][1]["content"][0] == {"type": "tool_use", "id": "c1", "name": "look", "input": {"x": 1}}
    assert [block["type"] for block in asked["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert asked["tools"] == [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}]
    assert asked["tool_choice"] == {"type": "any"}
    assert (asked["max_tokens"], asked["temperature"], asked["stop_sequences"]) == (64, 1.0, ["END"])


def test_a_chat_becomes_a_converse_request():
    asked = json.loads(bedrock.request(json.dumps(TALK).encode(), 64))
    assert asked["system"] == [{"text": "Be brief."}]
    assert asked["messages"][0]["content"][1] == {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    assert asked["messages"][2]["content"][0] == {"toolResult": {"toolUseId": "c1", "content": [{"text": "a cat"}]}}
    assert asked["inferenceConfig"] == {"maxTokens": 64, "temperature": 1.0, "stopSequences": ["END"]}
    assert asked["toolConfig"]["toolChoice"] == {"any": {}}
    assert bedrock.path("anthropic.claude-v2:1", stream=True) == "/model/anthropic.claude-v2%3A1/converse-stream"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"n": 2}, "`n`"),
        ({"logprobs": True}, "`logprobs`"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
                ]
            },
            "image",
        ),
        ({"tools": [{"type": "custom"}]}, "`tools`"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
            "tool_calls",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_and_not_dropped(changes: dict[str, Any], named: str):
    with pytest.raises(Untranslatable, match=named):
        read(json.dumps(TALK | changes).encode(), 64)


def test_asked_json_is_asked_of_those_that_have_no_field_for_it():
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a"]}}}
    asked = read(json.dumps(TALK | {"response_format": wanted}).encode(), 64)
    assert '"required":["a"]' in asked.system[-1]


def test_openai_gets_the_fields_that_it_knows_and_compatible_ones_get_all():
    body = b'{"model":"tiny","messages":[],"max_tokens":9,"top_k":3,"model":"again"}'
    own = json.loads(openai.request("chat", body, "gpt-5", 5, only_known=True))
    assert own == {"model": "gpt-5", "messages": [], "max_completion_tokens": 5}
    other = json.loads(openai.request("chat", body, "qwen", 5, only_known=False))
    assert other == {"model": "qwen", "messages": [], "max_tokens": 5, "top_k": 3}


# -- replies --


def test_a_message_becomes_a_chat_reply_with_the_whole_prompt_in_its_usage():
    reply = json.loads(anthropic.whole(json.dumps(MESSAGE).encode(), "claude"))
    assert reply["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hello!"},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert (reply["model"], reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]) == ("claude", 20, 6)
    usage = read_usage(json.dumps(reply).encode())
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 5


def test_tool_calls_come_with_their_arguments_as_text():
    choice = json.loads(anthropic.whole(json.dumps(MESSAGE_TOOL).encode(), "claude"))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert (call["id"], json.loads(call["function"]["arguments"])) == ("toolu_01", {"city": "Paris"})


def test_a_converse_reply_becomes_a_chat_reply():
    reply = json.loads(bedrock.whole(json.dumps(CONVERSE).encode(), "nova", "chatcmpl-1"))
    assert (reply["choices"][0]["message"]["content"], reply["usage"]["total_tokens"]) == ("Hello!", 18)


# -- streams --


def told(stream: TranslatedStream, data: bytes, pieces: int) -> list[Any]:
    out = b"".join(stream.feed(data[start : start + pieces]) for start in range(0, len(data), pieces)) + stream.finish()
    events = [event[6:] for event in out.split(b"\n\n") if event]
    return [event if event == b"[DONE]" else json.loads(event) for event in events]


STREAMS = {
    "anthropic": (anthropic.Stream, sse(*MESSAGE_EVENTS), (20, 15)),
    "bedrock": (bedrock.Stream, b"".join(CONVERSE_FRAMES), (20, 15)),
}


@given(st.integers(1, 400), st.booleans(), st.sampled_from(sorted(STREAMS)))
def test_however_a_stream_is_split_the_client_gets_the_same_events(pieces: int, strip: bool, kind: str):
    make, data, usage = STREAMS[kind]
    stream = TranslatedStream(make("chatcmpl-1", "m"), strip_usage=strip)
    events = told(stream, data, pieces)
    assert events.pop() == b"[DONE]"
    assert stream.complete
    assert not stream.failed
    assert stream.usage is not None
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == usage
    if not strip:
        assert events.pop()["choices"] == []
    deltas = [event["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello!"
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["function"]["name"] == "weather"
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"city": "Paris"}
    assert [event["choices"][0]["finish_reason"] for event in events][-1] == "tool_calls"
    assert deltas[0]["role"] == "assistant"
    assert not any("role" in delta for delta in deltas[1:])


@given(st.binary(max_size=300), st.sampled_from(sorted(STREAMS)), st.integers(0, 200))
def test_no_bytes_make_a_stream_raise(data: bytes, kind: str, place: int):
    make, whole, _ = STREAMS[kind]
    stream = TranslatedStream(make("chatcmpl-1", "m"), strip_usage=False)
    stream.feed(whole[:place] + data)
    stream.feed(whole[place:])
    stream.finish()


def test_an_exception_inside_a_bedrock_stream_is_an_error_with_its_status():
    stream = TranslatedStream(bedrock.Stream("c", "m"), strip_usage=False)
    stream.feed(frame("throttlingException", {"message": "Too many requests"}, "exception"))
    assert (stream.failed, stream.error.status) == (True, 429)


def test_a_wrong_checksum_is_a_failure():
    stream = TranslatedStream(bedrock.Stream("c", "m"), strip_usage=False)
    broken = bytearray(CONVERSE_FRAMES[1])
    broken[-1] ^= 1
    stream.feed(bytes(broken))
    assert stream.failed


# -- the signature --


def test_a_signed_request_names_region_service_and_session_and_depends_on_the_body():
    credentials = ReadOnlyCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session")
    url = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/a%3A1/converse"
    one, two = (bedrock.sign(url, body, "eu-central-1", credentials) for body in (b"{}", b'{"a":1}'))
    assert "/eu-central-1/bedrock/aws4_request" in one["authorization"]
    assert one["x-amz-security-token"] == "a-session"
    assert one["authorization"].rpartition("=")[2] != two["authorization"].rpartition("=")[2]
    assert "wJalrXUtn" not in str(one)
