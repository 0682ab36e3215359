"""Byte splicing and the SSE reader, against the plain way of doing the same."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.account import read_usage, settle
from app.gateway.admit import admit
from app.gateway.rewrite import EventStream, count_each, include_usage, only_comments, usage_in_tail
from tests.gateway.harness import DONE, event, make_config, usage_event

ROUTE = make_config().models[0]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
OPTIONS = st.none() | st.dictionaries(st.sampled_from(["continuous_usage_stats", "other", "}"]), VALUES, max_size=3)


@given(
    extra=st.dictionaries(st.text(max_size=8), VALUES, max_size=4),
    options=OPTIONS,
    given_options=st.booleans(),
    indent=st.sampled_from([None, 1]),
    tail=st.sampled_from(["", " ", "\r\n\t"]),
)
def test_a_spliced_body_is_the_same_json_with_include_usage(
    extra: dict[str, Any], options: dict[str, Any] | None, given_options: bool, indent: int | None, tail: str
):
    plain = {name: value for name, value in extra.items() if name not in _OWN}
    plain |= {"model": "tiny", "messages": [{"role": "user", "content": "é }"}], "stream": True}
    if given_options:
        plain = {"stream_options": options} | plain
    body = (json.dumps(plain, indent=indent) + tail).encode()
    admitted = admit("chat", body, {"tiny": ROUTE})
    assert admitted.add_usage
    spliced = json.loads(include_usage(body, admitted.stream_options))
    assert spliced == plain | {"stream_options": {**(plain.get("stream_options") or {}), "include_usage": True}}


_OWN = {"prompt", "prompt_embeds", "input", "max_tokens", "max_completion_tokens", "n", "best_of", "stream_options"}

PARTS = st.sampled_from(
    [
        event("a"),
        event(""),
        event('say "usage" and [DONE]\n\ndata: x'),
        event("\u2028 é 漢"),
        event("x", usage={"prompt_tokens": 3, "total_tokens": 4, "completion_tokens": 1}),
        event("x", usage=None),
        b": keep-alive\n\n",
        b"event: note\ndata: {}\n\n",
        event("crlf").replace(b"\n", b"\r\n"),
    ]
)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(parts=st.lists(PARTS, max_size=6), cuts=st.lists(st.integers(0, 10_000), max_size=12), asked=st.booleans())
def test_however_a_stream_is_split_its_events_are_relayed_unchanged(parts: list[bytes], cuts: list[int], asked: bool):
    kept = b"".join(parts)
    data = kept + usage_event(17, 8) + DONE
    stream = EventStream(strip_usage=not asked)
    out = [stream.feed(piece) for piece in split(data, cuts)]
    assert b"".join(out) + stream.finish() == kept + (usage_event(17, 8) if asked else b"") + DONE
    assert stream.usage is not None
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (17, 8)
    assert stream.complete
    for piece in out:
        assert not piece or piece.endswith((b"\n\n", b"\r\n\r\n")), "only whole events may be relayed"


@given(cuts=st.lists(st.integers(0, 10_000), max_size=12), keep=st.integers(0, 10_000))
def test_a_stream_that_ends_early_is_never_taken_for_whole(cuts: list[int], keep: int):
    data = event("a") + event("b") + usage_event() + DONE
    stream = EventStream(strip_usage=True)
    for piece in split(data[: keep % (len(data) - 2)], cuts):
        stream.feed(piece)
    assert not stream.complete


def test_usage_on_content_events_stays_where_the_client_asked_for_it():
    stream = EventStream(strip_usage=True)
    one = event("x", usage={"prompt_tokens": 3, "completion_tokens": 1})
    assert stream.feed(one) == one


def test_an_error_inside_a_stream_is_held_back_and_names_no_address():
    error = {"message": "lost 10.1.2.3:8000", "type": "InternalServerError", "param": None, "code": 500}
    stream = EventStream(strip_usage=True)
    assert stream.feed(event("a") + b"data: " + json.dumps({"error": error}).encode() + b"\n\n" + DONE) == event("a")
    assert stream.failed
    assert (stream.error.status, stream.error.message) == (500, "lost the engine")


def test_an_answer_that_the_engine_aborted_is_not_taken_for_whole():
    end = {"id": "x", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "abort"}]}
    stream = EventStream(strip_usage=True)
    said = event('a "finish_reason":"abort" b')
    assert stream.feed(said + b"data: " + json.dumps(end).encode() + b"\n\n" + DONE) == said
    assert stream.failed
    assert not stream.complete


def test_an_endless_event_does_not_fill_the_memory():
    stream = EventStream(strip_usage=True)
    piece = b"data: " + b"x" * 1_000_000
    relayed = sum(len(stream.feed(piece)) for _ in range(8))
    assert relayed >= 6 * len(piece)


def test_comments_are_no_first_token():
    assert only_comments(b": ping\n\n: ping\n\n")
    assert not only_comments(b": ping\n\ndata: {}\n\n")
    assert not only_comments(DONE)


def test_cost_is_tokens_at_their_prices():
    account = settle(read_usage(b'{"usage":{"prompt_tokens":1000,"completion_tokens":500}}'), 0, ROUTE)
    assert (account.input_tokens, account.output_tokens, account.estimated) == (1000, 500, False)
    assert account.cost_usd == 1000 / 1e6 * 1.0 + 500 / 1e6 * 2.0


def test_cached_tokens_are_read_and_explicit_zeros_stay_zeros():
    usage = read_usage(
        b'{"usage":{"prompt_tokens":9,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":4}}}'
    )
    account = settle(usage, 33, ROUTE)
    assert (account.output_tokens, account.cached_tokens, account.estimated) == (0, 4, False)


def test_without_usage_the_relayed_events_are_the_estimate():
    account = settle(None, 7, ROUTE)
    assert (account.output_tokens, account.estimated) == (7, True)


def test_the_usage_of_a_long_reply_is_found_at_its_end():
    tail = (
        b'"embedding":[1,2]}],"model":"tiny","usage":{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":2}}}'
    )
    usage = usage_in_tail(tail)
    assert usage is not None
    assert usage.prompt_tokens == 5
    assert usage_in_tail(b'{"data":[]}') is None


COUNTS = {"prompt_tokens": 7, "total_tokens": 9, "completion_tokens": 2}
FORMS = [
    COUNTS,
    COUNTS | {"prompt_tokens_details": {"cached_tokens": 4}},
    COUNTS | {"prompt_tokens_details": None},
    COUNTS | {"note": "a } brace { and é"},
]


@pytest.mark.parametrize("used", FORMS, ids=["plain", "nested", "null", "braces"])
@pytest.mark.parametrize("behind", [{}, {"system_fingerprint": "x}"}], ids=["last", "not last"])
@pytest.mark.parametrize("text", ["word", 'quoted: ,"usage":{"a":1}', "é漢 }"])
def test_usage_that_only_the_gateway_asked_for_is_taken_out_of_an_event(used: dict, behind: dict, text: str):
    head: dict = {"id": "1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}

    def framed(content: dict) -> bytes:
        return b"data: %b\n\n" % json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()

    stream = EventStream(strip_usage=True, counted=True)
    counted, plain = framed(head | {"usage": used} | behind), framed(head | behind)
    assert stream.feed(counted) == plain
    assert stream.feed(counted + plain + counted) == plain * 3
    told = stream.so_far()
    assert told is not None
    assert (told.prompt_tokens, told.completion_tokens) == (7, 2)
    assert stream.usage is None, "the stream has not ended"
    assert stream.feed(framed({"id": "1", "choices": [], "usage": COUNTS | {"completion_tokens": 3}})) == b""
    ended = stream.so_far()
    assert ended is not None
    assert ended.completion_tokens == 3


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
def test_usage_of_another_writers_spacing_is_taken_out_as_well(end: str):
    counted = 'data: {"choices": [{"index": 0}], "usage": {"completion_tokens": 5}, "id": "1"}' + end
    stream = EventStream(strip_usage=True, counted=True)
    assert stream.feed(counted.encode()) == ('data: {"choices": [{"index": 0}], "id": "1"}' + end).encode()
    told = stream.so_far()
    assert told is not None
    assert told.completion_tokens == 5


def test_a_usage_event_is_one_whatever_stands_before_its_usage():
    last = b'data: {"choices":[],"system_fingerprint":"x","usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
    asked, unasked = EventStream(strip_usage=False, counted=True), EventStream(strip_usage=True, counted=True)
    assert (asked.feed(last), unasked.feed(last)) == (last, b"")
    assert asked.usage is not None
    assert asked.usage.prompt_tokens == 7


def test_usage_that_a_client_asked_for_stays_in_each_event():
    data = b'data: {"choices":[{"index":0}],"usage":{"completion_tokens":1}}\n\n'
    assert EventStream(strip_usage=False).feed(data) == data


@pytest.mark.parametrize("options", [None, b"null", b'{"include_usage":true}', b' {"other":[1]} ', b"{}"])
def test_an_engine_is_asked_for_usage_in_each_event_beside_what_the_client_asked(options: bytes | None):
    body = b'{"model":"m","stream_options":%b}\n' % options if options else b'{"model":"m"}'
    asked = json.loads(count_each(body, options))["stream_options"]
    given = (json.loads(options) if options else None) or {}
    assert asked == given | {"include_usage": True, "continuous_usage_stats": True}
