"""What the documentation tells people to type, and where it leads them. Pure: text in, commands and links out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAMS = ("aws", "curl", "eval", "gh", "git", "kubectl", "make", "npm", "penstock", "pulumi", "python", "source")
_COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:(?:{'|'.join(PROGRAMS)})(?:\s|$)|\\$)")
_FENCE = re.compile(r"^\s*```+\s*(\w*)")
_SPAN = re.compile(r"`((?:penstock|make) [^`]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`]*`(?!\])")
_HEREDOC = re.compile(r"<<-?'?(\w+)'?")
_COMMENT = re.compile(r"\s{2,}#\s.*$")


@dataclass(frozen=True)
class Said:
    """A command line as a page says it, without the remark behind it."""

    text: str
    page: str
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text.splitlines()[0]}"


def pages() -> list[Path]:
    """Every page of the repository that people read."""
    found = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("examples/**/*.md")]
    return sorted(path for path in found if "node_modules" not in path.parts)


def name_of(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def code_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Number, language and text of each line of code: inside fences, or indented by four spaces."""
    language: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if fence:
            language = fence[1] if language is None else None
        elif language is not None:
            yield number, language, line
        elif line.startswith("    "):
            yield number, "indented", line[4:]


def commands(text: str, page: str) -> list[Said]:
    """The commands of the blocks of code, whole: continued lines, open quotes and here-documents belong to one."""
    lines = [
        (number, line) for number, language, line in code_lines(text) if language in ("", "sh", "bash", "indented")
    ]
    found = []
    position = 0
    while position < len(lines):
        number, line = lines[position]
        position += 1
        if not _COMMAND.match(line):
            continue
        whole = _COMMENT.sub("", line)
        heredoc = _HEREDOC.search(whole)
        while position < len(lines) and (
            whole.endswith("\\") or whole.count("'") % 2 or (heredoc and lines[position - 1][1] != heredoc[1])
        ):
            whole += "\n" + lines[position][1]
            position += 1
        found.append(Said(whole.strip(), page, number))
    return found


def spans(text: str, page: str) -> list[Said]:
    """Commands of ours that stand within a sentence."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        found += [Said(span, page, number) for span in _SPAN.findall(line)]
    return found


def links(text: str) -> list[tuple[int, str]]:
    """Line and target of each link and picture, outside code."""
    code = {number for number, _, _ in code_lines(text)}
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if number not in code:
            found += [(number, one or other) for one, other in _LINK.findall(_CODE.sub("", line))]
    return found


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: lower case, hyphens for spaces."""
    code = {number for number, _, _ in code_lines(text)}
    seen: dict[str, int] = {}
    found = set()
    for number, line in enumerate(text.splitlines(), 1):
        heading = re.match(r"#{1,6} +(.*?)\s*#*$", line)
        if heading and number not in code:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            again = seen.get(anchor, 0)
            seen[anchor] = again + 1
            found.add(f"{anchor}-{again}" if again else anchor)
    return found
