"""Passages hold everything, and none is too large."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.chunks import BYTES_PER_TOKEN, clean, cut, page_of, size
from app.retrieval.fuse import fuse

PIECES = st.sampled_from(
    ["# One\n", "## Two\n", "###### Deep ######\n", "\n\n", "\n", " ", "\f", "```\n", "~~~\n", "word ", "Sentence. ",
     "naïve ", "水", "🐝", "a" * 90, "#no heading\n", "\t", "end? ", "\u2028"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=300)


@given(TEXTS, st.integers(1, 40), st.integers(0, 20))
def test_nothing_is_lost_and_no_passage_is_too_large(text, tokens, overlap):
    spans = cut(text, tokens, overlap)
    covered = 0
    for span in spans:
        assert 0 <= span.start < span.end <= len(text)
        assert not text[covered : span.start].strip(), "what lies between passages is white space"
        assert span.end > covered, "each passage brings something new"
        covered = span.end
        # One character may be larger than a limit of one token: UTF-8 has up to four bytes.
        assert size(text[span.start : span.end]) <= max(tokens * BYTES_PER_TOKEN, 4)
    assert not text[covered:].strip()


@given(TEXTS, st.integers(1, 40), st.integers(0, 20))
def test_passages_repeat_no_more_than_the_overlap(text, tokens, overlap):
    spans = cut(text, tokens, overlap)
    for before, after in itertools.pairwise(spans):
        assert size(text[after.start : before.end] if after.start < before.end else "") <= overlap * BYTES_PER_TOKEN


@given(TEXTS)
def test_a_limit_above_the_text_makes_few_passages(text):
    assert len(cut(text, 100_000, 0)) <= 1


def test_cuts_fall_before_headings_and_between_paragraphs():
    text = "# Bees\n\n" + "Bees fly. " * 5 + "\n\n" + "Bees dance. " * 5 + "\n\n## Wax\n\n" + "Wax melts. " * 5
    spans = cut(text, 20, 0)
    assert [one.heading for one in spans] == ["Bees", "Bees", "Bees > Wax"]
    assert [text[one.start : one.end].lstrip("#").split()[0] for one in spans] == ["Bees", "Bees", "Wax"]


def test_white_space_before_the_first_heading_does_not_take_it_away():
    """As what is read out of HTML begins."""
    text = "\n\n# Bees\n\nThey fly."
    (span,) = cut(text, 100, 0)
    assert (span.heading, text[span.start : span.end]) == ("Bees", "# Bees\n\nThey fly.")


def test_code_in_fences_holds_no_headings():
    text = "# Shell\n\n```\n# a comment\n```\n\n~~~\n# another\n~~~\n"
    assert {one.heading for one in cut(text, 4, 0)} == {"Shell"}


def test_passages_of_one_section_overlap():
    text = " ".join(f"Sentence number {number} stands here." for number in range(20))
    spans = cut(text, 30, 10)
    assert all(after.start < before.end for before, after in itertools.pairwise(spans))


def test_pages_are_counted_by_form_feeds():
    text = "first page\fsecond page\fthird page"
    assert [page_of(text, one) for one in cut(text, 4, 0)] == [1, 2, 3]


@given(st.text(max_size=100))
def test_a_cleaned_text_can_be_stored(text):
    found = clean(text)
    assert "\0" not in found
    assert found.encode().decode() == found


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 tokens"):
        cut("text", 0, 0)


@given(st.lists(st.lists(st.integers(0, 20), unique=True), max_size=4), st.integers(0, 30))
def test_what_every_ranking_puts_first_is_first(rankings, most):
    fused = fuse([(1.0, one) for one in rankings], most)
    assert len(fused) == min(most, len({one for ranking in rankings for one in ranking}))
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)
    if rankings and rankings[0] and all(ranking[:1] == rankings[0][:1] for ranking in rankings) and most:
        assert fused[0][0] == rankings[0][0]
