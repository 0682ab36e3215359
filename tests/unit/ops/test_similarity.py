"""How alike a model puts texts: asked of a gateway, with the vectors of a real model that the tests keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.ops.evaluate.similarity import Pair, main, read_pairs, shares
from tests.retrieval.corpus import PAIRS
from tests.retrieval.test_recall import vectors
from tests.unit.ops.fake_gateway import KEY, FakeGateway

SAME = [{"one": passage, "other": question, "same": True} for passage, question in PAIRS]
OTHERS = [
    {"one": PAIRS[at][0], "other": PAIRS[(at + 1) % len(PAIRS)][1], "same": False} for at in range(len(PAIRS))
]  # fmt: skip


@pytest.fixture
def embedding(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    known = vectors()

    def reply() -> bytes:
        texts = gateway.requests[-1]["input"]
        rows = [{"index": at, "embedding": known[text]} for at, text in enumerate(texts)]
        return json.dumps({"data": rows[::-1]}).encode()

    gateway.reply = reply
    monkeypatch.setenv("PENSTOCK_GATEWAY_URL", gateway.url)
    monkeypatch.setenv("PENSTOCK_API_KEY", KEY)
    return gateway


def write(folder: Path, *lines: object) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_the_figures_are_those_that_the_registrys_page_tells_of_this_model(
    embedding: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """docs/registry.md: 85 % of the right pairs at 0.35, 38 % at 0.5, none at 0.8; few of the wrong ones."""
    assert main([str(write(tmp_path, *SAME, *OTHERS)), "--model", "small"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "bound  of 48 that mean the same  of 48 that do not"
    told = {row.split()[0]: row.split()[1:] for row in rows}
    assert (told["0.35"][0], told["0.50"][0], told["0.80"][0]) == ("85%", "38%", "0%")
    assert int(told["0.35"][1].removesuffix("%")) <= 5
    assert told["1.00"] == ["0%", "0%"]
    assert {request["model"] for request in embedding.requests} == {"small"}
    assert [len(request["input"]) for request in embedding.requests] == [64, 64, 64]


def test_a_bound_is_reached_by_what_is_just_as_near():
    (row,) = shares([(0.5, True), (0.49, True), (0.5, False), (0.4, False), (0.3, False)], [0.5])
    assert (row.same, row.other) == (0.5, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["no object"], "line 1"),
        ([SAME[0], {"one": "a", "other": "b"}], "line 2: 'same'"),
        ([SAME[0], {"one": "a", "other": 1, "same": False}], "line 2: `one` and `other` must be texts"),
        ([SAME[0], {"one": "a", "other": "b", "same": "no"}], "line 2: `same` must be true or false"),
        ([SAME[0]], "pairs that mean the same, and pairs that do not"),
    ],
)
def test_a_file_that_is_no_such_list_is_refused_by_its_line(
    tmp_path: Path, lines: list[object], said: str, capsys: pytest.CaptureFixture[str]
):
    assert main([str(write(tmp_path, *lines))]) == 2
    assert said in capsys.readouterr().err


def test_a_refusal_of_the_gateway_and_a_reply_that_is_none_are_told(
    embedding: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    embedding.reply = lambda: b'{"data": [{"index": 0, "embedding": [1.0]}]}'
    assert main([str(write(tmp_path, SAME[0], OTHERS[0]))]) == 1
    assert "embed made 1 embeddings of 4 texts" in capsys.readouterr().err
    embedding.reply = lambda: b'{"data": null}'
    assert main([str(write(tmp_path, SAME[0], OTHERS[0]))]) == 1
    assert "cannot be read" in capsys.readouterr().err
    embedding.status = 503
    assert main([str(write(tmp_path, SAME[0], OTHERS[0]))]) == 1
    assert "answered 503" in capsys.readouterr().err


def test_without_an_address_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("PENSTOCK_GATEWAY_URL", raising=False)
    path = write(tmp_path, SAME[0], OTHERS[0])
    assert read_pairs(path)[1] == Pair(PAIRS[0][0], PAIRS[1][1], same=False)
    assert main([str(path)]) == 2
    assert "PENSTOCK_GATEWAY_URL" in capsys.readouterr().err
