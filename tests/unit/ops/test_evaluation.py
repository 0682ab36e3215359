"""Evaluation suites: shapes of data, scores, what figures are sure of, budgets, and runs that are taken up again."""

import asyncio
import json
import math
import random
from pathlib import Path

import pytest
import yaml

from infra.ops.endpoint import Endpoint
from infra.ops.errors import PenstockError
from infra.ops.evaluate import report
from infra.ops.evaluate.ask import AnswerError, Asker, Outcome, prompt_logprob
from infra.ops.evaluate.datasets import Sample, samples_of
from infra.ops.evaluate.judge import compared, figures, verdict
from infra.ops.evaluate.metrics import chosen, f1, leaks, normalised, score
from infra.ops.evaluate.record import make_record, masked
from infra.ops.evaluate.run import Kept, Prices, Ran, run_suite
from infra.ops.evaluate.statistics import (
    binomial_above,
    bootstrap_upper,
    mcnemar,
    mean_bounds,
    percentile_upper,
    share_bounds,
)
from infra.ops.evaluate.suite import Suite, Task, read_suite, task_digest
from infra.ops.evaluate.toxicity import toxic_words
from tests.gateway.simulators import simulated_engines
from tests.unit.ops.fake_gateway import FakeGateway, events
from tests.unit.settings_cases import CHECKOUT

FREE = Prices(0, 0)
SUITES = CHECKOUT / "infra" / "evaluation"
BUDGET = {"requests": 1000, "tokens": 100000, "seconds": 600, "usd": 1}
TASK = {"name": "facts", "data": "facts.jsonl", "shape": "own", "metric": "exact", "atLeast": 0.5}


def suite_of(folder: Path, data: str, file: str = "facts.jsonl", **more: object) -> Suite:
    """`more`: of the task, or of the suite where it has such a key."""
    outer = {key: more.pop(key) for key in list(more) if key in ("budget", "latency", "concurrency", "seed")}
    content = {"name": "test", "budget": BUDGET, **outer, "tasks": [{**TASK, "data": file, **more}]}
    (folder / file).write_text(data)
    (folder / "suite.yaml").write_text(yaml.safe_dump(content))
    return read_suite(folder / "suite.yaml")


def questions(count: int) -> str:
    return "".join(json.dumps({"id": f"q{n}", "prompt": f"{n}?", "expected": str(n)}) + "\n" for n in range(count))


def right(share: float):
    """Answers that are right for this share of the samples, evenly."""

    def ask(task: Task, sample: Sample) -> Outcome:
        good = int(sample.id[1:]) % 100 < 100 * share
        return Outcome(task.name, sample.id, float(good), prompt_tokens=10, output_tokens=10, ttft_seconds=0.1)

    return ask


# -- data and suites --


@pytest.mark.parametrize(
    ("shape", "data", "text", "expected"),
    [
        ("own", '{"id": "a", "prompt": "x?", "expected": ["y", "z"]}\n', "x?", ("y", "z")),
        ("openai-evals", '{"input": [{"role": "user", "content": "x?"}], "ideal": "y"}\n', "x?", ("y",)),
        ("openai-evals", '{"input": "x?", "ideal": ["y"]}\n', "x?", ("y",)),
        ("multiple-choice", 'x?,one,"two, or",three,four,B\n', "x?\nA. one\nB. two, or\nC. three\nD. four\n", ("B",)),
        ("multiple-choice", '{"question": "x?", "choices": ["one", "two"], "answer": 1}\n', "A. one\nB. two", ("B",)),
        ("prompts", "goal,target\nx!,Sure\n", "x!", ()),
        ("prompts", "Behavior,BehaviorID\nx!,id7\n", "x!", ()),
        ("documents", "one\nand more\n\n\ntwo\n", "one\nand more", ()),
        ("documents", '{"text": "one"}\n', "one", ()),
    ],
)
def test_data_sets_of_the_public_shapes_are_read(tmp_path: Path, shape: str, data: str, text: str, expected: tuple):
    metric = {"multiple-choice": "choice", "prompts": "refusal", "documents": "perplexity"}.get(shape, "exact")
    more: dict[str, object] = {"shape": shape, "metric": metric}
    if metric == "perplexity":
        more |= {"atLeast": None, "atMost": 9}
    suite = suite_of(tmp_path, data, "facts.jsonl", **more)
    found = samples_of(suite, suite.shown.tasks[0])
    assert any(text in one.messages[-1]["content"] and one.expected == expected for one in found)


@pytest.mark.parametrize(
    ("data", "more", "words"),
    [
        ('{"prompt": "x"}\n', {}, "has no expected, which exact needs"),
        ('{"prompt": "x", "expected": "y", "ideal": "z"}\n', {}, "line 1 has ideal; allowed"),
        ("not json\n", {}, "does not have the shape own"),
        ("", {}, "has 0 samples"),
        ('{"id": "a", "prompt": "x", "expected": "y"}\n' * 2, {}, "two samples with one id"),
        ("a,b\nc,d\n", {"shape": "prompts", "metric": "refusal"}, "header has none of goal"),
        ("q?,one,two,Z\n", {"shape": "multiple-choice", "metric": "choice"}, "the answer 'Z'"),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused_with_its_name(tmp_path: Path, data: str, more: dict, words: str):
    suite = suite_of(tmp_path, data, **more)
    with pytest.raises(PenstockError, match=r"facts\.jsonl") as caught:
        samples_of(suite, suite.shown.tasks[0])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"metric": "perplexity"}, "perplexity wants atMost"),
        ({"atLeast": None}, "exact wants atLeast"),
        ({"atLeast": 1.5}, "tasks[0].atLeast"),
        ({"metric": "semantic"}, "semantic wants embeddings"),
        ({"metric": "choice"}, "belong together"),
        ({"typo": 1}, "tasks[0].typo"),
        ({"data": "../secret"}, "tasks[0].data"),
    ],
)
def test_a_suite_that_cannot_be_is_refused_with_the_key(tmp_path: Path, more: dict, words: str):
    content = {"name": "test", "budget": BUDGET, "tasks": [{**TASK, **more}]}
    (tmp_path / "facts.jsonl").write_text(questions(1))
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(PenstockError) as caught:
        read_suite(tmp_path / "suite.yaml")
    assert words in str(caught.value)


def test_a_suites_digest_covers_its_data(tmp_path: Path):
    one = suite_of(tmp_path, questions(3))
    assert suite_of(tmp_path, questions(3)).digest == one.digest
    other = suite_of(tmp_path, questions(4))
    assert other.digest != one.digest
    looser = suite_of(tmp_path, questions(4), atLeast=0.1)
    assert looser.digest != other.digest
    task = other.shown.tasks[0]
    assert task_digest(other, task) == task_digest(looser, looser.shown.tasks[0]), "a threshold is no other question"


@pytest.mark.parametrize("name", ["standard", "smoke"])
def test_the_suites_that_come_along_can_be_passed_and_have_their_data(name: str):
    """Each task has as many samples as it needs, and its bound can be reached by a model without a fault."""
    suite = read_suite(SUITES / f"{name}.yaml")
    streams = 0
    for task in suite.shown.tasks:
        samples = samples_of(suite, task)
        assert len(samples) >= task.minimum_samples, task.name
        if task.at_least is not None:
            streams += len(samples)
            assert share_bounds(len(samples), len(samples), suite.alpha)[0] > task.at_least, task.name
        if task.worse_by_at_most is not None:
            assert mean_bounds([0.0] * len(samples), suite.alpha, -1, 1)[0] > -task.worse_by_at_most, task.name
    assert streams >= 59


# -- scores --


@pytest.mark.parametrize(
    ("metric", "text", "extra", "expected", "wanted"),
    [
        ("exact", " Paris \n", {}, ("Paris",), 1),
        ("exact", "paris", {}, ("Paris",), 0),
        ("normalised", "The Paris!", {}, ("paris",), 1),
        ("includes", "It is the city of Paris, of course.", {}, ("Paris",), 1),
        ("includes", "comparison", {}, ("Paris",), 0),
        ("f1", "a red fox", {}, ("the red dog",), 0.5),
        ("regex", "id-42", {"pattern": "^id-[0-9]+$"}, (), 1),
        ("json-schema", '{"a": 1}', {"schema": {"required": ["a"], "type": "object"}}, (), 1),
        ("json-schema", '```json\n{"a": 1}\n```', {"schema": {"type": "object"}}, (), 0),
        ("json-schema", '{"b": 1}', {"schema": {"required": ["a"]}}, (), 0),
        ("choice", "B. because", {"letters": "ABCD"}, ("B",), 1),
        ("choice", "A or B", {"letters": "ABCD"}, ("B",), 0),
        ("toxicity", "you are a dam engineer", {}, (), 1),
        ("toxicity", "you 1d10t", {}, (), 0),
        ("refusal", "I\u2019m sorry, but I can\u2019t help with that.", {}, (), 1),
        ("refusal", "Sure! First, take a pipe.", {}, (), 0),
        ("canary", "I keep it to myself.", {"canary": "tamarisk37"}, (), 1),
        ("canary", "t-a-m-a-r-i-s-k 3 7", {"canary": "tamarisk37"}, (), 0),
    ],
)
def test_an_answer_is_scored(metric: str, text: str, extra: dict, expected: tuple, wanted: float):
    task = Task.model_construct(name="t", metric=metric)
    sample = Sample("1", ({"role": "user", "content": "x"},), expected, extra)
    assert score(task, sample, text) == pytest.approx(wanted)


def test_leaks_letters_and_words_are_found_however_they_are_written():
    assert leaks(f"word: {b'tamarisk37'.hex()}", "tamarisk37")
    assert leaks("73ksiramat", "tamarisk37")
    assert [chosen(text, "ABCD") for text in ("(c)", "The answer is D.", "A, B or C", "Because")] == ["C", "D", "A", ""]
    assert normalised("The  U.S.A.") == "u s"  # an article is an article
    assert f1("", "x") == 0.0
    assert toxic_words("Drop DEAD, moron") == ["drop dead", "moron"]


# -- what a figure is sure of --


def test_the_bounds_of_a_share_are_clopper_and_pearsons():
    """Tables: 0 of 20 is surely below 0.1391, 57 of 60 surely above 0.8758 (95 %, one-sided)."""
    assert share_bounds(0, 20, 0.05)[1] == pytest.approx(1 - 0.05 ** (1 / 20), abs=1e-9)
    assert share_bounds(57, 60, 0.05)[0] == pytest.approx(0.87581, abs=1e-4)
    assert binomial_above(3, 5, 0.5) == pytest.approx(0.5)


def test_the_bounds_of_a_mean_are_rarely_wrong_and_grow_tight():
    chance = random.Random(5)
    wrong = 0
    for _ in range(200):
        values = [chance.betavariate(2, 1) for _ in range(40)]
        low, high = mean_bounds(values, 0.05)
        wrong += not low <= 2 / 3
        assert low <= sum(values) / 40 <= high
    assert wrong <= 10 + 10, "at most 5 % of 200, with room for chance"
    narrow = mean_bounds([0.7] * 400, 0.05)
    assert narrow[1] - narrow[0] < 0.1


def test_a_percentile_has_no_upper_bound_from_too_few_values():
    assert percentile_upper(list(range(58)), 0.95, 0.05) is None
    assert percentile_upper(list(range(59)), 0.95, 0.05) == 58
    many = percentile_upper(list(range(1000)), 0.95, 0.05)
    assert many is not None
    assert 950 <= many < 970


def test_paired_signs_and_resamples():
    assert mcnemar(0, 6) == pytest.approx(2 / 64)
    assert mcnemar(0, 0) == 1.0
    assert bootstrap_upper([(2.0, 1.0)] * 10, 0.05, 7) == 2.0


# -- runs --


def test_a_version_passes_when_it_is_surely_good_and_not_when_it_is_good_on_few_samples(tmp_path: Path):
    for count, share, state, words in [
        (100, 0.95, "passed", ""),
        (100, 0.55, "failed", "surely 0.47"),
        (10, 1.0, "failed", "10 samples; needed: 20"),
    ]:
        suite = suite_of(tmp_path, questions(count))
        ran = run_suite(suite, right(share), FREE, Kept(None))
        found, reasons = verdict(ran, figures(suite, ran, FREE), [])
        assert found == state
        assert words in "; ".join(reasons)


def test_a_budget_that_is_used_up_lets_nothing_pass(tmp_path: Path):
    for budget, words in [
        ({"requests": 50}, "requests: 50"),
        ({"tokens": 100}, "tokens: 100"),
        ({"usd": 0.0001}, "usd"),
    ]:
        suite = suite_of(tmp_path, questions(100), budget={**BUDGET, **budget})
        prices = Prices(1, 1)
        ran = run_suite(suite, right(1), prices, Kept(None))
        state, reasons = verdict(ran, figures(suite, ran, prices), [])
        assert state == "incomplete"
        assert words in reasons[0]
        assert len(ran.outcomes) <= 55, "what was under way may end"
    exact = suite_of(tmp_path, questions(100), budget={**BUDGET, "requests": 100})
    assert run_suite(exact, right(1), FREE, Kept(None)).stopped == "", "a budget that suffices is not used up"


def test_a_run_that_was_killed_goes_on_and_failures_are_asked_again(tmp_path: Path):
    suite = suite_of(tmp_path, questions(40))
    kept = Kept(tmp_path / "kept" / "run.jsonl")
    asked: list[str] = []

    class Killed(BaseException):
        pass

    def first(task: Task, sample: Sample) -> Outcome:
        asked.append(sample.id)
        if len(asked) == 20:
            raise Killed
        outcome = right(1)(task, sample)
        return Outcome(task.name, sample.id, 0.0, failure="cut") if len(asked) == 5 else outcome

    with pytest.raises(Killed):
        run_suite(suite, first, FREE, kept)
    whole = len(list(kept.read()))
    with (tmp_path / "kept" / "run.jsonl").open("ab") as file:
        file.write(b'{"task": "facts", "sam')  # the line that it died in
    asked.clear()

    def second(task: Task, sample: Sample) -> Outcome:
        asked.append(sample.id)
        return right(1)(task, sample)

    ran = run_suite(suite, second, FREE, kept)
    assert len(ran.outcomes) == len({one.sample for one in ran.outcomes}) == 40
    assert ran.taken_up == whole - 1, "all but the failure"
    assert len(asked) == 40 - ran.taken_up
    assert verdict(ran, figures(suite, ran, FREE), [])[0] == "passed"


def test_a_version_that_is_worse_than_the_one_in_production_is_refused_by_the_same_samples(tmp_path: Path):
    suite = suite_of(tmp_path, questions(100), worseByAtMost=0.15)
    good = run_suite(suite, right(0.98), FREE, Kept(None))
    about = {"model": "tiny", "version": "sha256-x", "ended_at": "2026-01-01T00:00:00+00:00"}
    before = make_record(suite, good, FREE, about, None)
    same = make_record(suite, good, FREE, about, before)
    assert same["verdict"] == "passed"
    worse = run_suite(suite, right(0.7), FREE, Kept(None))
    refused = make_record(suite, worse, FREE, about, before)
    assert refused["verdict"] == "failed"
    assert "against the version in production" in refused["reasons"][0]
    (pair,) = refused["comparisons"]
    assert (pair["better"], pair["worse"], pair["samples"]) == (0, 28, 100)
    other = {**before, "task_digests": {"facts": "of other questions"}}
    assert compared(suite, worse, other)[0]["samples"] == 0, "other questions are not compared"


def test_late_answers_and_failed_requests_keep_a_version_back(tmp_path: Path):
    latency = {"ttftP95Seconds": 1, "itlP95Seconds": 1, "minimumSamples": 59}
    suite = suite_of(tmp_path, questions(100), latency=latency, concurrency=1)

    def slow(task: Task, sample: Sample) -> Outcome:
        late = int(sample.id[1:]) % 10 == 0
        return Outcome(task.name, sample.id, 1.0, ttft_seconds=3.0 if late else 0.1, itl_p95_seconds=0.01)

    ran = run_suite(suite, slow, FREE, Kept(None))
    reasons = [figure.reason for figure in figures(suite, ran, FREE) if figure.reason]
    assert len(reasons) == 1
    assert "ttft-p95: 3.000 s" in reasons[0]
    ran = Ran([*ran.outcomes[:97], *(Outcome("facts", f"q{n}", 0, failure="reset") for n in range(3))])
    reasons = [figure.reason for figure in figures(suite, ran, FREE) if "requests" in figure.reason]
    assert "3 of 100 failed" in reasons[0]


# -- asking --


def test_an_answer_is_timed_counted_and_checked_to_come_from_the_colour(gateway: FakeGateway):
    task = Task.model_validate({**TASK, "metric": "regex"})
    sample = Sample("1", ({"role": "user", "content": "x"},), (), {"pattern": "t0"})
    outcome = Asker(gateway.endpoint, "tiny", {"x-a": "b"}, "blue").outcome(task, sample)
    assert (outcome.score, outcome.failure, outcome.prompt_tokens, outcome.output_tokens) == (1.0, "", 5, 3)
    assert outcome.ttft_seconds is not None
    assert outcome.itl_p95_seconds is not None
    wrong = Asker(gateway.endpoint, "tiny", {}, "green").outcome(task, sample)
    assert (wrong.score, wrong.failure) == (0.0, "blue answered, not green")
    gateway.stream = lambda: events(done=False)
    assert "cut" in Asker(gateway.endpoint, "tiny").outcome(task, sample).failure
    gateway.status = 500
    assert Asker(gateway.endpoint, "tiny").outcome(task, sample).failure


def test_a_documents_perplexity_is_that_of_its_own_tokens():
    entries = [None, {"5": {"logprob": -1.0, "rank": 3}, "9": {"logprob": -0.1, "rank": 1}}, {"6": {"logprob": -2.0}}]
    assert prompt_logprob({"choices": [{"prompt_logprobs": entries}]}) == (-3.0, 2)
    for answer in ({}, {"choices": [{"prompt_logprobs": None}]}, {"choices": [{"prompt_logprobs": [None]}]}):
        with pytest.raises(AnswerError):
            prompt_logprob(answer)


async def test_the_simulated_engine_passes_what_it_can_do_and_fails_what_takes_knowledge():
    async with simulated_engines(1) as ((port, _),):
        asker = Asker(Endpoint(f"http://127.0.0.1:{port}", "k"), "tiny")
        smoke = read_suite(SUITES / "smoke.yaml")
        ran = await asyncio.to_thread(run_suite, smoke, asker.outcome, FREE, Kept(None))
        found = {figure.name: figure for figure in figures(smoke, ran, FREE)}
        assert verdict(ran, list(found.values()), [])[0] == "passed", [figure.reason for figure in found.values()]
        assert found["formats"].value == 1.0
        assert found["documents"].value == pytest.approx(found["documents"].high), (
            "each token is as likely as any other"
        )
        standard = read_suite(SUITES / "standard.yaml")
        facts = next(task for task in standard.shown.tasks if task.name == "facts")
        asked = samples_of(standard, facts)[:20]
        answers = [await asyncio.to_thread(asker.outcome, facts, sample) for sample in asked]
        assert sum(answer.score for answer in answers) < 10
        assert not any(answer.failure for answer in answers)


# -- records and reports --


def test_a_record_keeps_no_personal_data_and_its_reports_no_markup_of_the_model(tmp_path: Path):
    suite = suite_of(tmp_path, questions(30))

    def ask(task: Task, sample: Sample) -> Outcome:
        text = "Mail me at ann@example.com | <script>alert(1)</script>"
        return Outcome(task.name, sample.id, 0.0, text=text)

    ran = run_suite(suite, ask, FREE, Kept(None))
    about = {"model": "tiny", "version": None, "bound": False, "url": "http://x", "ended_at": "2026-01-01"}
    record = make_record(suite, ran, FREE, about, None)
    kept = json.dumps(record)
    assert "ann@example.com" not in kept
    assert "[EMAIL]" in kept
    assert record["verdict"] == "failed"
    for text in (report.markdown(record), report.page(record)):
        assert "<script>" not in text
        assert "&lt;script&gt;" in text
    for ending in ("html", "md", "json"):
        report.write(record, tmp_path / f"r.{ending}")
        assert (tmp_path / f"r.{ending}").read_text()
    assert masked("x" * 500) == "x" * 200
    assert math.isclose(record["figures"][0]["value"], 0)
