"""Hostile and mangled bytes: HTTP as it arrives, and SSE as engines send it.

`PENSTOCK_FUZZ_EXAMPLES` sets how many examples each property gets (`make fuzz`).
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from app.gateway.rewrite import EventStream, event_payload
from tests.gateway.fuzz_wire import Gateway
from tests.gateway.harness import AUTHORIZATION

EXAMPLES = int(os.environ.get("PENSTOCK_FUZZ_EXAMPLES", "60"))
fuzzing = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    logger = logging.getLogger("uvicorn.error")  # __main__ silences it, too
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    one = Gateway()
    yield one
    one.close()
    logger.setLevel(level)


@dataclass(frozen=True, repr=False)
class Sent:
    """Bytes of one request. `status` is what it must get; 0: it breaks HTTP, and the connection ends with it."""

    data: bytes
    status: int
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Sent({self.data[:600]!r}, {self.status})"


PATH = b"/v1/chat/completions"
SMUGGLED = b'{"model":"tiny","messages":[{"role":"user","content":"smuggled"}]}'
INNER = b"POST %b HTTP/1.1\r\nhost: g\r\nauthorization: %b\r\ncontent-length: %d\r\n\r\n%b" % (
    PATH,
    AUTHORIZATION.encode(),
    len(SMUGGLED),
    SMUGGLED,
)


def head(*lines: bytes, key: bytes = AUTHORIZATION.encode(), method: bytes = b"POST", path: bytes = PATH) -> bytes:
    return b"\r\n".join((b"%b %b HTTP/1.1" % (method, path), b"Host: g", b"Authorization: " + key, *lines, b"", b""))


def chat(marker: str, **more: object) -> bytes:
    # With a limit of its own the gateway adds nothing, so what an engine gets is what was sent.
    body = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": marker}]} | more
    return json.dumps(body).encode()


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    cuts = sorted(draw(st.lists(st.integers(1, len(body) - 1), max_size=4, unique=True)))
    parts = [body[start:end] for start, end in itertools.pairwise([0, *cuts, len(body)])]
    out = b""
    for part in parts:
        extension = draw(st.sampled_from([b"", b"", b";a=b", b';q="x"', b";flag"]))
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(part)
        out += size + extension + b"\r\n" + part + b"\r\n"
    return out + b"0\r\n" + draw(st.sampled_from([b"", b"", b"x-trailer: 1\r\n"])) + b"\r\n"


@st.composite
def good(draw: st.DrawFn) -> Sent:
    body = chat(draw(st.text(max_size=20)))
    extra = draw(st.sampled_from([(), (b"X-Other: 1",), (b"x-empty:",), (b"Accept: */*", b"x: " + b"a" * 3000)]))
    if draw(st.booleans()):
        return Sent(head(*extra, b"Content-Length: %d" % len(body)) + body, 200, body)
    return Sent(head(b"Transfer-Encoding: chunked", *extra) + draw(chunked(body)), 200, body)


def _whole(body: bytes, status: int, **changes: bytes) -> Sent:
    return Sent(head(b"content-length: %d" % len(body), **changes) + body, status)


REFUSED = st.sampled_from(
    [
        _whole(chat("x"), 401, key=b"Bearer nobody"),
        _whole(b"{", 400),
        _whole(b"[1]", 400),
        _whole(chat("x", model="nope"), 404),
        _whole(chat("x", n=0), 400),
        _whole(b"{}" + INNER, 400),
        _whole(INNER, 400),
        _whole(b"", 400),
        _whole(b"", 404, path=b"/v1/nothing", method=b"GET"),
        _whole(INNER, 404, path=b"/nothing"),
        _whole(b"", 200, path=b"/healthz", method=b"GET"),
        Sent(head(b"content-length: 2", b"content-encoding: gzip") + b"{}", 415),
    ]
)


def _poison(*lines: bytes, rest: bytes = INNER, **changes: bytes) -> Sent:
    return Sent(head(*lines, **changes) + rest, 0)


_LENGTH = b"content-length: %d" % len(chat("x"))
POISONS = (
    _poison(b"content-length: 4", b"transfer-encoding: chunked", rest=b"0\r\n\r\n" + INNER),
    _poison(b"transfer-encoding: chunked", b"content-length: 4", rest=b"0\r\n\r\n" + INNER),
    _poison(b"content-length: 0", b"content-length: %d" % len(INNER)),
    _poison(b"content-length: %d" % len(INNER), b"content-length: 0"),
    _poison(b"content-length: 0, %d" % len(INNER)),
    _poison(b"content-length: -1"),
    _poison(b"content-length: +0"),
    _poison(b"content-length: 0x10"),
    _poison(b"content-length: 1 0"),
    _poison(b"content-length: " + b"9" * 30),
    _poison(b"content-length : 0"),
    _poison(b"transfer-encoding : chunked", rest=b"0\r\n\r\n" + INNER),
    _poison(b"transfer-encoding: chunked, identity", rest=b"0\r\n\r\n" + INNER),
    _poison(b"transfer-encoding: identity", b"transfer-encoding: xchunked", rest=b"0\r\n\r\n" + INNER),
    _poison(b"transfer-encoding: xchunked", rest=b"0\r\n\r\n" + INNER),
    _poison(b"transfer-encoding: chunked", rest=b"zz\r\n" + INNER),
    _poison(b"transfer-encoding: chunked", rest=b"-1\r\n" + INNER),
    _poison(b"transfer-encoding: chunked", rest=b"fffffffffffffffff\r\n" + INNER),
    _poison(b"transfer-encoding: chunked", rest=b"2\r\n{}XX0\r\n\r\n" + INNER),
    _poison(_LENGTH, b" folded: transfer-encoding: chunked"),
    _poison(_LENGTH, b"\tfolded"),
    _poison(_LENGTH, b"no colon here"),
    _poison(_LENGTH, b"na me: x"),
    _poison(_LENGTH, b"x: a\x00b"),
    _poison(_LENGTH, b": x"),
    _poison(_LENGTH, b"x: a\rcontent-length: 0"),
    _poison(_LENGTH, b"x: " + b"a" * 100_000),
    _poison(_LENGTH, *(b"x-%d: %b" % (number, b"b" * 500) for number in range(220))),
    _poison(_LENGTH, method=b"P OST"),
    _poison(_LENGTH, method=b"NONSENSE"),
    _poison(_LENGTH, path=b""),
    Sent(b"POST %b HTTP/9.9\r\nhost: g\r\n\r\n" % PATH + INNER, 0),
    Sent(b"\x16\x03\x01\x02\x00\x01\x00" + INNER, 0),
    Sent(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER, 0),
)


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 100_000),
        st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\0", b":", b" ", b"0", b"\r\n\r\n", b"\xff"])
        | st.binary(min_size=1, max_size=1),
        st.integers(0, 8),
    ),
    min_size=1,
    max_size=6,
)
"""Place, what comes in, and how many bytes go."""
CUTS = st.lists(st.integers(0, 100_000), max_size=8) | st.none()


def cut(data: bytes, cuts: list[int] | None) -> list[bytes]:
    """The bytes in pieces: at these places, or each byte alone."""
    if cuts is None:
        cuts = list(range(min(len(data), 1500)))
    edges = sorted(place % (len(data) + 1) for place in cuts)
    return [data[start:end] for start, end in itertools.pairwise([0, *edges, len(data)])]


@fuzzing
@given(cuts=CUTS, sent=st.lists(good() | REFUSED, min_size=1, max_size=5))
def test_pipelined_requests_in_any_pieces_get_one_answer_each(
    gateway: Gateway, cuts: list[int] | None, sent: list[Sent]
):
    outcome = gateway.run(cut(b"".join(one.data for one in sent), cuts))
    assert [status for status, _ in outcome.replies] == [one.status for one in sent]
    assert outcome.bodies == [one.body for one in sent if one.body]
    assert outcome.left == 0


@fuzzing
@given(
    cuts=CUTS,
    before=st.lists(good() | REFUSED, max_size=2),
    number=st.integers(0, len(POISONS) - 1),
    after=st.lists(good(), max_size=2),
)
def test_what_breaks_http_is_never_forwarded_nor_what_follows_it(
    gateway: Gateway, cuts: list[int] | None, before: list[Sent], number: int, after: list[Sent]
):
    bad = POISONS[number]
    outcome = gateway.run(cut(b"".join(one.data for one in (*before, bad, *after)), cuts))
    wanted = [one.body for one in before if one.body]
    event(f"answers before the bad one: {len(outcome.replies)}")
    assert outcome.bodies == wanted[: len(outcome.bodies)], "forwarded what was refused"
    statuses = [status for status, _ in outcome.replies]
    good_part = [one.status for one in before]
    if len(statuses) > len(good_part):
        assert len(statuses) == len(good_part) + 1, "two answers for one request"
        assert statuses[-1] in (400, 401, 404, 405, 413, 431), statuses
        statuses.pop()
    assert statuses == good_part[: len(statuses)]
    assert outcome.closed, "the connection is trusted after this"
    assert outcome.left == 0


@fuzzing
@given(cuts=CUTS, sent=st.lists(good() | REFUSED, min_size=1, max_size=3), changes=CHANGES)
def test_mangled_bytes_never_crash_nor_get_more_answers_than_requests(
    gateway: Gateway, cuts: list[int] | None, sent: list[Sent], changes: list[tuple[int, bytes, int]]
):
    raw = bytearray(b"".join(one.data for one in sent))
    for place, new, gone in changes:
        at = place % len(raw)
        raw[at : at + gone] = new
        raw = raw or bytearray(b"x")
    outcome = gateway.run(cut(bytes(raw), cuts))
    answered = [status for status, _ in outcome.replies]
    assert len(outcome.bodies) >= sum(b'"number"' in body for _, body in outcome.replies)
    # A blank line in the middle may make one more request of the rest, which is then refused; nothing makes two.
    assert len(answered) <= bytes(raw).count(b"HTTP/") + 1 + bytes(raw).count(b"\r\n\r\n")
    assert all(b"smuggled" not in body for body in outcome.bodies if b"smuggled" not in bytes(raw))
    for body in outcome.bodies:
        json.loads(body)
    assert outcome.left == 0


@fuzzing
@given(cuts=CUTS, line_end=st.sampled_from([b"\n", b"\r\n"]))
def test_line_feeds_alone_are_read_like_any_server_or_refused(
    gateway: Gateway, cuts: list[int] | None, line_end: bytes
):
    body = chat("x")
    raw = head(b"content-length: %d" % len(body)).replace(b"\r\n", line_end) + body + INNER
    outcome = gateway.run(cut(raw, cuts))
    assert outcome.bodies in ([], [body], [body, SMUGGLED[:-1] + b',"max_tokens":512}'])
    assert len(outcome.replies) <= 2


@fuzzing
@given(raw=st.binary(max_size=400))
def test_noise_is_answered_once_at_most(gateway: Gateway, raw: bytes):
    outcome = gateway.run([raw])
    assert len(outcome.replies) <= 1
    assert not outcome.bodies


# -- server-sent events --

LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12), min_size=1, max_size=3
)
PIECE = st.one_of(
    LINES.map(lambda lines: ("data", lines)), LINES.map(lambda lines: ("comment", lines)), st.just(("usage", []))
)
USAGE = '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


def sse(pieces: list[tuple[str, list[str]]], line_end: str, *, space: bool) -> bytes:
    out = ""
    for kind, lines in [*pieces, ("data", ["[DONE]"])]:
        prefix = ":" if kind == "comment" else "data: " if space else "data:"
        out += "".join(f"{prefix}{line}{line_end}" for line in (lines or [USAGE])) + line_end
    return out.encode()


def payloads(events: bytes) -> list[bytes]:
    """As the standard's algorithm reads a stream: line by line, an event at each blank line."""
    text = events.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, lines = [], []
    for line in text.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line and lines:
            found.append(b"\n".join(lines))
            lines = []
    return found


@fuzzing
@given(
    cuts=CUTS,
    pieces=st.lists(PIECE, max_size=8),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    space=st.booleans(),
    strip=st.booleans(),
)
def test_a_stream_in_any_pieces_gives_the_same_events(
    cuts: list[int] | None, pieces: list[tuple[str, list[str]]], line_end: str, space: bool, strip: bool
):
    raw = sse(pieces, line_end, space=space)
    stream = EventStream(strip_usage=strip)
    told = b"".join(stream.feed(piece) for piece in cut(raw, cuts)) + stream.finish()
    expected = [one for one in payloads(raw) if not (strip and one == USAGE.encode())]
    assert payloads(told) == expected
    assert stream.complete
    assert not stream.failed
    assert (stream.usage is not None) == (USAGE.encode() in payloads(raw))


@fuzzing
@given(cuts=CUTS, pieces=st.lists(PIECE, min_size=1, max_size=6), line_end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_each_piece_gives_whole_events_only(cuts: list[int] | None, pieces: list[tuple[str, list[str]]], line_end: str):
    raw = sse(pieces, line_end, space=True)
    stream, told = EventStream(strip_usage=False), b""
    for piece in cut(raw, cuts):
        told += stream.feed(piece)
        blank = line_end.encode() * 2
        assert not told or told.endswith(blank), "half an event was passed on"
    assert told + stream.finish() == raw


@fuzzing
@given(
    cuts=CUTS,
    raw=st.binary(max_size=200) | st.text('data:\r\n {}"usage error abort', max_size=120).map(str.encode),
)
def test_no_bytes_of_an_engine_break_the_splitting(cuts: list[int] | None, raw: bytes):
    stream = EventStream(strip_usage=True)
    told = b"".join(stream.feed(piece) for piece in cut(raw, cuts))
    told += stream.finish()
    assert len(told) <= len(raw) + 2
    event_payload(told)
