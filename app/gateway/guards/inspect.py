"""What the guards say of one request or one whole answer, without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import re2

from app.gateway.guards import injection, pii, texts
from app.gateway.guards.settings import GuardConfig, GuardModes, Topic

if TYPE_CHECKING:
    from app.gateway.admit import Route

TRUSTED = frozenset({"system", "developer", "assistant"})
"""Roles whose texts are not searched for injection: the application wrote them, or the model."""
REMOVED = "[REMOVED]"

Key = tuple[str, str]
"""A guard and a kind: the name of a PII kind, topic, or limit."""


@dataclass(slots=True)
class Findings:
    """What was found, how often, and what the strictest mode made of it."""

    counts: dict[Key, int] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    """By guard."""
    score: int = 0
    """The highest of prompt injection."""
    rules: tuple[str, ...] = ()

    def add(self, guard: str, kind: str, mode: str, count: int = 1) -> None:
        self.counts[guard, kind] = self.counts.get((guard, kind), 0) + count
        self.modes[guard] = mode

    @property
    def refused_by(self) -> tuple[str, list[str]] | None:
        """The guard that refuses, and the kinds that it found."""
        for guard, mode in self.modes.items():
            if mode == "refuse":
                return guard, [kind for own, kind in self.counts if own == guard]
        return None

    def header(self) -> str:
        """For example `pii_input=mask;email=2, injection=flag;score=7`."""
        parts = []
        for guard, mode in self.modes.items():
            kinds = "".join(f";{kind}={count}" for (own, kind), count in self.counts.items() if own == guard)
            parts.append(f"{guard}={mode}{kinds}" + (f";score={self.score}" if guard == "injection" else ""))
        return ", ".join(parts)


class _Message(msgspec.Struct):
    role: str | None = None


class _Chat(msgspec.Struct):
    messages: list[_Message] | None = None


_decode_chat = msgspec.json.Decoder(_Chat).decode


class TopicSearch:
    def __init__(self, topic: Topic) -> None:
        self.name = topic.name
        words = [r"\s+".join(re2.escape(part) for part in word.casefold().split()) for word in topic.words]
        # \b knows ASCII alone, so the edges of a word are written out: what is no letter and no digit, or an end.
        both = [rf"(?:^|[^\pL\pN])(?P<word>{'|'.join(words)})(?:$|[^\pL\pN])"] if words else []
        self._patterns = [re2.compile(f"(?i){one}") for one in (*both, *topic.patterns)]

    def find(self, folded: str) -> list[tuple[int, int]]:
        """Places in a text whose case is folded."""
        places: list[tuple[int, int]] = []
        for pattern in self._patterns:
            group = pattern.groupindex.get("word", 0)
            places += [match.span(group) for match in pattern.finditer(folded)]
        return [(start, end) for start, end in places if end > start]


class Plan:
    """The guards of one tenant's requests. `None` of `of` stands for: all off."""

    def __init__(self, config: GuardConfig, modes: GuardModes) -> None:
        self.config = config
        self.modes = modes
        self._pii = pii.Finder(config.pii_kinds) if modes.pii_input != "off" else None
        self.output = pii.Finder(config.pii_kinds) if modes.pii_output != "off" else None
        self._rules = injection.Rules() if modes.injection != "off" else None
        self._topics = [TopicSearch(topic) for topic in config.topics] if modes.topics != "off" else []
        self._lengths = modes.lengths != "off" and any((config.max_messages, config.max_turns, config.max_characters))
        self.looks = bool(self._pii or self._rules or self._topics or self._lengths)
        self._injection_hint = pii.compiled(injection.SUSPECT) if self._rules is not None else None
        self._hint = self._make_hint()

    def _make_hint(self) -> re2._Regexp | None:
        """One search over the raw body that says whether any guard must look closer; None: always."""
        hints: list[bytes] = []
        if self._pii is not None:
            hints.append(pii.hint(self.config.pii_kinds))
        if self._rules is not None:
            hints.append(injection.HINT)
        if self._topics:
            if any(topic.patterns for topic in self.config.topics):
                return None
            words = [word.split()[0] for topic in self.config.topics for word in topic.words]
            if not all(word.isascii() for word in words):
                return None
            hints.append(b"(?i)" + b"|".join(re2.escape(word).encode() for word in words))
        if not hints:
            return None
        hints.append(pii.ESCAPED_ASCII)
        return pii.compiled(b"|".join(b"(?:%b)" % one for one in hints))

    def inspect(self, route: Route, body: bytes) -> tuple[bytes, Findings | None]:
        """The body to go on with, and what was found. Raises ValueError for a text that cannot be read."""
        findings = Findings()
        if self._lengths:
            self._check_lengths(route, body, findings)
        if self._pii is None and self._rules is None and not self._topics:
            return body, findings if findings.modes else None
        if self._hint is not None and self._hint.search(body) is None:
            return body, findings if findings.modes else None
        seen = texts.find_texts(body)
        changes: list[tuple[int, int, bytes]] = []
        for one in seen.found:
            token = body[one.start : one.end]
            if self._hint is not None and self._hint.search(token) is None:
                continue
            text = texts.decode(token)
            suspect = self._injection_hint is not None and self._injection_hint.search(token) is not None
            new = self._judge(text, one, seen.roles.get(one.item, ""), findings, suspect=suspect)
            if new != text:
                changes.append((one.start, one.end, texts.encode(new)))
        return texts.splice(body, changes) if changes else body, findings if findings.modes else None

    def _judge(self, text: str, place: texts.Text, role: str, findings: Findings, *, suspect: bool) -> str:
        trusted = place.field in ("tools", "functions", "instructions") or role in TRUSTED
        if self._rules is not None and suspect and not trusted:
            score = self._rules.score(text)
            if score.points >= self.config.injection_threshold:
                findings.add("injection", "prompt_injection", self.modes.injection)
                if score.points > findings.score:
                    findings.score, findings.rules = score.points, score.rules
                if self.modes.injection == "mask":
                    return REMOVED
        if self._topics and not trusted:
            text = self._mask_topics(text, findings)
        if self._pii is not None:
            raw = texts.utf8(text)
            found = self._pii.find(raw)
            for match in found:
                findings.add("pii_input", match.kind, self.modes.pii_input)
            if found and self.modes.pii_input == "mask":
                return mask_text(raw, found, in_json=place.key == "arguments").decode("utf-8", "surrogatepass")
        return text

    def _mask_topics(self, text: str, findings: Findings) -> str:
        folded = text.casefold()
        places: list[tuple[int, int]] = []
        for topic in self._topics:
            found = topic.find(folded)
            if found:
                findings.add("topics", topic.name, self.modes.topics, len(found))
                places += found
        if self.modes.topics != "mask" or not places:
            return text
        if len(folded) != len(text):  # folding changed the length (German sharp s): places are not those of the text
            text = folded
        out, last = [], 0
        for start, end in sorted(places):
            if start >= last:
                out += (text[last:start], REMOVED)
            last = max(last, end)
        return "".join((*out, text[last:]))

    def _check_lengths(self, route: Route, body: bytes, findings: Findings) -> None:
        config, mode = self.config, self.modes.lengths
        if route == "chat" and (config.max_messages or config.max_turns):
            try:
                messages = _decode_chat(body).messages or []
            except msgspec.DecodeError:
                messages = []  # not the shape of a chat: the engine says so better
            if config.max_messages and len(messages) > config.max_messages:
                findings.add("lengths", "max_messages", mode)
            turns = sum(message.role == "user" for message in messages)
            if config.max_turns and turns > config.max_turns:
                findings.add("lengths", "max_turns", mode)
        if config.max_characters and len(body) > config.max_characters:
            total = sum(len(texts.decode(body[one.start : one.end])) for one in texts.find_texts(body).found)
            if total > config.max_characters:
                findings.add("lengths", "max_characters", mode)

    def answer(self, body: bytes) -> tuple[bytes, Findings | None]:
        """A whole JSON answer (or the payload of one event), masked where the mode says so."""
        finder, mode = self.output, self.modes.pii_output
        findings = Findings()
        changes: list[tuple[int, int, bytes]] = []
        if finder is None:
            return body, None
        for one in texts.find_texts(body, texts.ANSWER_FIELDS, texts.NOT_ANSWER).found:
            raw = texts.utf8(texts.decode(body[one.start : one.end]))
            found = finder.find(raw)
            for match in found:
                findings.add("pii_output", match.kind, mode)
            if found and mode == "mask":
                new = mask_text(raw, found, in_json=one.key == "arguments")
                changes.append((one.start, one.end, texts.encode(new.decode("utf-8", "surrogatepass"))))
        if changes:
            body = without_logprobs(texts.splice(body, changes))
        return body, findings if findings.modes else None

    def prompt_text(self, body: bytes, most: int) -> str:
        """All texts that are not trusted, one under the other, cut to the last `most` characters."""
        seen = texts.find_texts(body)
        own = [one for one in seen.found if seen.roles.get(one.item, "") not in TRUSTED and one.field != "tools"]
        return "\n".join(texts.decode(body[one.start : one.end]) for one in own)[-most:]


def mask_text(text: bytes, found: Iterable[pii.Match], *, in_json: bool) -> bytes:
    """Masks findings. `in_json`: the text is JSON itself, where the mask of a bare number needs quotes."""
    if not in_json:
        return pii.masked(text, found)
    out: list[bytes] = []
    last, inside = 0, False
    for start, end, kind in found:
        inside = in_string(text[last:start], inside=inside)
        out += (text[last:start], pii.mask(kind) if inside else b'"%b"' % pii.mask(kind))
        last = end
    out.append(text[last:])
    return b"".join(out)


_QUOTE = re.compile(rb'\\.|"', re.DOTALL)


def in_string(text: bytes, *, inside: bool) -> bool:
    """Whether JSON text ends inside a string."""
    for mark in _QUOTE.finditer(text):
        if mark[0] == b'"':
            inside = not inside
    return inside


def without_logprobs(body: bytes) -> bytes:
    """Log-probabilities spell the text token by token: where that was masked they go."""
    if b'"logprobs"' not in body:
        return body
    content = msgspec.json.decode(body)
    for choice in content.get("choices") or []:
        if isinstance(choice, dict) and choice.get("logprobs") is not None:
            choice["logprobs"] = None
    return msgspec.json.encode(content)
