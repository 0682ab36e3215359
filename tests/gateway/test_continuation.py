"""What is kept of a stream, and the request and events with which another engine goes on. Without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.continuation import NotResumable, continuation, finish_event
from app.gateway.continued import ContinuedStream
from app.gateway.progress import FOLD_BYTES, Kept
from tests.gateway.harness import CHAT, DONE, event, usage_event

MANY = 10**9


def kept(*events: bytes, most: int = MANY) -> Kept:
    found = Kept(most)
    for one in events:
        found.add(one)
    return found


def body(**fields: Any) -> bytes:
    return json.dumps(CHAT | {"stream": True} | fields).encode()


def text_of(data: bytes) -> str:
    chunks = [json.loads(one[6:]) for one in data.split(b"\n\n") if one.startswith(b"data: {")]
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=30)
FRAMES = st.sampled_from(
    [lambda data: data, lambda data: data.replace(b"\n", b"\r\n"), lambda data: b": keep-alive\n\n" + data]
)


@given(texts=TEXTS, frames=st.lists(FRAMES, min_size=1), together=st.integers(1, 4), fold=st.integers(0, 9))
def test_however_events_come_their_text_is_known(texts: list[str], frames: list[Any], together: int, fold: int):
    events = [frames[number % len(frames)](event(text)) for number, text in enumerate(texts)]
    found = Kept(MANY)
    for start in range(0, len(events), together):
        found.add(b"".join(events[start : start + together]))
        if fold and start % fold == 0:
            found.progress()
    progress = found.progress()
    assert "".join(progress.text) == "".join(texts)
    assert progress.tokens == len(texts)
    assert progress.id == ("chatcmpl-1" if texts else None)


def test_what_is_kept_is_bounded():
    found = Kept(5_000)
    for _ in range(2_000):
        found.add(event("word "))
        assert found._size <= FOLD_BYTES + 1_000
        assert sum(map(len, found._told.text)) <= 5_000
    assert found.progress().obstacle == "too_long"
    with pytest.raises(NotResumable, match="too_long"):
        continuation("chat", body(), found.progress())


def test_the_bound_is_in_bytes_and_not_in_characters():
    assert kept(*[event("漢" * 10)] * 40, most=1_000).progress().obstacle == "too_long"
    assert not kept(*[event("a" * 10)] * 40, most=1_000).progress().obstacle


@given(before=TEXTS, after=TEXTS, strips=st.booleans())
def test_both_parts_together_are_the_text_of_one_answer(before: list[str], after: list[str], strips: bool):
    """The next engine makes trailing white space again, which the client already has."""
    found = kept(*map(event, before))
    plan = continuation("chat", body(), found.progress())
    asked = json.loads(plan.body)
    written = asked["messages"][-1]["content"] if asked.get("continue_final_message") else ""
    whole = "".join(before) + "x" + "".join(after)
    assert whole.startswith(written)
    rest = whole[len(written) :]
    stream = ContinuedStream(plan, strip_usage=True)
    pieces = [rest[start : start + 3] for start in range(0, len(rest), 3)]
    out = b"".join([*(stream.feed(event(piece)) for piece in pieces), stream.feed(DONE)])
    assert "".join(before) + text_of(out.removesuffix(DONE)) == whole
    assert written == written.rstrip(), "a chat template may cut white space off"


@pytest.mark.parametrize("prompt", ["Say: ", ["Say: "]])
def test_a_completion_goes_on_behind_its_prompt_with_its_white_space(prompt: Any):
    raw = json.dumps({"model": "tiny", "prompt": prompt, "stream": True}).encode()
    chunk = event("", choices=[{"index": 0, "text": "a \n", "finish_reason": None}])
    plan = continuation("completions", raw, kept(chunk).progress())
    asked = json.loads(plan.body)
    assert (asked["prompt"], asked["max_tokens"], plan.skip) == ("Say: a \n", 15, "")


@given(tokens=st.integers(1, 40), limit=st.integers(1, 50))
def test_the_limit_is_shared(tokens: int, limit: int):
    found = kept(*[event("a")] * min(tokens, limit))
    plan = continuation("chat", body(max_tokens=limit, max_completion_tokens=limit), found.progress())
    asked = json.loads(plan.body)
    if tokens >= limit:
        assert (plan.only_usage, plan.finish, asked["max_tokens"]) == (True, True, 1)
        assert "continue_final_message" not in asked
    else:
        assert asked["max_tokens"] == asked["max_completion_tokens"] == limit - tokens
    assert plan.seen == min(tokens, limit)


def test_usage_is_that_of_one_request():
    plan = continuation("chat", body(), kept(*[event("a")] * 5).progress())
    stream = ContinuedStream(plan, strip_usage=False)
    usage = {"prompt_tokens": 25, "total_tokens": 32, "completion_tokens": 7, "x": 1}
    more = {"prompt_tokens_details": {"cached_tokens": 24}}
    out = json.loads(stream.feed(event("", choices=[], usage=usage | more))[6:])["usage"]
    assert out == {
        "prompt_tokens": 20, "total_tokens": 32, "completion_tokens": 12, "x": 1,
        "prompt_tokens_details": {"cached_tokens": 20},
    }  # fmt: skip


def test_usage_on_each_event_makes_the_counts_exact():
    def with_usage(text: str, completion: int) -> bytes:
        return event(text, usage={"prompt_tokens": 17, "total_tokens": 0, "completion_tokens": completion})

    plan = continuation("chat", body(), kept(with_usage("a", 1), with_usage("b", 2)).progress())
    stream = ContinuedStream(plan, strip_usage=False)
    out = json.loads(stream.feed(with_usage("c", 1).replace(b":17", b":21"))[6:])["usage"]
    assert (out["prompt_tokens"], out["completion_tokens"], out["total_tokens"]) == (17, 3, 20)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.integers(1, 40))
def test_with_usage_on_each_event_the_limit_is_exact_however_many_tokens_an_event_has(tokens: list[int], left: int):
    """vLLM puts several into one where its own server falls behind."""
    events, seen = (
        [event("", choices=[{"index": 0, "delta": {"role": "assistant"}}], usage={"completion_tokens": 0})],
        0,
    )
    for count in tokens:
        seen += count
        events.append(event("x" * count, usage={"prompt_tokens": 17, "completion_tokens": seen}))
    plan = continuation("chat", body(max_tokens=seen + left), kept(*events).progress())
    assert json.loads(plan.body)["max_tokens"] == left
    assert plan.seen == seen


def test_events_take_over_the_first_ones_identity_and_no_second_role():
    first = event("", id="one", created=1, model="m", choices=[{"index": 0, "delta": {"role": "assistant"}}])
    plan = continuation("chat", body(), kept(first, event("a")).progress())
    stream = ContinuedStream(plan, strip_usage=True)
    second = event("", id="two", created=2, model="n", choices=[{"index": 0, "delta": {"role": "assistant"}}])
    assert stream.feed(second) == b""
    chunk = json.loads(stream.feed(event("b", id="two", created=2, model="n"))[6:])
    assert (chunk["id"], chunk["created"], chunk["model"]) == ("one", 1, "m")
    assert stream.feed(usage_event() + DONE) == DONE
    assert stream.complete


def test_a_role_that_comes_with_text_keeps_the_text():
    plan = continuation("chat", body(), kept(event("a", choices=[_role("a")])).progress())
    out = ContinuedStream(plan, strip_usage=True).feed(event("", choices=[_role("b")]))
    assert json.loads(out[6:])["choices"][0]["delta"] == {"content": "b"}


def _role(text: str) -> dict[str, Any]:
    return {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}


def test_several_answers_that_are_whole_only_lack_their_usage():
    ends = [event("", choices=[{"index": n, "delta": {"content": "x"}, "finish_reason": "stop"}]) for n in (0, 1)]
    with pytest.raises(NotResumable, match="n"):
        continuation("chat", body(n=2), kept(ends[0]).progress())
    plan = continuation("chat", body(n=2), kept(*ends).progress())
    assert (plan.only_usage, plan.finish, plan.seen) == (True, False, 2)
    assert json.loads(plan.body)["messages"] == CHAT["messages"]


def test_what_else_the_client_asked_reaches_the_next_engine_byte_for_byte():
    raw = b'{"model":"tiny","messages":[ {"role":"user","content":"\\u00e9"} ],"stream":true,"x":1.50,"y":1e400}'
    asked = continuation("chat", raw, kept(event("a")).progress()).body
    for part in (b'"x":1.50', b'"y":1e400', b'{"role":"user","content":"\\u00e9"}'):
        assert part in asked


@pytest.mark.parametrize("route", ["chat", "completions"])
def test_a_finish_event_is_made_in_the_form_of_its_route(route: Any):
    chunk = json.loads(finish_event(route, kept(event("a")).progress(), "length")[6:])
    (choice,) = chunk["choices"]
    assert (chunk["id"], choice["finish_reason"]) == ("chatcmpl-1", "length")
    assert choice["delta"] == {"content": ""} if route == "chat" else choice["text"] == ""
