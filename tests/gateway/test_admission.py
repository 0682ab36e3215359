"""Authentication and validation, without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.gateway.admit import Refused, admit, request_id
from app.gateway.config import ModelRoute
from app.gateway.keys.ring import KeyRing
from tests.gateway.harness import CHAT, KEY, key_file, make_config

ROUTES: dict[str, ModelRoute] = {name: make_config().models[0] for name in ("tiny", "small")}


def refusal(body: Any, route: Any = "chat") -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refused) as caught:
        admit(route, raw, ROUTES)
    return caught.value.problem


def accepted(body: Any, route: Any = "chat") -> Any:
    return admit(route, json.dumps(body).encode(), ROUTES)


def test_a_known_key_is_recognised_whatever_the_case_of_the_scheme():
    ring = KeyRing(key_file(one=KEY, two="other").keys)
    assert ring.authenticate(f"bEARER {KEY}".encode()).id == "one"
    assert ring.authenticate(b"Bearer other").id == "two"


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Bearer ", b"Basic abc", b"Bearer wrong", KEY.encode()])
def test_a_missing_or_wrong_key_is_invalid_api_key(header: bytes | None):
    with pytest.raises(Refused) as caught:
        KeyRing(key_file(one=KEY).keys).authenticate(header)
    problem = caught.value.problem
    assert (problem.status, problem.code) == (401, "invalid_api_key")
    assert dict(problem.headers)[b"www-authenticate"].startswith(b"Bearer")


@pytest.mark.parametrize("given", [b"req-1", b"0b7c5c1e-1111-4222-8333-944455556666", b"a" * 128])
def test_a_well_formed_request_id_is_kept(given: bytes):
    assert request_id(given, b"fresh") == given


@pytest.mark.parametrize("given", [None, b"", b"a" * 129, b"a b", b'x"y', b"caf\xc3\xa9", b"a\nb"])
def test_a_malformed_request_id_is_replaced(given: bytes | None):
    assert request_id(given, b"fresh") == b"fresh"


@pytest.mark.parametrize(
    "extra",
    [
        {"temperature": 0.5, "top_k": 3, "guided_json": {"a": [1, {"b": None}]}, "vendor_field": "x"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:..."}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://x/y"}}]}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}, "logprobs": True},
        {"max_tokens": None, "max_completion_tokens": 512, "n": 128, "stream": None, "stream_options": None},
        {"max_tokens": 5.0, "n": "2", "stream": "true"},
        {"stream": 1, "stream_options": {"include_usage": "no", "continuous_usage_stats": True}},
    ],
)
def test_what_vllm_accepts_is_accepted(extra: dict[str, Any]):
    assert accepted(CHAT | extra).model == "tiny"


def test_the_name_of_a_lora_adapter_is_accepted_like_a_models():
    route = make_config().models[0]
    names = {"tiny": route, "law": route.model_copy(update={"name": "law", "aliases": ()})}
    body = json.dumps(CHAT | {"model": "law"}).encode()
    assert admit("chat", body, names).model == "law"


def test_an_alias_names_its_model():
    assert accepted(CHAT | {"model": "small"}).model == "small"


@pytest.mark.parametrize(
    "prompt",
    ["text", ["a", "b"], [1, 2], [[1], [2]], [{"prompt": "x"}]],
    ids=["text", "texts", "ids", "lists", "other"],
)
def test_every_form_of_prompt_is_accepted(prompt: Any):
    accepted({"model": "tiny", "prompt": prompt}, "completions")


def test_a_completion_may_ask_for_no_tokens():
    accepted({"model": "tiny", "prompt": "x", "max_tokens": 0, "echo": True}, "completions")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": None}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 513}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": [1]}, "max_tokens"),
        ({"max_completion_tokens": 10**30}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stream": "perhaps"}, "stream"),
        ({"stream": 2}, "stream"),
        ({"stream": {}}, "stream"),
        ({"stream": True, "stream_options": "usage"}, "stream_options"),
        ({"model": 5}, "model"),
        ({"model": None}, "model"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], param: str):
    problem = refusal(CHAT | change)
    assert (problem.status, problem.param) == (400, param)
    assert f"`{param}`" in problem.message


def test_a_null_prompt_is_a_missing_prompt():
    assert refusal({"model": "tiny", "prompt": None}, "completions").code == "missing_required_parameter"


def test_the_ceiling_is_in_the_message():
    assert "513" in refusal(CHAT | {"max_tokens": 513}).message
    assert "512" in refusal(CHAT | {"max_tokens": 513}).message


@pytest.mark.parametrize("route", ["chat", "completions", "embeddings"])
def test_a_request_without_its_input_is_refused(route: str):
    assert refusal({"model": "tiny"}, route).code == "missing_required_parameter"


def test_an_unknown_model_is_404_and_names_no_other_model():
    problem = refusal(CHAT | {"model": "nope"})
    assert (problem.status, problem.code, problem.param) == (404, "model_not_found", "model")
    assert "tiny" not in problem.message
    assert "small" not in problem.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"model": }', b"\xff\xfe", b'{"model":"tiny"} x'])
def test_what_is_no_json_object_is_400(body: bytes):
    problem = refusal(body)
    assert (problem.status, problem.code) == (400, "invalid_json")


def test_deep_nesting_is_refused_without_exhausting_the_stack():
    assert refusal(b'{"model":"tiny","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}").status == 400


def test_the_last_of_equal_keys_counts_as_it_does_for_the_engine():
    problem = refusal(b'{"model":"tiny","mod\\u0065l":"nope","messages":[1]}')
    assert problem.code == "model_not_found"


def test_usage_is_added_only_to_streams_that_did_not_ask_for_it():
    assert not accepted(CHAT).add_usage
    assert accepted(CHAT | {"stream": True}).add_usage
    assert accepted(CHAT | {"stream": True, "stream_options": {"include_usage": False}}).add_usage
    assert not accepted(CHAT | {"stream": True, "stream_options": {"include_usage": True}}).add_usage
