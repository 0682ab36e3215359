"""The page of numbers: each has a page that tells of it, and a command that measures it again."""

from __future__ import annotations

import importlib.util
import re

import pytest

from tests.docs.reading import CHECKOUT

PAGE = (CHECKOUT / "docs/numbers.md").read_text()
ROWS = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in PAGE.splitlines() if row.startswith("| ")][1:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_number_stands_on_the_page_that_tells_of_it(row: list[str]):
    _, measured, page, _ = row
    told = re.search(r"\((\w+\.md)#", page)
    assert told is not None, page
    text = " ".join((CHECKOUT / "docs" / told[1]).read_text().split())
    for number in re.findall(r"\d[\d.,]*\d|[1-9]", measured):
        assert re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)", text), f"{number} is not in {told[1]}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_number_can_be_measured_again(row: list[str]):
    command = row[3].strip("`").split()
    match command:
        case ["python", "-m", "pytest", *_, path]:
            assert (CHECKOUT / path).is_file()
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None
        case _:
            assert command[:3] == ["penstock", "model", "validate"]


def test_every_number_that_was_asked_for_is_there():
    told = " ".join(row[0] for row in ROWS)
    for asked in ("10,000 requests", "throughput", "recall@5", "p95", "message to its effect", "first paint", "bytes"):
        assert asked in told, asked
    assert "heap of a page whose stream stays open" in told
