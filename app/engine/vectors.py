"""Vectors that carry some meaning: features of a text, hashed, through a fixed random projection. Pure.

A text's features are its words, the beginnings of its words, and the three-letter pieces of its words. Each feature has
a direction of its own, drawn from its hash (a sparse random projection as in Achlioptas, Journal of Computer and System
Sciences 66, 2003: a few places with a sign each); a text is the weighted sum of its features, at length one. So texts
that share words or parts of words are near, and the same text has the same vector in every process. What a trained
model knows beyond that, such as that "holiday" and "leave" are alike, these vectors do not know.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from functools import lru_cache

SIZE = 256
_PLACES = 6
"""Places of one feature. More make unrelated texts more alike at random, by about 1/sqrt(SIZE) whatever it is."""
_WORD, _STEM, _PIECE = 1.0, 0.7, 0.25
"""Weights of a whole word, of its first five letters, and of each of its pieces."""
_COMMON_WORDS = """
    a about an and are as at be been but by can did do does for from had has have he her him his how i if in
    into is it its me my no not of on or our she so than that the their them then there these they this to us
    was we were what when where which who why will with would you your
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_COMMON_WEIGHT = 0.1
_WORDS = re.compile(r"\w+")
LONGEST_WORD = 64


@lru_cache(maxsize=16_384)
def _direction(word: str) -> tuple[tuple[int, float], ...]:
    """Places and values of all features of one word."""
    word = word[:LONGEST_WORD]
    weight = _COMMON_WEIGHT if word in _COMMON else 1.0
    features = [(f"w:{word}", _WORD), (f"s:{word[:5]}", _STEM)]
    edged = f"<{word}>"
    features += [(f"p:{edged[at : at + 3]}", _PIECE) for at in range(len(edged) - 2)]
    found: dict[int, float] = {}
    for name, size in features:
        digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=3 * _PLACES).digest()
        for place in range(_PLACES):
            at = int.from_bytes(digest[3 * place : 3 * place + 2]) % SIZE
            found[at] = found.get(at, 0.0) + size * weight * (1.0 if digest[3 * place + 2] & 1 else -1.0)
    return tuple(found.items())


def vector(text: str, dimensions: int = SIZE) -> list[float]:
    """Of length one. `dimensions`: the first so many of SIZE, as a model trained for shortened vectors gives."""
    total = [0.0] * SIZE
    for word, count in Counter(_WORDS.findall(text.casefold())).items():
        times = 1.0 + math.log(count)
        for at, value in _direction(word):
            total[at] += times * value
    total = total[:dimensions]
    norm = math.sqrt(sum(value * value for value in total))
    if norm == 0:  # no word at all: any direction, the same each time
        return [1.0] + [0.0] * (dimensions - 1)
    return [value / norm for value in total]
