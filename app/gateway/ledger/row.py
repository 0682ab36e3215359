"""One request's row and its text form, without I/O.

The text form is a line of PostgreSQL's COPY text format. It is made once, when the request ends; the spool keeps it and
the database takes it as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

COLUMNS = (
    ("id", "uuid"),
    ("ended", "double precision"),
    ("request_id", "text"),
    ("tenant", "text"),
    ("key_id", "text"),
    ("feature", "text"),
    ("model", "text"),
    ("colour", "text"),
    ("zone", "text"),
    ("engine", "text"),
    ("route", "text"),
    ("status", "smallint"),
    ("outcome", "text"),
    ("stream", "boolean"),
    ("input_tokens", "bigint"),
    ("output_tokens", "bigint"),
    ("cached_tokens", "bigint"),
    ("estimated", "boolean"),
    ("ttft_ms", "double precision"),
    ("itl_ms", "double precision"),
    ("duration_ms", "double precision"),
    ("tries", "smallint"),
    ("resumed", "smallint"),
    ("cost_usd", "numeric"),
    ("cache", "text"),
    ("intent", "text"),
    ("pipeline", "text"),
    ("step", "text"),
)
"""Names and types in the order of a line. `ended` is in seconds since 1970."""

LONGEST_TEXT = 128
MOST_TOKENS = 2**53
FEATURE_RULE = "1 to 64 letters, digits and . _ : / -, the first one a letter or digit"
_FEATURE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_NOT_PLAIN = re.compile(r"[^ -\[\]-~]")


class Row(msgspec.Struct, frozen=True):
    """What is billed and reported of one request. Times in milliseconds unless named otherwise; None: not known."""

    id: str
    """32 hexadecimal digits, given by the gateway: a client may send the same request id twice."""
    ended: float
    """Seconds since 1970."""
    request_id: str
    tenant: str
    key_id: str
    feature: str | None
    """The client's tag, from the header `x-penstock-feature`."""
    model: str
    colour: str
    zone: str | None
    """The engine's."""
    engine: str | None
    route: str
    status: int
    outcome: str
    stream: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    estimated: bool
    """The engine sent no usage: output tokens are the events relayed."""
    ttft_ms: float | None
    itl_ms: float | None
    """Mean time between output tokens: from the first event to the end, over the output tokens after the first."""
    duration_ms: float
    tries: int
    resumed: int
    """How often another engine went on with the stream."""
    cost_usd: float
    cache: str | None = None
    """What the cache did: hit, semantic, coalesced, miss or bypass; None where there is none. Hits cost nothing."""
    intent: str | None = None
    """What the request is after, as the classifier of traffic says; None where there is none."""
    pipeline: str | None = None
    """The pipeline that the request asked for, or that it is a step of."""
    step: str | None = None
    """The step; None for the pipeline itself, which costs nothing: its steps do."""


def read_feature(header: bytes) -> str | None:
    """The feature tag in a header's value; None where it breaks FEATURE_RULE."""
    return header.decode("ascii") if _FEATURE.fullmatch(header) else None


def mean_itl_ms(seconds_after_first_event: float, output_tokens: int) -> float | None:
    """None where there is no second token."""
    return seconds_after_first_event * 1e3 / (output_tokens - 1) if output_tokens > 1 else None


@lru_cache(maxsize=4096)
def _text(value: str | None) -> str:
    r"""A text field: at most 128 characters of printable ASCII without a backslash, which COPY takes as they are."""
    if value is None:
        return r"\N"
    return _NOT_PLAIN.sub("?", value[:LONGEST_TEXT])


def _number(value: float | None) -> str:
    return r"\N" if value is None else f"{value:.3f}"


def _count(tokens: int) -> int:
    """What an engine says is not trusted to be sound: a row that the database refuses would be lost."""
    return min(max(tokens, 0), MOST_TOKENS)


def encode(row: Row) -> bytes:
    """The row's line, newline included, in the order of COLUMNS."""
    request_id = row.request_id
    if len(request_id) > LONGEST_TEXT or _NOT_PLAIN.search(request_id):
        request_id = _NOT_PLAIN.sub("?", request_id[:LONGEST_TEXT])
    return (
        f"{row.id}\t{row.ended:.6f}\t{request_id}"
        f"\t{_text(row.tenant)}\t{_text(row.key_id)}\t{_text(row.feature)}\t{_text(row.model)}\t{_text(row.colour)}"
        f"\t{_text(row.zone)}\t{_text(row.engine)}\t{_text(row.route)}\t{row.status}\t{_text(row.outcome)}"
        f"\t{'t' if row.stream else 'f'}"
        f"\t{_count(row.input_tokens)}\t{_count(row.output_tokens)}\t{_count(row.cached_tokens)}"
        f"\t{'t' if row.estimated else 'f'}"
        f"\t{_number(row.ttft_ms)}\t{_number(row.itl_ms)}\t{row.duration_ms:.3f}\t{row.tries}\t{row.resumed}"
        f"\t{max(row.cost_usd, 0.0):.10f}\t{_text(row.cache)}"
        f"\t{_text(row.intent)}\t{_text(row.pipeline)}\t{_text(row.step)}\n"
    ).encode("ascii")
