"""A stream that is cut at every place, once and twice: its text comes once, and as many events as its usage has tokens.

The parts that put a stream together are run without sockets, so that each place can be tried.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.gateway.admit import Route
from app.gateway.continuation import DONE, NotResumable, continuation, finish_event
from app.gateway.continued import ContinuedStream
from app.gateway.progress import Kept
from app.gateway.rewrite import EventStream
from tests.gateway.broken_engines import Model, Told
from tests.gateway.harness import CHAT

BYTES = [b"Cof", b"f", b"\xc3", b"\xa9", b" is", b" ", b" ", b"\xf0", b"\x9f", b"\x8d", b"\xb5", b"\n", b"now", b"."]
"""Characters of two and of four tokens, and white space that is a token."""
PIECES = [b"a", b" b", b"  ", b"c", b" ", b"\n", b"\n", b"d"]
"""Much white space, which a chat template may cut off."""
MIXED = [b"Cof", b"f\xc3", b"\xa9", b" \xf0\x9f", b"\x8d\xb5 i", b"s ", b"o"]
"""Tokens with a character and a part of the next one: what of them is not out is made again, as a token of its own."""
STREAM = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 100}
ROUTES: dict[Route, dict[str, Any]] = {
    "chat": CHAT | STREAM,
    "completions": {"model": "tiny", "prompt": "x|"} | STREAM,
}


def stream_of(model: Model, route: Route, *cuts: int) -> tuple[Told, list[int]]:
    """What a client has once each engine in turn was cut after so many bytes, and how many bytes each would send."""
    body = sent = json.dumps(ROUTES[route]).encode()
    kept, out, plan, sizes = Kept(1 << 20), b"", None, []
    for number, cut in enumerate((*cuts, None)):
        data = b"".join(model.events(json.loads(sent), number + 1))
        sizes.append(len(data))
        stream = EventStream(strip_usage=False) if plan is None else ContinuedStream(plan, strip_usage=False, kept=kept)
        for part in (stream.feed(data[:cut]), stream.finish()):
            if part:
                kept.add(part)
                out += part
        if stream.complete:
            break
        progress = kept.progress()
        plan = continuation(route, body, progress)
        if plan.only_usage and stream.usage is not None:  # as `Resumption.broke`: nothing is missing but the end
            out += DONE
            break
        if plan.finish:
            event = finish_event(route, progress, "length")
            kept.add(event)
            out += event
        sent = plan.body
    payloads = [event[6:].strip() for event in out.split(b"\n\n") if event.strip()]
    done = payloads.count(b"[DONE]")
    return Told([json.loads(one) for one in payloads if one != b"[DONE]"], None, done), sizes


def check(found: Told, model: Model, route: Route, where: str) -> None:
    assert found.text == model.text, where
    assert found.usages == [(model.prompt_tokens, len(model.tokens))], where
    assert found.tokens == len(model.tokens), f"{where}: {found.tokens} events, {len(model.tokens)} tokens"
    assert found.finishes == ["stop"], where
    assert found.roles == (route == "chat"), where
    assert found.done == 1, where


@pytest.mark.parametrize("tokens", [BYTES, PIECES], ids=["characters", "white space"])
@pytest.mark.parametrize(("route", "strips"), [("chat", False), ("chat", True), ("completions", False)])
def test_a_stream_cut_after_any_byte_has_its_text_once_and_an_event_for_each_token(
    route: Route, strips: bool, tokens: list[bytes]
) -> None:
    model = Model(tokens, strips=strips)
    whole, sizes = stream_of(model, route)
    check(whole, model, route, "not cut")
    for cut in range(sizes[0] + 1):
        found, _ = stream_of(model, route, cut)
        check(found, model, route, f"cut after byte {cut}")


@pytest.mark.parametrize("tokens", [BYTES, PIECES], ids=["characters", "white space"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_stream_cut_twice_after_any_events_has_its_text_once_and_an_event_for_each_token(
    route: Route, tokens: list[bytes]
) -> None:
    model = Model(tokens, strips=route == "chat")
    ends = _ends(model, json.dumps(ROUTES[route]).encode())
    for first in ends:
        _, sizes = stream_of(model, route, first, 0)
        if len(sizes) < 2:
            continue
        for second in range(0, sizes[1] + 1, 37):
            found, _ = stream_of(model, route, first, second)
            check(found, model, route, f"cut after bytes {first} and {second}")


@pytest.mark.parametrize("route", ROUTES)
def test_the_rest_of_a_token_that_was_shown_in_part_is_counted_and_has_its_event(route: Route) -> None:
    model = Model(MIXED)
    for cut in _ends(model, json.dumps(ROUTES[route]).encode()):
        found, _ = stream_of(model, route, cut)
        assert found.text == model.text, f"cut after byte {cut}"
        assert [found.tokens] == [completion for _, completion in found.usages], f"cut after byte {cut}"
        assert len(MIXED) <= found.tokens <= len(MIXED) + 1, f"cut after byte {cut}"


@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 8, 12])
@pytest.mark.parametrize("route", ROUTES)
def test_a_stream_held_to_its_ceiling_and_cut_has_no_token_more(
    route: Route, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROUTES, route, ROUTES[route] | {"max_tokens": tokens})
    model = Model(BYTES)
    for cut in _ends(model, json.dumps(ROUTES[route]).encode()):
        found, _ = stream_of(model, route, cut)
        assert found.usages == [(model.prompt_tokens, tokens)], f"cut after byte {cut}"
        assert found.finishes == ["length"], f"cut after byte {cut}"
        assert model.text.startswith(found.text), f"cut after byte {cut}"


def test_an_answer_that_is_not_text_alone_is_not_put_together() -> None:
    body = json.dumps(ROUTES["chat"] | {"logprobs": True}).encode()
    kept = Kept(1 << 20)
    kept.add(b'data: {"id":"i","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    with pytest.raises(NotResumable, match="logprobs"):
        continuation("chat", body, kept.progress())


def _ends(model: Model, body: bytes) -> list[int]:
    """Where a first engine's events end, in bytes."""
    ends, at = [0], 0
    for event in model.events(json.loads(body), 1):
        at += len(event)
        ends.append(at)
    return ends
