"""Prompt injection by scored rules, without I/O: cheap, known, and no proof against an attacker who rewords.

A text is judged as a model may read it: compatibility forms folded, look-alike letters of other scripts replaced,
characters that nobody sees taken out, letters set apart joined, base64 decoded.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from typing import NamedTuple

import re2

_WHICH = r"(?:all|any|every|the|your|my|of|these|those|previous|prior|above|earlier|preceding|foregoing|system|initial)"
_WHAT = r"(?:instructions?|prompts?|rules|directions?|messages?|guidelines|context|orders?)"
_RULES = (
    ("override", 5, rf"\b(?:ignore|disregard|forget|override|bypass)\W+(?:{_WHICH}\W+){{1,5}}{_WHAT}\b"),
    (
        "override",
        5,
        (
            r"\bignorier\w*\W+(?:\w+\W+){0,3}(?:anweisung|regel|vorgabe)|\bignor\w+\W+(?:\w+\W+){0,3}instruc[ct]i|"
            r"\bignor\w+\W+(?:\w+\W+){0,3}(?:istruzioni|instrucoes)"
        ),
    ),
    (
        "extraction",
        4,
        (
            r"\b(?:reveal|print|show|repeat|output|display|leak|tell\W+me|give\W+me|what\W+(?:is|are))\W+(?:\w+\W+){0,4}"
            r"(?:system\W+(?:prompt|message|instructions)|(?:initial|hidden|original|secret)\W+(?:prompt|instructions))"
        ),
    ),
    (
        "persona",
        3,
        (
            r"\byou\W+are\W+now\W+(?:dan\b|in\W+developer|an?\W+(?:unrestricted|unfiltered|evil))|\bdo\W+anything\W+now\b"
            r"|\bdeveloper\W+mode\W+(?:is\W+)?enabled|\bjailbr(?:eak|oken)|\bwithout\W+(?:any\W+)?(?:restrictions|filters)\b"
            r"|\bpretend\W+(?:that\W+)?you\W+have\W+no\W+(?:rules|restrictions|guidelines)"
        ),
    ),
    ("new_orders", 2, r"\bfrom\W+now\W+on\W+you\W+(?:are|will|must)|\byour\W+new\W+(?:instructions?|task|role)\b"),
    (
        "role_marker",
        5,
        (
            r"<\|(?:im_start|im_end|system|assistant|user|eot_id|start_header_id|endoftext)\|>|\[/?inst\]|<</?sys>>"
            r"|</?(?:system|assistant)>"
        ),
    ),
    ("role_line", 2, r"(?m)^\W{0,4}(?:system|assistant|developer)\W{0,3}:"),
    ("decode", 3, r"\b(?:decode|base64)\b.{0,60}\b(?:follow|execute|obey|run|do\W+what)\b"),
    ("exfiltration", 3, r"!\[[^\]]{0,100}\]\(https?://[^)\s]{0,300}[?&][^)\s=]{0,50}="),
)
_HINT = (
    rb"(?i)ignor(?:e|ier|a|ez|es)|disregard|forget|overrid|bypass|system.{0,4}(?:prompt|message|instruction)"
    rb"|(?:hidden|initial|original|secret).{0,4}(?:prompt|instruction)|you.{1,4}are.{1,4}now|anything.{1,4}now|jailbr"
    rb"|developer.{1,4}mode|without.{1,8}(?:restriction|filter)|pretend|now.{1,4}on.{1,4}you|your.{1,4}new"
    rb"|<\||\[/?inst\]|<</?sys|</?(?:system|assistant)>|(?:system|assistant|developer).{0,3}:|base64|!\["
    rb"|[A-Za-z0-9+/]{40}|(?:[a-z][ ._*-]){6}"
    # Hidden characters, and letters in other forms: as UTF-8, and as JSON's escapes.
    rb"|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf|\xf3\xa0[\x80\x81]|\xf0\x9d[\x90-\x9f]|\xef[\xbc\xbd]"
    rb"|[a-z][\xce\xcf\xd0\xd1]|[\xce\xcf\xd0\xd1][\x80-\xbf][a-z]"
    rb"|\\u(?:200[b-f]|202[a-e]|206|feff|db40|d835|ff[0-5])|[a-z]\\u0[34]|\\u0[34][0-9a-f]{2}[a-z]"
)
HINT = _HINT
"""A pattern that finds, in raw JSON, every text that could score."""

SUSPECT = rb"(?:%b)|\\u00[2-7]" % HINT
"""The same, with escapes that could spell it."""

_HIDDEN = dict.fromkeys(
    [0x00AD, 0x180E, 0xFEFF, *range(0x200B, 0x2010), *range(0x2060, 0x2065), *range(0xE0000, 0xE0080)]
)
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_INSIDE_WORD = re.compile("[a-z][\u00ad\u200b\u200c\u2060-\u2064\ufeff]+[a-z]", re.IGNORECASE)
_TAGS = re.compile("(?<!\U0001f3f4)[\U000e0000-\U000e007f]+")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007f]{2,10}")
"""The flags of England, Scotland and Wales are a black flag and tag characters."""
_LOOK_ALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u03bf\u03b1\u03b5\u03b9\u03bd\u03c1\u03c4\u03c5\u043c\u0442\u043a\u043d\u0432",
    "aeopcyxijsdhoaeivptumtknb",
)
_SPACED = re.compile(r"(?<![a-z])(?:[a-z][ ._*-]){4,}[a-z](?![a-z])")
_RUN = re.compile(r"(?<![a-z])(?:[a-z][ ._*-])+[a-z](?![a-z])")
_BLOB = re.compile(r"[A-Za-z0-9+/]{24,4096}={0,2}")
MOST_BLOBS = 8


class Score(NamedTuple):
    points: int
    rules: tuple[str, ...]


class Rules:
    def __init__(self) -> None:
        self._rules = [(name, points, re2.compile(f"(?i){pattern}")) for name, points, pattern in _RULES]

    def score(self, text: str) -> Score:
        """The sum of the rules that apply, each name once."""
        plain = _FLAG.sub("", text)
        found: dict[str, int] = {}
        if tags := _TAGS.findall(plain):
            found["hidden"] = 5
            plain += " " + "".join(chr(ord(tag) & 0x7F) for run in tags for tag in run)  # what they spell, to a model
        elif _INSIDE_WORD.search(plain):
            found["hidden"] = 3
        if _BIDI.search(plain) and re.search("[A-Za-z]", plain):
            found["direction"] = 2
        folded = self._fold(plain)
        self._apply(folded, found)
        if "override" in found and folded != text.casefold() and not self._matches("override", text):
            found["disguise"] = 2
        for blob in _BLOB.findall(text)[:MOST_BLOBS]:
            inner: dict[str, int] = {}
            self._apply(self._fold(_decoded(blob)), inner)
            if inner:
                found["encoded"] = max(inner.values()) + 1
        return Score(sum(found.values()), tuple(found))

    def _fold(self, text: str) -> str:
        folded = unicodedata.normalize("NFKC", text).translate(_HIDDEN).casefold().translate(_LOOK_ALIKES)
        folded = _BIDI.sub("", folded)
        if not folded.isascii():  # accents
            folded = "".join(one for one in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(one))
        if _SPACED.search(folded) is None:
            return folded
        joined = _RUN.sub(lambda match: re.sub("[ ._*-]", "", match[0]), folded)
        # Words set apart letter by letter lose the gaps between them, too: both readings are judged.
        return f"{folded}\n{joined}\n{_words(joined)}"

    def _apply(self, text: str, found: dict[str, int]) -> None:
        for name, points, pattern in self._rules:
            if name not in found and pattern.search(text):
                found[name] = points

    def _matches(self, name: str, text: str) -> bool:
        return any(rule == name and pattern.search(text) for rule, _, pattern in self._rules)


_JOINED_WORDS = re.compile(
    r"(ignore|disregard|forget|override|bypass|all|previous|prior|above|your|the|instructions?|rules|system|prompt|reveal)"
)


def _words(text: str) -> str:
    """Puts gaps around known words in a run of letters."""
    return re.sub(" +", " ", _JOINED_WORDS.sub(r" \1 ", text))


def _decoded(blob: str) -> str:
    try:
        data = base64.b64decode(blob[: len(blob) // 4 * 4])
    except (binascii.Error, ValueError):
        return ""
    text = data.decode("utf-8", "ignore")
    readable = sum(one.isprintable() or one.isspace() for one in text)
    return text if text and readable >= 0.9 * len(data) else ""
