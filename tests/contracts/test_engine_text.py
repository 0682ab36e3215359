"""Tokens and texts of the simulated engine: reversible, deterministic, and continued exactly where they broke off."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.scheduler import END
from app.engine.structured import sample
from app.engine.text import FixedWriter, Writer, drawer
from app.engine.tokens import Tokenizer

TOKENIZER = Tokenizer()
QUESTIONS = st.one_of(
    st.sampled_from(
        ["Why do spot nodes need a drain?", "hello", "Write 80 words about zones", "How fast is the prefill?"]
    ),
    st.text(max_size=60),
)


def answer(text: str, start: int | None, subject: str, key: int = 0, sentences: int = 30) -> str:
    writer = Writer(text, key=key, start=start, subject=subject)
    parts: list[str] = []
    while len(parts) < sentences and (part := writer.next()) is not None:
        parts.append(part)
    return "".join(parts)


@given(st.text(max_size=200))
def test_a_text_is_restored_from_its_tokens(text: str) -> None:
    restored = TOKENIZER.decode(TOKENIZER.encode(text.encode(errors="replace").decode()))
    assert restored == text.encode(errors="replace").decode()


@given(st.text(alphabet="abc xyz.,-é≈\n7", max_size=40), st.sampled_from([" the", " gateway", " ≈", " 12"]))
def test_texts_joined_at_a_word_border_have_the_tokens_of_both(first: str, second: str) -> None:
    if not first.endswith((" ", "\n")):
        assert TOKENIZER.encode(first + second) == TOKENIZER.encode(first) + TOKENIZER.encode(second)


def test_hello_world_has_the_ids_of_the_recording() -> None:
    assert TOKENIZER.encode("hello world") == [281, 280]


def test_english_has_about_four_characters_a_token() -> None:
    text = answer("user: spot\nassistant: ", 22, "spot drain release zone cache", sentences=20)
    assert 3.5 < len(text) / len(TOKENIZER.encode(text)) < 6


def test_an_unknown_id_is_an_error() -> None:
    with pytest.raises(ValueError, match="out of vocabulary"):
        TOKENIZER.decode([TOKENIZER.size])


@settings(max_examples=60)
@given(QUESTIONS, st.integers(0, 1000), st.integers(0, 3))
def test_an_answer_cut_anywhere_is_continued_to_the_same_end(question: str, cut: int, key: int) -> None:
    prompt = f"user: {question}\nassistant: "
    whole = answer(prompt, len(prompt), question, key)
    assert whole, "there is always something to say"
    begun = whole[: cut % (len(whole) + 1)]
    assert begun + answer(prompt + begun, len(prompt), question, key) == whole


@settings(max_examples=60)
@given(st.text(max_size=60), st.integers(0, 1000))
def test_a_plain_prompt_cut_anywhere_is_continued_to_the_same_end(prompt: str, cut: int) -> None:
    whole = answer(prompt, None, "", sentences=4)
    begun = whole[: cut % (len(whole) + 1)]
    continued = begun + answer(prompt + begun, None, "", sentences=6)
    assert continued.startswith(whole)


def test_another_key_gives_another_answer() -> None:
    prompt = "user: Tell me something\nassistant: "
    assert len({answer(prompt, len(prompt), "Tell me something", key) for key in range(5)}) == 5


def test_an_answer_suits_the_question() -> None:
    prompt = "user: Why do spot nodes need a drain?\nassistant: "
    text = answer(prompt, len(prompt), "Why do spot nodes need a drain?")
    assert "drain" in text
    assert text.endswith(".")


def test_a_question_may_ask_for_a_length() -> None:
    prompt = "user: Write 300 words\nassistant: "
    words = len(answer(prompt, len(prompt), "Write 300 words", sentences=99).split())
    assert 200 < words < 400


def test_the_end_is_put_off_until_the_least_number_of_tokens() -> None:
    draw = drawer(TOKENIZER, FixedWriter("yes").next, least=5)
    drawn = [draw() for _ in range(6)]
    assert drawn.index(END) == 5


def test_an_ignored_end_never_comes() -> None:
    writer = Writer("user: hi\nassistant: ", start=20, subject="hi")
    draw = drawer(TOKENIZER, writer.next, ignore_end=True)
    assert END not in [draw() for _ in range(2000)]


def test_a_schema_s_sample_has_its_properties() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 3},
            "kind": {"enum": ["a", "b"]},
            "child": {"$ref": "#/$defs/child"},
            "numbers": {"type": "array", "items": {"type": "integer", "minimum": 4}},
        },
        "$defs": {"child": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
    }
    assert sample(schema) == {"name": "ste", "kind": "a", "child": {"ok": True}, "numbers": [4]}


def test_a_schema_that_contains_itself_ends() -> None:
    schema = {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}
    assert isinstance(sample(schema), dict)
