"""Answers from a file, for when no model can be had: an entry fits when all words of one of its phrases are asked."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

MOST_ENTRIES = 10_000
_WORD = re.compile(r"\w+")


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    phrases: list[str]
    answer: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    entries: list[Entry]


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))


class Knowledge:
    """The entries, by word. A look-up takes time by the words of a question and the entries that share one."""

    def __init__(self, entries: list[Entry]) -> None:
        self._answers = [entry.answer for entry in entries]
        self._phrases: list[tuple[frozenset[str], int]] = []
        self._by_word: dict[str, list[int]] = {}
        for number, entry in enumerate(entries):
            for phrase in entry.phrases:
                words = _words(phrase)
                for word in words:
                    self._by_word.setdefault(word, []).append(len(self._phrases))
                if words:
                    self._phrases.append((words, number))

    def look_up(self, question: str) -> str | None:
        """The answer of the phrase with the most words that are all in the question; the first one of equals."""
        asked = _words(question)
        shared: dict[int, int] = {}
        for word in asked:
            for place in self._by_word.get(word, ()):
                shared[place] = shared.get(place, 0) + 1
        whole = [place for place, count in shared.items() if count == len(self._phrases[place][0])]
        if not whole:
            return None
        best = max(whole, key=lambda place: (len(self._phrases[place][0]), -place))
        return self._answers[self._phrases[best][1]]


def load_knowledge(path: Path) -> Knowledge:
    """Raises ValueError with a sentence that names the file."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ValueError(f"routing.knowledge_file: {path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"routing.knowledge_file: {path}: {error}") from None
    if len(content.entries) > MOST_ENTRIES:
        raise ValueError(f"routing.knowledge_file: {path}: more than {MOST_ENTRIES} entries")
    return Knowledge(content.entries)
