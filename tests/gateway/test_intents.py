"""What requests are after: labels by rules and by a small model, in ledger rows, metrics, logs and routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.gateway.intent.__main__ import main, read, right, split
from app.gateway.intent.bayes import MOST_FEATURES, from_json, train
from app.gateway.intent.classifier import Intents, load
from app.gateway.intent.settings import BUILT_IN, OTHER, IntentConfig
from tests.gateway.harness import CHAT, Engine, make_config, running

LABELLED = Path(__file__).parent / "intents.jsonl"
"""160 texts, written for these tests. Words and weights were chosen on those of `split` to learn from alone."""


FILE = '{"kind": "penstock-naive-bayes", "version": 1, "priors": [0, 0], "unseen": [0, 0], %s}'


def told(text: str, **settings: Any) -> str:
    return Intents(IntentConfig(**settings)).classify(text).name


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("Translate this into German", "translate"),
        ("Why does my Python function raise an exception?", "code"),
        ("What is the integral of x squared?", "maths"),
        ("Give me the key points of this report", "summarise"),
        ("Good morning, how are you?", "chat"),
        ("qwertz uiop", OTHER),
        ("", OTHER),
    ],
)
def test_rules_tell_the_plain_cases(text: str, intent: str) -> None:
    assert told(text) == intent


def test_labels_of_one_s_own_stand_beside_the_built_in_ones() -> None:
    refund = {"name": "refund", "phrases": {"my money back": 2.0, "refund": 1.0}}
    assert told("I want my money back", classes=(refund,)) == "refund"
    assert told("I want my money back") == OTHER
    assert told("Translate this", built_in=False, classes=(refund,)) == OTHER


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"classes": [{"name": "code", "phrases": {"a": 1}}]}, "code is taken"),
        ({"classes": [{"name": "other", "phrases": {"a": 1}}]}, "other is taken"),
        ({"built_in": False}, "nothing to tell by"),
        ({"classes": [{"name": "x", "phrases": {"a": 0}}]}, "greater than 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        IntentConfig.model_validate(settings)


def test_on_texts_that_were_not_learnt_from_rules_and_words_are_right_more_often_than_either(tmp_path: Path) -> None:
    learnt, kept = split(read(LABELLED), 30)
    assert (len(learnt), len(kept)) == (113, 47)
    assert not {text for text, _ in learnt} & {text for text, _ in kept}
    out = tmp_path / "model.json"
    assert main(["train", "--labels", str(LABELLED), "--out", str(out)]) == 0
    rules, both = Intents(IntentConfig()), Intents(IntentConfig(model_file=str(out)))
    model = both.model
    assert model is not None
    by_rules = right(kept, lambda text: rules.classify(text).name)
    by_words = right(kept, lambda text: next((label for label, _ in model.probabilities(text)), ""))
    by_both = right(kept, lambda text: both.classify(text).name)
    assert by_rules >= 0.7
    assert by_both >= 0.78
    assert by_both > by_rules > by_words


def test_a_model_holds_nothing_that_stands_in_one_text_alone() -> None:
    model = train([("my password is hunter2", "a"), ("the weather is fine", "a"), ("the water is cold", "b")])
    assert set(model.weights) == {"the", "is"}
    assert len(train((f"w{n} x{n}", "ab"[n % 2]) for n in range(9000)).weights) <= MOST_FEATURES


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("nothing", "no JSON"),
        ("[]", "no file of"),
        ('{"kind": "penstock-naive-bayes", "version": 1, "labels": ["a"], "priors": [0]}', "labels, priors or weights"),
        (
            FILE % '"labels": ["a", "b"], "weights": {"x": [1]}',
            "each feature has a number for each label",
        ),
        (
            FILE % '"labels": ["a", "B {x}"], "weights": {}',
            "is no label",
        ),
    ],
)
def test_a_model_file_that_is_none_is_refused_with_its_name(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=why) as refused:
        load(path)
    assert str(path) in str(refused.value)
    with pytest.raises(ValueError, match=r"No such file|cannot|Is a directory"):
        load(tmp_path)


def test_the_command_names_a_wrong_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"text": "a", "label": "b"}\n{"text": 1}\n')
    assert main(["test", "--labels", str(labels)]) == 1
    assert "line 2" in capsys.readouterr().err
    assert main(["test", "--labels", str(LABELLED)]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == 160


def test_a_model_survives_its_file() -> None:
    model = train(read(LABELLED))
    from app.gateway.intent.bayes import as_json

    again = from_json(json.loads(json.dumps(as_json(model))))
    text = "Please write a poem"
    assert again.probabilities(text) == model.probabilities(text)


ASKED = {"model": "smart", "messages": [{"role": "user", "content": "Translate this into German"}]}


async def test_a_route_goes_by_intent_and_metrics_and_log_have_it() -> None:
    large = {
        "name": "large", "selector": "penstock.dev/model=large", "context_tokens": 2048, "max_output_tokens": 512,
    }  # fmt: skip
    models = [*make_config().model_dump()["models"], large]
    route = {"name": "smart", "to": "tiny", "when": [{"intent": ["translate", "code"], "to": "large"}]}
    config = make_config(intents={}, models=models, routing={"routes": [route]})
    async with running(Engine(), config=config) as gateway:
        translated = await gateway.ask(ASKED)
        plain = await gateway.ask(CHAT | {"model": "smart"})
        assert await gateway.metric('penstock_intents_total{by="rules",intent="translate"}') == 1
        assert await gateway.metric('penstock_intents_total{by="rules",intent="chat"}') == 1
    assert translated.headers["x-penstock-route"] == "smart; to=large; reason=intent; translate"
    assert plain.headers["x-penstock-route"].startswith("smart; to=tiny; reason=default")
    assert [one["intent"] for one in gateway.requests] == ["translate", "chat"]


async def test_steps_of_a_pipeline_inherit_the_intent_and_classify_by_it() -> None:
    steps = [
        {"kind": "classify", "name": "kind"},
        {"kind": "text", "name": "said", "text": "It is {{kind}}."},
        {"kind": "model", "name": "ask", "model": "tiny", "max_tokens": 5},
    ]
    config = make_config(
        intents={}, pipelines={"pipelines": [{"name": "p", "steps": steps[:2]}, {"name": "q", "steps": steps}]}
    )
    async with running(Engine(), config=config) as gateway:
        answer = await gateway.ask(ASKED | {"model": "p"})
        await gateway.ask(ASKED | {"model": "q"})
        assert await gateway.metric('penstock_intents_total{by="rules",intent="translate"}') == 2, "once for a run"
    assert answer.json["choices"][0]["message"]["content"] == "It is translate."
    assert [one["intent"] for one in gateway.requests] == ["translate"] * 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "the gateway classifies no intents"),
        ({"intents": {}}, "there is no intent `poetry`"),
    ],
)
def test_a_route_for_an_intent_that_nothing_tells_is_refused(changes: dict[str, Any], why: str) -> None:
    route = {"name": "smart", "to": "tiny", "when": [{"intent": ["poetry"], "to": "tiny"}]}
    with pytest.raises(ValidationError, match=why):
        make_config(routing={"routes": [route]}, **changes)


def test_every_built_in_label_has_words() -> None:
    from app.gateway.intent.words import WORDS

    assert tuple(WORDS) == BUILT_IN
