"""The simulated engine's words: a pure function from the text so far to what comes next.

Because nothing but the text so far decides, an engine that is given a prompt and the beginning of the answer writes the
rest of the very answer that another engine (of the same seed and model name) would have written. That is what a gateway
relies on when it continues a broken stream.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from zlib import crc32

from app.engine import phrases
from app.engine.scheduler import END
from app.engine.tokens import Tokenizer

_BORDER = re.compile(r"[.!?](?=\s|$)")
_HEAD = 400
"""Characters of a plain prompt that decide what its continuation is about."""

_LENGTH = re.compile(r"(\d{1,5})\s+(words|tokens|sentences)")
_WORDS_PER_SENTENCE = 13
_STOP_WORDS = frozenset(phrases.COMMON.split()) | {"user", "assistant", "system"}


class Writer:
    """Continues `text`. `start` is where the answer begins in it (a chat), or None for a plain prompt.

    `subject` is what a chat's answer is about: the last user message. `key` stands for model, seed and sampling.
    """

    def __init__(self, text: str, *, key: int = 0, start: int | None = None, subject: str = "") -> None:
        self._key = key
        self._start = start
        origin = start or 0
        borders = [match.end() for match in _BORDER.finditer(text, origin)]
        border = borders[-1] if borders else origin
        self._rest = text[border:]
        self._sentences = len(borders)
        self._last = text[border - 1 : border]
        self._crc = crc32(text[:border].encode(errors="replace"))
        self._head = text[: min(border, _HEAD)]
        self._subject = subject
        self._bank: tuple[str, ...] = ()
        self._offset = self._length = 0
        if start is not None:
            opening = _digest(crc32(text[:start].encode(errors="replace")), key)
            self._bank = _sentences_about(subject, opening)
            self._offset = opening % 97
            self._length = _asked_length(subject) or 3 + opening % 5

    def next(self) -> str | None:
        """The rest of the sentence begun, or the next one; None at the end of the answer."""
        digest = _digest(self._crc, self._key)
        rest, self._rest = self._rest, ""
        if not rest and self._ended(digest):
            return None
        sentence = self._sentence(digest)
        if sentence.startswith(rest):
            piece = sentence[len(rest) :]
        else:
            piece = _finish(rest, phrases.TAILS[digest % len(phrases.TAILS)])
        whole = rest + piece
        self._crc = crc32(whole.encode(errors="replace"), self._crc)
        self._last = whole[-1:]
        self._sentences += 1
        if len(self._head) < _HEAD:
            self._head = (self._head + whole)[:_HEAD]
        return piece

    def _ended(self, digest: int) -> bool:
        if self._start is None:
            return digest % 24 == 0
        return self._sentences >= self._length

    def _sentence(self, digest: int) -> str:
        lead = "" if not self._last or self._last.isspace() else " "
        if self._start is not None and self._sentences == 0:
            lead = ""
        if self._start is not None and self._sentences < len(self._bank):
            return lead + self._bank[self._sentences]
        about = self._subject if self._start is not None else self._head
        if self._start is None and digest % 3 == 0:
            bank = _sentences_about(about, 0)
            if bank:
                return lead + bank[digest // 3 % len(bank)]
        return lead + _composed(digest)


class FixedWriter:
    """Writes a given answer from where the text so far leaves off, or from its start."""

    def __init__(self, answer: str, written: str = "") -> None:
        self._answer: str | None = answer.removeprefix(written)

    def next(self) -> str | None:
        answer, self._answer = self._answer, None
        return answer or None


def drawer(
    tokenizer: Tokenizer,
    next_text: Callable[[], str | None],
    *,
    ignore_end: bool = False,
    least: int = 0,
    join: bool = False,
) -> Callable[[], int]:
    """A function that draws one token id after another; at the end of the text END, unless it is to be ignored.

    `least` tokens come before an END. `join`: the prompt ends with a role, so the first word is cut as after a blank.
    """
    ids: list[int] = []
    drawn = 0
    first = join

    def draw() -> int:
        nonlocal drawn, first
        drawn += 1
        misses = 0
        while not ids:
            text = next_text()
            if text is None:
                if not ignore_end and drawn > least:
                    return END
                misses += 1
                if misses > 1:  # a fixed answer: nothing more can come, so line breaks fill the rest
                    return tokenizer.encode("\n")[0]
                continue
            cut = tokenizer.encode(" " + text) if first else tokenizer.encode(text)
            first = False
            ids.extend(reversed(cut))
        return ids.pop()

    return draw


def _digest(crc: int, key: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{crc}:{key}".encode(), digest_size=8).digest(), "big")


def _finish(rest: str, tail: str) -> str:
    """What brings `rest` to its end: the part of `tail` that it does not end with yet."""
    for length in range(min(len(rest), len(tail) - 1), 0, -1):
        if rest.endswith(tail[:length]):
            return tail[length:]
    return tail


def _asked_length(subject: str) -> int | None:
    """Sentences, where the question asks for a number of words, tokens or sentences."""
    match = _LENGTH.search(subject)
    if match is None:
        return None
    number = int(match[1])
    return max(1, number if match[2] == "sentences" else round(number / _WORDS_PER_SENTENCE))


def _sentences_about(subject: str, digest: int) -> tuple[str, ...]:
    words = re.findall(r"[A-Za-z][A-Za-z-]+", subject)
    lower = {word.lower() for word in words}
    found: list[str] = []
    for keys, lines in phrases.BANK.items():
        if not lower.isdisjoint(keys.split()):
            turn = digest % len(lines) if len(lines) > 3 else 0
            found.extend(lines[turn:] + lines[:turn])
    rare = list(dict.fromkeys(word for word in words if len(word) > 3 and word.lower() not in _STOP_WORDS))
    if found or not rare:
        return tuple(found)
    topic, other = rare[0], rare[1 % len(rare)]
    turn = digest // 7 % len(phrases.GENERAL)
    lines = (phrases.OPENERS[digest % len(phrases.OPENERS)], *phrases.GENERAL[turn:], *phrases.GENERAL[:turn])
    return tuple(line.format(topic=topic, other=other) for line in lines)


def _composed(digest: int) -> str:
    parts = []
    for choices in (phrases.SUBJECTS, phrases.VERBS, phrases.OBJECTS, phrases.ENDINGS):
        digest, index = divmod(digest, len(choices))
        parts.append(choices[index])
    return f"{parts[0]} {parts[1]} {parts[2]}{parts[3]}"
