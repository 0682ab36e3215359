"""The pure half of routing: what is read of a request, and which chain of models it gets."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.gateway.config import GatewayConfig
from app.gateway.routing.config import Experiment, Route, Task
from app.gateway.routing.decide import Decision, Facts, Wishes, arm, decide, fits, most_cost, point
from app.gateway.routing.features import MOST_TEXT, Features, read_features
from app.gateway.routing.judge import judge
from app.gateway.routing.knowledge import Entry, Knowledge
from app.gateway.routing.rules import MOST_MESSAGE, Rules
from app.gateway.routing.score import classify, complexity, normal

MODELS = {
    "small": Facts("small", 2_000, 512, 0.1, 0.2),
    "large": Facts("large", 32_000, 4_096, 1.0, 3.0),
    "huge": Facts("huge", 200_000, 8_192, 3.0, 15.0),
}
NAMES = st.sampled_from(sorted(MODELS))


def route(**fields: Any) -> Route:
    return Route.model_validate({"name": "smart", "to": "small", **fields})


HELLO = Features(text="hello", length=5)


def ask(settings: Route, features: Features = HELLO, **wishes: Any) -> Decision:
    return decide(settings, Rules(settings, {"hi": "Hi {who}!"}), features, Wishes(**wishes), MODELS)


def chat(*texts: str, **more: Any) -> bytes:
    messages = [{"role": "user" if n % 2 == 0 else "assistant", "content": text} for n, text in enumerate(texts)]
    return json.dumps({"model": "smart", "messages": messages, **more}).encode()


# -- what is read of a request --


def test_the_last_user_message_is_read_and_not_what_the_assistant_said_after_it():
    body = chat("first", "answer", "second", "prefill")
    assert read_features(body).text == "second"


def test_parts_responses_and_completions_are_read_as_well():
    parts = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    assert read_features(json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()).text == "what"
    assert read_features(b'{"input":"hello"}').text == "hello"
    assert read_features(b'{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}]}').text == "hi"
    assert read_features(b'{"prompt":"once"}').text == "once"


def test_a_long_message_is_cut_to_its_two_ends():
    found = read_features(chat("a" * 50_000 + "z" * 50_000))
    assert (len(found.text), found.length) == (MOST_TEXT, 100_000)
    assert found.text[0] == "a"
    assert found.text[-1] == "z"


FIELD = st.sampled_from(["messages", "role", "content", "input", "text", "n", "max_tokens", "response_format", "type"])
SCALAR = st.none() | st.booleans() | st.integers() | st.text(max_size=9)
ANYTHING = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELD, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(FIELD, ANYTHING, max_size=5) | ANYTHING)
def test_no_body_makes_the_reading_fail(content: Any):
    assert read_features(json.dumps(content).encode()).choices >= 1


# -- rules that answer without a model --


def test_an_exact_rule_ignores_case_spaces_and_the_punctuation_at_the_end():
    settings = route(rules=[{"template": "hi", "exact": ["Who are you?"]}])
    assert ask(settings, Features(text="  who ARE  you ", length=15)).text == "Hi {who}!"
    assert ask(settings, Features(text="who are you really", length=18)).text is None


def test_a_pattern_fills_its_groups_in_once():
    settings = route(rules=[{"template": "hi", "pattern": r"(?i)my name is (?P<who>.+)"}])
    assert ask(settings, Features(text="My name is {model}", length=18)).text == "Hi {model}!"


def test_a_pattern_that_is_no_re2_expression_is_refused_by_name():
    with pytest.raises(ValueError, match=r"smart\.rules\.0\.pattern"):
        Rules(route(rules=[{"template": "hi", "pattern": r"(a)\1"}]), {"hi": "x"})


def test_patterns_take_linear_time_and_long_messages_are_left_to_models():
    settings = route(rules=[{"template": "hi", "pattern": r"(a+)+(a|a)*(a?){50}b"}])
    rules, text = Rules(settings, {"hi": "x"}), "a" * MOST_MESSAGE
    begun = time.perf_counter()
    assert rules.answer(Features(text=text, length=len(text))) is None
    assert time.perf_counter() - begun < 0.5, "a backtracking matcher would take for ever"
    exact = Rules(route(rules=[{"template": "hi", "pattern": "a*"}]), {"hi": "x"})
    assert exact.answer(Features(text=text, length=len(text))) is not None
    assert exact.answer(Features(text=text, length=MOST_MESSAGE + 1)) is None


# -- tasks, experiments, levels --


def test_the_header_names_the_task_and_words_tell_it_otherwise():
    tasks = [{"name": "code", "to": "large", "words": ["python", "stack trace"]}, {"name": "chat", "to": "huge"}]
    settings = route(tasks=tasks)
    assert ask(settings, task="chat").chain == ("huge",)
    told = ask(settings, Features(text="This stack trace puzzles me", length=27))
    assert (told.chain, told.reason, told.detail) == (("large",), "task", "code by words")
    assert ask(settings, Features(text="tracing a stack", length=15)).chain == ("small",)
    assert ask(settings, task="unheard-of").reason == "default"


@given(st.text(max_size=300))
def test_a_task_needs_one_of_its_words(text: str):
    task = Task(name="code", to="large", words=("python", "c sharp"))
    found = classify(text, [task])
    if found is not None:
        assert "python" in text.casefold() or ("c" in text.casefold() and "sharp" in text.casefold())


@given(st.text(min_size=1, max_size=40), st.floats(1, 50), st.floats(0, 49))
def test_a_growing_share_moves_tenants_into_it_and_none_out(tenant: str, share: float, more: float):
    def placed(percent: float) -> str | None:
        return arm(Experiment.model_validate({"name": "e", "shares": [{"to": "large", "percent": percent}]}), tenant)

    assert 0 <= point("e", tenant) < 100
    if placed(share) == "large":
        assert placed(share + more) == "large"


def test_shares_hold_over_many_tenants_and_experiments_spread_independently():
    shares = [{"to": "large", "percent": 30}, {"to": "huge", "percent": 20}]
    one, two = (Experiment.model_validate({"name": name, "shares": shares}) for name in ("a", "b"))
    tenants = [f"tenant-{n}" for n in range(4000)]
    arms = [arm(one, tenant) for tenant in tenants]
    assert abs(arms.count("large") / 4000 - 0.30) < 0.03
    assert abs(arms.count("huge") / 4000 - 0.20) < 0.03
    both = sum(arm(one, tenant) == arm(two, tenant) == "large" for tenant in tenants)
    assert abs(both / 4000 - 0.09) < 0.03


FEATURES = st.builds(
    Features,
    text=st.text(max_size=200),
    turns=st.integers(0, 40),
    tools=st.integers(0, 10),
    prompt_tokens=st.integers(0, 300_000),
    asked_tokens=st.none() | st.integers(1, 10_000),
    choices=st.integers(1, 4),
)


@given(FEATURES, st.integers(0, 10), st.integers(0, 5), st.integers(0, 10_000))
def test_complexity_is_bounded_and_never_falls_with_more_turns_tools_or_text(
    features: Features, turns: int, tools: int, tokens: int
):
    from dataclasses import replace

    more = replace(
        features,
        turns=features.turns + turns,
        tools=features.tools + tools,
        prompt_tokens=features.prompt_tokens + tokens,
    )
    assert 0 <= complexity(features) <= complexity(more) <= 1


def test_a_proof_in_code_is_harder_than_a_greeting():
    easy = complexity(read_features(chat("hi there")))
    hard = complexity(
        read_features(
            chat("Prove step by step why this `def f(x)` computes the derivative:\n```python\ndef f(x): ...```")
        )
    )
    assert easy < 0.1 < 0.5 < hard


def test_levels_go_from_the_cheap_to_the_strong_model():
    settings = route(levels=[{"score": 0.3, "to": "large"}, {"score": 0.7, "to": "huge"}])
    assert ask(settings).chain == ("small",)
    hard = read_features(chat("Prove the theorem step by step and compare: ```def f()``` import x; design the plan"))
    assert ask(settings, hard).chain[0] in ("large", "huge")


# -- context and cost --


def test_a_prompt_that_is_too_long_goes_to_the_next_model_that_has_room():
    settings = route(fallback=["large", "huge"])
    told = ask(settings, Features(prompt_tokens=10_000))
    assert (told.chain, told.reason) == (("large", "huge"), "context")
    assert ask(settings, Features(prompt_tokens=100_000)).chain == ("huge",)
    assert ask(settings, Features(prompt_tokens=900_000)).chain == ("small",), "its own error says by how much"


def test_a_ceiling_of_cost_takes_the_first_model_below_it_or_refuses_with_what_it_would_take():
    settings = route(to="huge", fallback=["large"], levels=[{"score": 0.99, "to": "small"}])
    features = Features(prompt_tokens=1000, asked_tokens=500)
    assert ask(settings, features).chain == ("huge", "large")
    told = ask(settings, features, most_usd=0.003)
    assert (told.chain, told.reason) == (("large",), "cost")
    assert ask(settings, features, most_usd=0.0005).chain == ("small",)
    refused = ask(settings, features, most_usd=0.0001)
    assert not refused.chain
    assert "0.000200 USD" in refused.refusal


@given(FEATURES, NAMES, st.lists(NAMES, max_size=4), st.none() | st.floats(1e-7, 1), st.booleans(), st.text(max_size=9))
def test_whatever_is_asked_a_chain_has_no_model_twice_and_keeps_to_context_and_ceiling(
    features: Features, to: str, fallback: list[str], most: float | None, fall: bool, tenant: str
):
    settings = route(to=to, fallback=fallback)
    wishes = Wishes(tenant=tenant, most_usd=most, fallback=fall)
    told = decide(settings, None, features, wishes, MODELS)
    assert told == decide(settings, None, features, wishes, MODELS)
    assert len(set(told.chain)) == len(told.chain)
    assert bool(told.chain) != bool(told.refusal)
    assert set(told.chain) <= {to, *fallback}
    if not fall:
        assert len(told.chain) <= 1
    if most is not None:
        assert all(most_cost(MODELS[name], features) <= most for name in told.chain)
    if any(fits(MODELS[name], features) for name in told.chain):
        assert all(fits(MODELS[name], features) for name in told.chain)


# -- bad output --


def reply(content: Any = "hi", finish: str | None = "stop", **message: Any) -> bytes:
    inner = {"role": "assistant", "content": content, **message}
    return json.dumps({"choices": [{"index": 0, "message": inner, "finish_reason": finish}]}).encode()


ASKED = Features(json_format="json_schema", required=("name",))
CALLS = [{"function": {"name": "f", "arguments": '{"a": 1}'}}]


@pytest.mark.parametrize(
    ("body", "features", "fault"),
    [
        (reply(), Features(), None),
        (reply(" \n"), Features(), "empty_output"),
        (reply(None), Features(), "empty_output"),
        (b'{"choices":[]}', Features(), "empty_output"),
        (reply(finish=None), Features(), "cut_output"),
        (reply(finish="abort"), Features(), "cut_output"),
        (reply(finish="length"), Features(), None),
        (reply("{} and prose"), ASKED, "wrong_format"),
        (reply('{"other": 1}'), ASKED, "wrong_format"),
        (reply('{"name": 1}'), ASKED, None),
        (reply("[1]"), Features(json_format="json_object"), "wrong_format"),
        (reply('{"name": ', finish="length"), ASKED, None),
        (reply(None, "tool_calls", tool_calls=CALLS), Features(), None),
        (
            reply(None, "tool_calls", tool_calls=[{"function": {"name": "f", "arguments": "{"}}]),
            Features(),
            "wrong_format",
        ),
        (reply(None, "content_filter"), Features(), None),
        (reply(None, "stop", refusal="no"), Features(), None),
        (b"<html>", Features(), "wrong_format"),
    ],
)
def test_an_answer_is_judged_as_a_reader_would(body: bytes, features: Features, fault: str | None):
    assert judge("chat", body, features) == fault
    assert judge("embeddings", body, features) is None


def test_the_knowledge_with_the_most_words_asked_wins():
    known = Knowledge([Entry(["refund"], "general"), Entry(["refund time", "money back"], "five days")])
    assert known.look_up("How much TIME does a refund take?") == "five days"
    assert known.look_up("refund!") == "general"
    assert known.look_up("money") is None


# -- settings --


TINY = {"name": "x", "to": "tiny"}
OUTSIDE = {"name": "o", "provider": "p", "upstream": "o", "context_tokens": 1, "max_output_tokens": 1}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"routing": {"routes": [TINY | {"to": "nope"}]}}, "routes.0.to: there is no model `nope`; there are tiny"),
        ({"routing": {"routes": [TINY | {"fallback": ["nope"]}]}}, "routing.routes.0.fallback.0"),
        ({"routing": {"routes": [TINY | {"canned": "sorry"}]}}, "routes.0.canned: there is no template"),
        ({"routing": {"routes": [TINY | {"knowledge": True}]}}, "routes.0.knowledge: `knowledge_file`"),
        ({"routing": {"routes": [TINY, TINY]}}, "routes: the names x"),
        ({"routing": {"routes": [TINY | {"name": "small"}]}}, "`small` is an alias"),
        ({"outside_models": [OUTSIDE]}, "outside_models.0.provider: there is no provider `p`"),
        ({"providers": [{"name": "p", "kind": "openai"}]}, "key_file"),
        ({"providers": [{"name": "p", "kind": "bedrock"}]}, "region"),
        ({"providers": [{"name": "p", "kind": "compatible", "base_url": "http://api.example.com"}]}, "in the clear"),
        ({"models": []}, "give at least one model"),
    ],
)  # fmt: skip
def test_a_wrong_reference_is_refused_with_its_field(changes: dict[str, Any], named: str):
    model = {"name": "tiny", "aliases": ["small"], "selector": "a=b", "context_tokens": 10, "max_output_tokens": 5}
    with pytest.raises(ValidationError) as refused:
        GatewayConfig.model_validate({"colour": "blue", "namespace": "n", "models": [model], **changes})
    assert named in str(refused.value)


@given(st.text(max_size=100))
def test_comparing_messages_is_stable(text: str):
    assert normal(normal(text)) == normal(text)
