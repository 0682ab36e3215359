"""The pure parts of the caches: keys, kept answers, streams from them, clients' wishes, policies."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.account import Usage
from app.gateway.cache.canonical import Collected, as_events, is_whole
from app.gateway.cache.entry import CorruptError, Entry, pack, unpack
from app.gateway.cache.normal import UNHEARD, Scope, digest, is_sampled, normalise, usage_asked
from app.gateway.cache.settings import CacheConfig
from app.gateway.cache.wish import read_wish, resolve
from app.gateway.errors import Refused

SCOPE = Scope("acme", "tiny", "r1")
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
MESSAGES: Any = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": st.text('ab \\"é', max_size=9)}),
    min_size=1,
    max_size=3,
)
REQUESTS: Any = st.fixed_dictionaries(
    {"model": st.just("tiny"), "messages": MESSAGES},
    optional={
        "temperature": st.sampled_from([0, 0.0, 0.5, 1]),
        "max_tokens": st.integers(1, 9),
        "tools": st.lists(VALUES, max_size=2),
        "stop": VALUES,
        "seed": st.integers(0, 9),
    },
)


def key(body: bytes, scope: Scope = SCOPE, route: str = "chat") -> bytes:
    fields = normalise(body)
    assert fields is not None
    found = digest(route, scope, fields)
    assert found is not None
    return found


def rewritten(request: dict[str, Any], noise: random.Random) -> bytes:
    """The same request as another client may write it."""

    def shuffled(fields: dict[str, Any]) -> dict[str, Any]:
        return dict(noise.sample(sorted(fields.items()), len(fields)))

    more = shuffled(request | {noise.choice(sorted(UNHEARD - {"model"})): noise.choice([True, 7, "x"]), "top_p": None})
    more["messages"] = [shuffled(message) for message in request["messages"]]
    return json.dumps(more, ensure_ascii=noise.random() < 0.5, indent=noise.choice([None, 0, 3])).encode()


@given(REQUESTS, st.integers(0, 99))
def test_the_same_request_written_in_another_way_has_the_same_key(request_: dict[str, Any], seed: int):
    assert key(rewritten(request_, random.Random(seed))) == key(json.dumps(request_).encode())


@given(REQUESTS, REQUESTS)
def test_requests_that_differ_in_what_is_heard_have_different_keys(one: dict[str, Any], other: dict[str, Any]):
    # By JSON's own equality, in which 0 is 0.0 but true is not 1.
    def plain(request: dict[str, Any]) -> str:
        heard = {name: value for name, value in request.items() if value is not None}
        whole: dict[str, Any] = {
            name: int(value) if type(value) is float and value.is_integer() else value for name, value in heard.items()
        }
        whole["messages"] = [dict(sorted(message.items())) for message in whole["messages"]]
        return repr(sorted((name, json.dumps(value)) for name, value in whole.items()))

    same = key(json.dumps(one).encode()) == key(json.dumps(other).encode())
    assert same == (plain(one) == plain(other))


def test_the_order_of_a_tools_schema_is_part_of_the_key():
    one = b'{"messages":[],"tools":[{"parameters":{"a":1,"b":2}}]}'
    other = b'{"messages":[],"tools":[{"parameters":{"b":2,"a":1}}]}'
    assert key(one) != key(other)


@pytest.mark.parametrize(
    "scope",
    [
        Scope("other", "tiny", "r1"),
        Scope("acme", "large", "r1"),
        Scope("acme", "tiny", "r2"),
        Scope("acme", "tiny", "r1", tools=True),
        Scope("acmetiny", "", "r1"),
    ],
)
def test_tenant_model_and_revision_are_part_of_the_key(scope: Scope):
    body = b'{"messages":[{"role":"user","content":"x"}]}'
    assert key(body, scope) != key(body)
    assert key(body, route="completions") != key(body)


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"a":1e999}', b"[" * 9999])
def test_what_cannot_be_normalised_is_not_cached(body: bytes):
    assert normalise(body) is None


def test_only_a_temperature_of_zero_is_repeatable():
    assert not is_sampled("chat", {"temperature": 0})
    assert not is_sampled("embeddings", {})
    for fields in ({}, {"temperature": 0.1}, {"temperature": "0"}, {"temperature": False}, {"seed": 1}):
        assert is_sampled("chat", fields)


def test_stream_options_say_whether_the_usage_is_wanted():
    assert usage_asked(None) is False
    assert usage_asked(b'{"include_usage":true}') is True
    assert usage_asked(b"null") is False
    assert usage_asked(b'{"include_usage":true,"continuous_usage_stats":true}') is None
    assert usage_asked(b'{"include_usage":"yes"}') is None


# -- entries --

ENTRY = Entry(1.0, 2.0, "chat", b'{"choices":[]}', 3, 4, 5)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_an_entry_with_any_byte_changed_is_corrupt(place: int, change: int):
    packed = bytearray(pack(b"k" * 32, ENTRY))
    packed[place % len(packed)] ^= change
    with pytest.raises(CorruptError):
        unpack(b"k" * 32, bytes(packed))


def test_an_entry_of_another_key_is_corrupt():
    packed = pack(b"k" * 32, ENTRY)
    assert unpack(b"k" * 32, packed) == ENTRY
    with pytest.raises(CorruptError):
        unpack(b"l" * 32, packed)
    with pytest.raises(CorruptError):
        unpack(b"k" * 32, packed[:-1])


# -- answers --


def chat_json(text: str = "hello", **choice: Any) -> dict[str, Any]:
    told = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice
    usage = {"prompt_tokens": 1, "total_tokens": 3, "completion_tokens": 2}
    return {"id": "c1", "created": 7, "model": "tiny", "object": "chat.completion", "choices": [told], "usage": usage}


CALLS = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("reply", "whole"),
    [
        (chat_json(), True),
        (chat_json(finish_reason="length"), True),
        (chat_json(finish_reason="content_filter"), False),
        (chat_json(finish_reason="abort"), False),
        (chat_json(finish_reason=None), False),
        (chat_json(message={"content": None, "tool_calls": CALLS}, finish_reason="tool_calls"), False),
        (chat_json(message={"content": "x", "tool_calls": CALLS}), False),
        ({"error": {"message": "x"}}, False),
        ({"choices": []}, False),
    ],
)
def test_only_whole_answers_are_kept(reply: dict[str, Any], whole: bool):
    assert is_whole("chat", json.dumps(reply).encode(), tools=False) is whole


def test_an_answer_with_tool_calls_is_kept_where_that_is_allowed():
    reply = chat_json(message={"content": None, "tool_calls": CALLS}, finish_reason="tool_calls")
    assert is_whole("chat", json.dumps(reply).encode(), tools=True)
    events = as_events("chat", json.dumps(reply).encode(), usage=False)
    assert events is not None
    assert b'"tool_calls":[{"index":0,"id":"1"' in events


def payloads(events: bytes) -> list[dict[str, Any]]:
    *lines, last = [event.removeprefix(b"data: ") for event in events.split(b"\n\n") if event]
    assert last == b"[DONE]"
    return [json.loads(line) for line in lines]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=2000), st.sampled_from(["chat", "completions"]))
def test_an_answer_becomes_a_stream_and_the_stream_the_same_answer(text: str, route: str):
    reply = chat_json(text)
    if route == "completions":
        reply["choices"] = [{"index": 0, "text": text, "finish_reason": "length"}]
    events = as_events(route, json.dumps(reply).encode(), usage=False)
    assert events is not None
    collected = Collected(route, 100_000)
    for event in events.split(b"\n\n")[:-1]:
        collected.add(event + b"\n\n")
    back = collected.reply(Usage(1, 2))
    assert back is not None
    choice, given_choice = json.loads(back)["choices"][0], reply["choices"][0]
    assert choice["finish_reason"] == given_choice["finish_reason"]
    if route == "chat":
        assert choice["message"]["content"] == text
    else:
        assert choice["text"] == text
    assert json.loads(back)["usage"]["total_tokens"] == 3
    assert json.loads(back)["id"] == "c1"


def test_the_usage_event_comes_only_when_it_was_asked_for():
    reply = json.dumps(chat_json()).encode()
    without, with_usage = (as_events("chat", reply, usage=asked) for asked in (False, True))
    assert without is not None
    assert with_usage is not None
    assert all("usage" not in one for one in payloads(without))
    assert payloads(with_usage)[-1]["choices"] == []
    assert payloads(with_usage)[-1]["usage"]["prompt_tokens"] == 1


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "x" * 300}, "finish_reason": "stop"}]},
        {"error": {"message": "x"}, "choices": []},
        {"choices": [7]},
        {"choices": []},
    ],
)
def test_a_stream_that_cannot_be_given_back_is_not_kept(event: dict[str, Any]):
    collected = Collected("chat", 200)
    collected.add(b"data: %b\n\n" % json.dumps(event).encode())
    assert collected.reply(Usage(1, 2)) is None


def test_a_stream_without_usage_is_not_kept():
    events = as_events("chat", json.dumps(chat_json()).encode(), usage=False)
    collected = Collected("chat", 200)
    collected.add(events or b"")
    assert collected.reply(None) is None


# -- wishes and policies --


def test_headers_say_what_is_wished():
    assert read_wish([(b"x-penstock-cache", b"no-store")]).store is False
    assert read_wish([(b"cache-control", b"no-cache, private")]).read is False
    assert read_wish([(b"cache-control", b"no-cache")]).store is True
    assert read_wish([(b"cache-control", b"max-age=60")]).max_age == 60
    assert read_wish([(b"cache-control", b"max-age=soon")]).max_age == 0
    assert read_wish([(b"x-penstock-cache", b"Only, allow")]).only
    with pytest.raises(Refused) as refused:
        read_wish([(b"x-penstock-cache", b"never")])
    assert "no-store, refresh, only, allow" in refused.value.problem.message


def test_the_narrowest_policy_counts():
    config = CacheConfig.model_validate(
        {
            "sampled": "never",
            "models": {"tiny": {"sampled": "asked", "ttl_seconds": 5}},
            "tenants": {"acme": {"exact": False}},
            "keys": {"k": {"exact": True, "sampled": "always"}},
        }
    )
    assert resolve(config, "large", "other", "x").sampled == "never"
    assert resolve(config, "tiny", "other", "x").ttl_seconds == 5
    assert resolve(config, "tiny", "acme", "x").exact is False
    narrow = resolve(config, "tiny", "acme", "k")
    assert (narrow.exact, narrow.sampled, narrow.ttl_seconds) == (True, "always", 5)
