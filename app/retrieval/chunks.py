"""Cuts a text into passages. Pure.

A passage is a span of the text; all spans together cover it, and none is larger than the limit. Cuts fall, in this
order, before headings, between paragraphs, after sentences, between words, and anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

BYTES_PER_TOKEN = 4
"""The gateway's estimate for prompts (app/gateway/admit.py)."""
MOST_HEADING_CHARACTERS = 300

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*|\f\s*")
_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"')\]]*\s+|\n+")
_WORD = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    """In characters of the text."""
    end: int
    heading: str = ""
    """Headings above it, outermost first, joined by ` > `."""


def size(text: str) -> int:
    """UTF-8 bytes; a lone surrogate counts as three."""
    return len(text.encode("utf-8", "surrogatepass"))


def clean(text: str) -> str:
    """What PostgreSQL can hold: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def page_of(text: str, span: Span) -> int:
    """From 1. Pages are parted by form feeds."""
    return text.count("\f", 0, span.start) + 1


def cut(text: str, tokens: int, overlap: int) -> list[Span]:
    """Passages of at most `tokens`, which repeat at most `overlap` tokens of the one before in the same section.

    Blank passages are left out: what they cover is white space. Raises ValueError where `tokens` is below 1.
    """
    if tokens < 1:
        raise ValueError(f"{tokens} tokens hold nothing")
    limit, shared = tokens * BYTES_PER_TOKEN, overlap * BYTES_PER_TOKEN
    found: list[Span] = []
    held: list[tuple[int, int, int]] = []  # (start, end, bytes) of the passage that grows
    heading = ""
    for start, end, above in _sections(text):
        if held and sum(one[2] for one in held) * 4 >= limit:
            _close(text, held, heading, found)
            held = []
        if not held or not text[held[0][0] : held[-1][1]].strip():
            held, heading = [], above  # white space before a heading is no part of what stands under it
        for unit in _units(text, start, end, limit):
            total = sum(one[2] for one in held)
            if held and total + unit[2] > limit:
                _close(text, held, heading, found)
                held = _tail([one for one in held if one[0] >= start], shared, limit - unit[2])
                heading = above
            held.append(unit)
    if held:
        _close(text, held, heading, found)
    return found


def _close(text: str, held: list[tuple[int, int, int]], heading: str, found: list[Span]) -> None:
    start, end = held[0][0], held[-1][1]
    if text[start:end].strip():
        found.append(Span(start, end, heading))


def _tail(units: list[tuple[int, int, int]], shared: int, room: int) -> list[tuple[int, int, int]]:
    """The last units that may be repeated: within the overlap, and beside what comes next."""
    kept: list[tuple[int, int, int]] = []
    total = 0
    for unit in reversed(units):
        total += unit[2]
        if total > shared or total > room:
            break
        kept.insert(0, unit)
    return kept


def _sections(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, headings) of what stands under each heading, itself included; fenced code holds no headings."""
    path: list[tuple[int, str]] = []
    start = at = 0
    fence = ""
    shown = ""
    for line in text.splitlines(keepends=True):
        opened = _FENCE.match(line)
        if fence:
            if opened and opened[1].startswith(fence):
                fence = ""
        elif opened:
            fence = opened[1][:3]
        elif (match := _HEADING.match(line.rstrip("\n"))) is not None:
            if at > start:
                yield start, at, shown
            start = at
            level = len(match[1])
            path = [one for one in path if one[0] < level] + [(level, match[2].strip())]
            shown = " > ".join(name for _, name in path if name)[:MOST_HEADING_CHARACTERS]
        at += len(line)
    if at > start:
        yield start, at, shown


def _units(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int, int]]:
    yield from _split(text, start, end, limit, (_PARAGRAPH, _SENTENCE, _WORD))


def _split(
    text: str, start: int, end: int, limit: int, separators: tuple[re.Pattern[str], ...]
) -> Iterator[tuple[int, int, int]]:
    """Pieces of at most `limit` bytes, one after the other; separators stay at the end of the piece before."""
    if not separators:
        yield from _hard(text, start, end, limit)
        return
    at = start
    stops = [match.end() for match in separators[0].finditer(text, start, end) if match.end() < end]
    for stop in (*stops, end):
        if stop <= at:
            continue
        length = size(text[at:stop])
        if length <= limit:
            yield at, stop, length
        else:
            yield from _split(text, at, stop, limit, separators[1:])
        at = stop


def _hard(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int, int]]:
    at, length = start, 0
    for index in range(start, end):
        width = size(text[index])
        if length and length + width > limit:
            yield at, index, length
            at, length = index, 0
        length += width
    yield at, end, length
