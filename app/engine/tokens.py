"""The simulated engine's tokenizer: words, word pieces and bytes. Deterministic and reversible.

Text is cut at word borders (a space belongs to the word after it); a frequent word is one token, any other one is cut
into the longest known pieces, and what is left into bytes. Ids: 0 and 1 are the start and end of a sequence, 2 to 257
the bytes, then pieces. So two texts joined at a word border have the tokens of both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from app.engine import phrases

FIRST_BYTE = 2
_CUT = re.compile(r" ?[A-Za-z]+| ?[0-9]{1,3}| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
_LEAD = (
    " the", "the", " quick", "quick", " brown", "brown", " fox", "fox", "th", "he", "in", "er", "an", "re", "on", "at",
    "en", "nd", "ti", "es", "or", "te", " world", "hello",
)  # fmt: skip
"""Ids 258 to 281, so that "hello world" is 281, 280 as in the recorded replies."""

_LONGEST = 14


class Tokenizer:
    """`texts[id]` is a token's text, None where it is a part of a character; `quoted[id]` its JSON, in bytes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = [b"", b"", *(bytes((value,)) for value in range(256))]
        self._ids: dict[str, int] = {}
        for piece in _vocabulary():
            if piece not in self._ids:
                self._ids[piece] = len(self.pieces)
                self.pieces.append(piece.encode())
        for value in range(128):
            self._ids.setdefault(chr(value), FIRST_BYTE + value)
        self.texts: list[str | None] = [_whole(piece) for piece in self.pieces]
        self.quoted: list[bytes | None] = [None if text is None else quote(text) for text in self.texts]
        self._word = lru_cache(maxsize=8192)(self._cut_word)

    @property
    def size(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """A text's ids, without start or end of sequence."""
        ids: list[int] = []
        for word in _CUT.findall(text):
            ids.extend(self._word(word))
        return ids

    def spell(self, text: str) -> list[int]:
        """A text's ids byte by byte, as the chat template spells roles."""
        return [FIRST_BYTE + value for value in text.encode()]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; broken characters become U+FFFD. Raises ValueError for an id out of range."""
        return b"".join(self.piece(value) for value in ids).decode(errors="replace")

    def piece(self, value: int) -> bytes:
        if not 0 <= value < len(self.pieces):
            raise ValueError(f"token id {value} is out of vocabulary, which has {len(self.pieces)} ids")
        return self.pieces[value]

    def _cut_word(self, word: str) -> Sequence[int]:
        known = self._ids.get(word)
        if known is not None:
            return (known,)
        ids: list[int] = []
        at = 0
        while at < len(word):
            for end in range(min(len(word), at + _LONGEST), at, -1):
                known = self._ids.get(word[at:end])
                if known is not None:
                    ids.append(known)
                    at = end
                    break
            else:
                ids.extend(self.spell(word[at]))
                at += 1
        return tuple(ids)


def quote(text: str) -> bytes:
    """A text as a JSON string, with characters left as they are: vLLM's way."""
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")


def _whole(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def _vocabulary() -> Iterable[str]:
    yield from _LEAD
    lines = [line for bank in phrases.BANK.values() for line in bank]
    for part in (phrases.OPENERS, phrases.GENERAL, phrases.SUBJECTS, phrases.VERBS, phrases.OBJECTS, phrases.ENDINGS):
        lines.extend(part)
    lines.extend((*phrases.TAILS, *phrases.BANK, phrases.COMMON))
    words = sorted(set(re.findall(r"[A-Za-z]+", " ".join(lines))) | {"topic", "other"})
    for word in words:
        yield from (word, " " + word, word.capitalize(), " " + word.capitalize())
    yield from phrases.FRAGMENTS.split()
    for number in range(100):
        yield from (str(number), f" {number}")
    for mark in ".,;:!?'\"()-":
        yield " " + mark
    yield from ("\n\n", "  ", "    ", "'s", "'t", "...", '":', '",', '{"', '"}', "\n\n\n")
