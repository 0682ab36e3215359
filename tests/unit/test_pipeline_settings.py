"""Pipelines and intents of a stack file: what a gateway would refuse is refused at preview, by the key's path."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from app.gateway.config import GatewayConfig
from app.pipelines.plan import MOST_CALLS
from infra.gateway_config import gateway_config
from infra.settings import Settings
from infra.settings.parse import stack_file_values
from tests.unit.settings_cases import CHECKOUT, VALUES, Values, problems, put


def step(kind: str, name: str, /, **more: Any) -> dict[str, Any]:
    rest: dict[str, dict[str, Any]] = {
        "classify": {"of": "{{input}}", "classes": [{"name": "a", "words": ["b"]}]},
        "retrieve": {"collections": ["notes"], "query": "{{input}}", "k": 5, "mode": "hybrid", "otherwise": None},
        "prompt": {"prompt": "polite", "version": 1},
        "model": {
            "model": "tiny", "prompt": None, "conversation": False, "maxTokens": 10, "temperature": None,
            "cached": True, "otherwise": None,
        },
        "validate": {
            "of": "ask", "jsonSchema": None, "pattern": None, "minCharacters": 0, "maxCharacters": 9, "retries": 0,
            "otherwise": None,
        },
        "branch": {"of": "{{ask}}", "cases": [{"equals": ["a"], "to": "end"}]},
        "callOut": {"url": "https://hook.example.com/x", "send": "{{input}}", "maxBytes": 100, "otherwise": None},
        "text": {"text": "Hello."},
    }  # fmt: skip
    return {"kind": kind, "name": name, "seconds": 5, "then": None} | rest[kind] | more


ASK = step("model", "ask")
PROMPTS = [{"name": "polite", "version": 1, "system": "", "user": "{{input}}"}]


def pipeline(*steps: dict[str, Any], name: str = "answer") -> dict[str, Any]:
    return {"name": name, "steps": list(steps), "maxSeconds": 60, "maxTokens": 1000, "maxAtOnce": 10, "progress": True}


def found(*pipelines: dict[str, Any], **more: Any) -> dict[str, str]:
    def edit(values: Values) -> None:
        values["gateway"]["intents"] = None
        values["pipelines"] |= {"names": list(pipelines), "prompts": PROMPTS} | more

    return problems(edit)


def test_what_is_right_is_taken_and_reaches_the_gateways_whole() -> None:
    values = copy.deepcopy(VALUES["local"])
    values["pipelines"] |= {
        "names": [
            pipeline(
                step("classify", "kind"), step("prompt", "say"), step("model", "ask", prompt="say"),
                step("validate", "check", then="end", otherwise="sorry", retries=2, jsonSchema={"type": "object"}),
                step("callOut", "tell"), step("text", "sorry"),
            )
        ],
        "prompts": PROMPTS, "callOutHosts": ["hook.example.com"],
    }  # fmt: skip
    made = gateway_config(Settings.parse(values), "blue")
    assert [one.kind for one in made.pipelines.pipelines[0].steps] == [
        "classify", "prompt", "model", "validate", "callOut", "text",
    ]  # fmt: skip
    assert GatewayConfig.model_validate_json(made.model_dump_json(exclude_defaults=True)) == made


def test_the_example_of_the_local_stack_reaches_its_gateways() -> None:
    made = gateway_config(Settings.parse(stack_file_values(CHECKOUT / "Pulumi.local.yaml")), "blue")
    assert [one.name for one in made.pipelines.pipelines] == ["answer"]
    assert made.retrieval is not None
    assert made.retrieval.model == "embed"
    assert [model.required for model in made.models] == [True, False]


S = "pipelines.names[0].steps"
CHAIN = [pipeline(step("model", "ask", model=f"p{n + 1}"), name=f"p{n}") for n in range(3)] + [pipeline(ASK, name="p3")]


@pytest.mark.parametrize(
    ("pipelines", "path", "words"),
    [
        ([pipeline(step("model", "ask", model="huge"))], f"{S}[0].model", "no model 'huge'; allowed: answer, tiny"),
        ([pipeline(ASK, ASK)], f"{S}[1].name", "'ask' is taken"),
        ([pipeline(step("text", "end"))], f"{S}[0].name", "'end' is taken"),
        ([pipeline(ASK, name="tiny")], "pipelines.names[0].name", "'tiny' is taken"),
        ([pipeline(ASK), pipeline(ASK)], "pipelines.names[1].name", "'answer' is taken"),
        ([pipeline(step("text", "a", then="a"))], f"{S}[0].then", "'a' is no later step; allowed: end"),
        ([pipeline(step("text", "a"), step("text", "b", then="a"))], f"{S}[1].then", "'a' is no later step"),
        ([pipeline(step("text", "a", text="{{b}}"))], f"{S}[0].text", r"\{\{b\}\} is not known there; allowed: input"),
        ([pipeline(step("text", "a", text="{{a.b()}}"))], f"{S}[0].text", "is no hole"),
        ([pipeline(step("text", "a", text="{{input}"))], f"{S}[0].text", "two braces"),
        ([pipeline(step("prompt", "a", version=2), ASK)], f"{S}[0].prompt", "no version 2 of a prompt 'polite'"),
        ([pipeline(step("model", "ask", prompt="b"))], f"{S}[0].prompt", "no earlier step of the kind prompt"),
        ([pipeline(step("classify", "a", classes=[]), ASK)], f"{S}[0].classes", "classifies no intents"),
        ([pipeline(step("retrieve", "a"), ASK)], f"{S}[0]", "needs retrieval, which is off"),
        ([pipeline(step("classify", "a"))], S, "nothing answers"),
        ([pipeline(ASK, step("validate", "v", of="x"))], f"{S}[1].of", "'x' is no earlier step; allowed: ask"),
        ([pipeline(step("text", "ask"), step("validate", "v", retries=1))], f"{S}[1].retries", "of the kind model"),
        ([pipeline(ASK, step("validate", "v", pattern="(?=a)"))], f"{S}[1].pattern", "not a valid RE2 expression"),
        (
            [pipeline(ASK, step("validate", "v", jsonSchema={"properties": {"a": {"$ref": "#"}}}))],
            f"{S}[1].jsonSchema.properties.a.$ref",
            "this keyword is not supported; allowed: type, properties",
        ),
        ([pipeline(step("callOut", "a"))], f"{S}[0].url", "'hook.example.com' is not among callOutHosts"),
        ([pipeline(step("callOut", "a", url="http://hook.example.com"))], f"{S}[0].url", "must begin with https://"),
        ([pipeline(step("callOut", "a", url="https://169.254.169.254/"))], f"{S}[0].url", "this address is not public"),
        ([pipeline(step("model", "ask", model="answer"))], S, "in a circle: answer -> answer"),
        (
            [pipeline(step("model", "a", model="b")), pipeline(step("model", "c", model="answer"), name="b")],
            "pipelines.names[1].steps",
            "in a circle: b -> answer -> b",
        ),
        (CHAIN, S, "pipelines nest 4 deep; allowed: 3"),
        (
            [
                pipeline(*(step("model", f"s{n}", model="wide") for n in range(5))),
                pipeline(*(step("model", f"s{n}") for n in range(20)), name="wide"),
            ],
            S,
            f"may ask 100 models; allowed: {MOST_CALLS}",
        ),
        ([pipeline(step("text", "a", kind="loop"))], f"{S}[0].kind", "'loop' is not allowed; allowed: 'classify'"),
        ([pipeline(step("text", "a", more=1))], f"{S}[0].more", "unknown key; allowed here: name, seconds, then"),
        ([pipeline(step("model", "a", maxTokens=0))], f"{S}[0].maxTokens", "0 is too small; allowed: 1 or more"),
        ([pipeline()], S, "has 0 entries; allowed: 1 or more"),
        ([pipeline(*(step("text", f"s{n}") for n in range(21)))], S, "has more entries than allowed: 20"),
        ([pipeline(ASK, name="none")], "pipelines.names[0].name", "stands for no model in metrics"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_with_its_key(pipelines: list[dict[str, Any]], path: str, words: str) -> None:
    import re

    told = found(*pipelines)
    assert path in told, told
    assert re.search(words, told[path]), told[path]


def test_call_outs_need_the_secret_of_jobs_and_port_443() -> None:
    def edit(values: Values) -> None:
        url = "https://hook.example.com:8443/x"
        values["pipelines"] |= {
            "names": [pipeline(step("callOut", "a", url=url))], "callOutHosts": ["hook.example.com"],
        }  # fmt: skip
        values["jobs"]["enabled"] = False

    told = problems(edit)
    assert "jobs.enabled is false" in told[f"{S}[0]"]
    assert "8443 is closed to gateways; allowed: 443" in told[f"{S}[0].url"]


LABEL = {"name": "refund", "phrases": {"money back": 1}}


@pytest.mark.parametrize(
    ("key", "value", "path", "words"),
    [
        ("classes", [LABEL | {"name": "code"}], "gateway.intents.classes[0].name", "'code' is taken"),
        ("modelFile", "docs/none.json", "gateway.intents.modelFile", "No such file"),
        ("modelFile", "/etc/passwd", "gateway.intents.modelFile", "must match"),
        ("builtIn", False, "gateway.intents.builtIn", "nothing to tell by"),
        ("leastProbability", 1, "gateway.intents.leastProbability", ""),
    ],
)
def test_intents_that_nothing_can_tell_are_refused(key: str, value: Any, path: str, words: str) -> None:
    told = problems(put(f"gateway.intents.{key}", value))
    assert words in told[path]


def test_a_model_file_reaches_the_gateways(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from app.gateway.intent.__main__ import main
    from infra import pipelines_config
    from infra.settings import pipeline_rules

    labels = CHECKOUT / "tests" / "gateway" / "intents.jsonl"
    assert main(["train", "--labels", str(labels), "--out", str(tmp_path / "own.json")]) == 0
    monkeypatch.setattr(pipeline_rules, "CHECKOUT", tmp_path)
    monkeypatch.setattr(pipelines_config, "CHECKOUT", tmp_path)
    values = copy.deepcopy(VALUES["local"])
    values["gateway"]["intents"]["modelFile"] = "own.json"
    settings = Settings.parse(values)
    made = gateway_config(settings, "blue").intents
    assert made is not None
    assert made.model_file == "/etc/penstock/config/intents.json"
    assert pipelines_config.intent_files(settings).keys() == {"intents.json"}
