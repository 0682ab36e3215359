"""Pages that name tests are held to them: each named test exists and is collected, each complaint has one."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache

import pytest

from tests.docs.reading import CHECKOUT

NAMED = re.compile(r"^- `([a-z0-9_/]+\.py)`: ([a-z0-9 ]+)$", re.MULTILINE)
COMPLAINTS = (CHECKOUT / "docs/complaints.md").read_text()


def named(text: str) -> list[str]:
    """Test ids, as pytest writes them without their parameters."""
    places = ((path if "/" in path else f"tests/gateway/{path}", sentence) for path, sentence in NAMED.findall(text))
    return [f"{path}::test_{sentence.replace(' ', '_')}" for path, sentence in places]


@cache
def collected(files: tuple[str, ...]) -> frozenset[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", *files]
    done = subprocess.run(command, check=False, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return frozenset(line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line)


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_test_that_a_page_names_is_collected():
    names = named(COMPLAINTS)
    assert len(names) > 80, "the page is not read any more"
    there = collected(tuple(sorted({name.partition("::")[0] for name in names})))
    assert [name for name in names if name not in there] == []


def test_every_list_line_of_a_named_test_is_read():
    lines = [line for line in COMPLAINTS.splitlines() if line.startswith("- ")]
    assert len(lines) == len(named(COMPLAINTS))


def test_the_page_has_all_twenty_five_complaints():
    assert [int(title.partition(".")[0]) for title in sections(COMPLAINTS)] == list(range(1, 26))


@pytest.mark.parametrize(("title", "text"), sections(COMPLAINTS).items(), ids=lambda part: part[:30])
def test_every_complaint_has_a_test(title: str, text: str):
    assert named(text), f"nothing shows: {title}"
