"""What two questions must have in common before one's answer may serve the other, however alike they look. No I/O.

Embeddings put "in 2023" beside "in 2024", "with" beside "without" and "from A to B" beside "from B to A". So the facts
of both must be the same, in the same order: numbers, dates, names, negations and directions. Of the other words, but
for fillers, `strict` wants the same in the same order; with `words` one question may have some on top; `facts` does not
look at them, so that names in small letters can be mixed up. It errs towards a miss. The word lists are English; in
another language fewer words are left out, so that it is stricter still.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.gateway.cache.settings import Guard

LONGEST_TEXT = 2000
LEAST_SHARE = 0.5
"""Of the longer question's words that the shorter one must have."""

_TOKEN = re.compile(
    r"https?://\S+|[\w.+-]+@[\w-]+\.[\w.-]+|`[^`]*`|\"[^\"]*\"|“[^”]*”"
    r"|\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\w+|[$€£¥<>=+*/^%&|#@~≤≥≠°-]"
)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"(?:^|[.!?:;\n])\s*[\"“(*-]*\s*$")
_NUMBER = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS = _words(
    "not no never none nobody nothing neither nor cannot without except unless hardly barely nowhere isnt dont"
)
DIRECTIONS = _words(
    "before after since until from to into onto over under above below between less more fewer greater than most least "
    "first last next previous left right up down in out on off with all any some only every both either"
)
DATES = _words(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december today tomorrow yesterday tonight now spring summer autumn fall winter noon "
    "midnight morning evening"
)
NUMBERS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half "
    "third quarter double triple twice once dozen"
)
FILLERS = _words(
    "a an the i you he she it we they me him her us them my your his its our their this that these those is are was "
    "were be been being am do does did have has had will would shall of for at by "
    "as so please kindly just hi hello hey thanks thank there also too very really tell explain show give "
    "describe say let lets know want need help about i'm i'd i've what's it's that's"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """`fixed` is a digest of what must be the same; `words` are hashes of the other words, in order."""

    fixed: bytes
    words: tuple[int, ...]


def read_facts(text: str, secret: bytes) -> Facts:
    """`secret` (at most 64 bytes) makes the hashes of one tenant useless to others."""
    fixed: list[str] = []
    words: list[int] = []
    for kind, token in _tokens(unicodedata.normalize("NFKC", text)):
        if kind == "fact":
            fixed.append(token)
        elif token not in FILLERS:
            raw = hashlib.blake2b(_stem(token).encode(), digest_size=8, key=secret).digest()
            words.append(int.from_bytes(raw, "big", signed=True))
    joined = "\x00".join(fixed).encode("utf-8", "surrogatepass")
    return Facts(hashlib.blake2b(joined, digest_size=16, key=secret).digest(), tuple(words))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Each token as ("fact" or "word", its plain form)."""
    for found in _TOKEN.finditer(text):
        part = found[0]
        plain = part.casefold().replace("\u2019", "'")
        if not _WORD.fullmatch(part):
            # A dash joins words more often than it subtracts.
            if part == "-" and not _between_numbers(text, found.start(), found.end()):
                continue
            yield "fact", _NUMBER.sub("", plain)
        elif plain in NEGATIONS or plain.endswith("n't") or plain.replace("'", "") in NEGATIONS:
            yield "fact", "not" if plain.endswith("n't") or plain == "cannot" else plain
        elif plain in DIRECTIONS or plain in NUMBERS or plain in DATES:
            yield "fact", plain
        elif not part.islower() and _is_name(part, plain, text, found.start()):
            yield "fact", plain.removesuffix("'s")
        else:
            yield "word", plain.removesuffix("'s")


def _between_numbers(text: str, start: int, end: int) -> bool:
    return text[end : end + 1].isdigit() or (text[:start].rstrip()[-1:].isdigit() and text[end:].lstrip()[:1].isdigit())


def _is_name(part: str, plain: str, text: str, start: int) -> bool:
    """Capitals make a name: inside a sentence always, at its beginning only beside another one (an acronym)."""
    if part[1:] != part[1:].lower():
        return True
    if not part[0].isupper() or plain == "i" or plain.startswith("i'"):
        return False
    return _SENTENCE_END.search(text, max(0, start - 8), start) is None


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def same_words(guard: Guard, one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether questions with these words may share an answer; their facts are the same."""
    if guard != "words":
        return guard == "facts" or tuple(one) == tuple(other)
    short, long = sorted((one, other), key=len)
    if len(short) < LEAST_SHARE * len(long):
        return False
    rest = iter(long)
    return all(word in rest for word in short)
