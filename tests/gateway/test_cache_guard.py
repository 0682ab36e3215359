"""The semantic cache's guard: which questions may share an answer, whatever their embeddings say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.cache.facts import read_facts, same_words
from app.gateway.cache.normal import Scope
from app.gateway.cache.question import Question, read_embedding, read_question
from app.gateway.cache.settings import Guard

SCOPE = Scope("acme", "tiny", "1")


def may_share(one: str, other: str, guard: Guard = "strict") -> bool:
    first, second = read_facts(one, b"s"), read_facts(other, b"s")
    return first.fixed == second.fixed and same_words(guard, first.words, second.words)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I reset my password?", "how do i reset the password"),
        ("How do I reset my password?", "How do I reset my password, please?"),
        ("What is the capital of France?", "Please tell me, what is the capital of France"),
        ("Explain photosynthesis", "Please explain photosynthesis to me".replace(" to me", "")),
        ("What does 1,000 shares cost?", "what does 1000 shares cost"),
        ("Don't restart it", "do not restart it".replace("do ", "Do ")),
        ("How do I reset passwords?", "How do I reset a password?"),
    ],
)
def test_the_same_question_in_other_words_may_share(one: str, other: str):
    assert may_share(one, other)
    assert may_share(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who won the election in 2020?", "Who won the election in 2024?"),
        ("What is 2 + 2?", "What is 2 * 2?"),
        ("Is aspirin safe?", "Is aspirin not safe?"),
        ("Can I take it with alcohol?", "Can I take it without alcohol?"),
        ("Does it work?", "Doesn't it work?"),
        ("What is the weather in Paris?", "What is the weather in London?"),
        ("A train from London to Paris", "A train from Paris to London"),
        ("Is the shop open on Monday?", "Is the shop open on Sunday?"),
        ("What happened yesterday?", "What happened today?"),
        ("Convert $5 to euros", "Convert 5 euros to $"),
        ("List two examples", "List three examples"),
        ("What is NATO?", "What is UNESCO?"),
        ("Show /etc/passwd of host a1", "Show /etc/passwd of host a2"),
        ("Is 3 < 4?", "Is 3 > 4?"),
        ("What came before it?", "What came after it?"),
        ('Translate "yes"', 'Translate "no"'),
        ("Who is bob@example.com", "Who is eve@example.com"),
        ("Set it to -5", "Set it to 5"),
        ("0.5 mg", "5 mg"),
        ("at most ten", "at least ten"),
    ],
)
def test_other_facts_never_share(one: str, other: str):
    assert not may_share(one, other, "facts")
    assert not may_share(other, one, "facts")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what is the capital of france", "what is the capital of germany"),
        ("how do I increase the limit", "how do I decrease the limit"),
        ("dog bites man", "man bites dog"),
        ("should I buy or sell", "should I sell or buy"),
        ("reset my password", "reset the password of another person whom we met there years ago"),
        ("can I eat it", "should I eat it"),
        ("salt and pepper", "salt or pepper"),
        ("why is it slow", "when is it slow"),
    ],
)
def test_other_words_or_another_order_never_share_but_by_facts_alone(one: str, other: str):
    for guard in ("strict", "words"):
        assert not may_share(one, other, guard)
        assert not may_share(other, one, guard)
    assert may_share(one, other, "facts")


def test_a_word_on_top_is_refused_by_strict_alone():
    one, other = "how do I reset my password", "how do I reset my admin password"
    assert [may_share(one, other, guard) for guard in ("strict", "words", "facts")] == [False, True, True]


@given(st.text(max_size=300))
def test_any_text_has_facts_and_shares_with_itself(text: str):
    assert may_share(text, text)


@given(st.text(max_size=80), st.integers(0, 10**6), st.integers(0, 10**6))
def test_another_number_never_shares(text: str, one: int, other: int):
    assert may_share(f"{text} {one}", f"{text} {other}", "facts") == (one == other)


def test_hashes_of_two_tenants_have_nothing_in_common():
    one, other = read_facts("reset password 5", b"a"), read_facts("reset password 5", b"b")
    assert one.fixed != other.fixed
    assert not set(one.words) & set(other.words)


def question(messages: list[Any], scope: Scope = SCOPE, **more: Any) -> Question | None:
    return read_question("chat", scope, {"messages": messages, "temperature": 0} | more, "embedder")


SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "hello"}


def test_all_but_the_last_message_is_the_context():
    one = question([SYSTEM, USER])
    same = question([SYSTEM, {"role": "user", "content": "other"}])
    assert one is not None
    assert same is not None
    assert one.context == same.context
    for other in (
        question([USER]),
        question([{**SYSTEM, "content": "Be long."}, USER]),
        question([SYSTEM, USER, {"role": "assistant", "content": "x"}, USER]),
        question([SYSTEM, USER], max_tokens=5),
        question([SYSTEM, USER], Scope("other", "tiny", "1")),
        question([SYSTEM, USER], Scope("acme", "tiny", "2")),
        read_question("chat", SCOPE, {"messages": [SYSTEM, USER], "temperature": 0}, "embedder-2"),
    ):
        assert other is not None
        assert other.context != one.context


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "x"}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": "x" * 2001}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}],
        [{"role": "user", "content": "x", "tool_call_id": "1"}],
        ["x"],
        [],
    ],
)
def test_only_a_users_plain_text_is_a_question(messages: list[Any]):
    assert question(messages) is None


def test_requests_that_ask_for_more_than_words_are_no_questions():
    for more in ({"tools": [1]}, {"logprobs": True}, {"n": 2}, {"stop": "x"}):
        assert read_question("chat", SCOPE, {"messages": [USER], **more}, "embedder") is None
    assert read_question("completions", SCOPE, {"prompt": "x"}, "embedder") is None
    parts = question([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])
    assert parts is not None
    assert parts.text == "a\nb"


@pytest.mark.parametrize(
    "reply", [b"", b"{}", b'{"data":[]}', b'{"data":[{"embedding":[0,0]}]}', b'{"data":[{"embedding":"x"}]}']
)
def test_a_reply_without_a_vector_is_none(reply: bytes):
    assert read_embedding(reply) is None
    assert read_embedding(b'{"data":[{"embedding":[0,1]}]}') == [0, 1]
