"""What a release tells the console, and how a wish of the console ends a watch."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.gateway.console.release import Told
from infra.ops.endpoint import Endpoint, GatewayError
from infra.ops.progress import Progress
from infra.ops.release import attend
from infra.ops.release.attend import Attendant, Wish, offers, stand
from infra.ops.release.gate import Limits
from infra.ops.release.journal import BACK, BEGIN, ENDED, HELD, PASSED, Journal
from infra.ops.release.watching import Watcher
from infra.ops.weights import Weights
from tests.unit.ops.test_release_parts import reading

NOWHERE = Endpoint("http://127.0.0.1:1", "key")


def journal_at(folder: Path, *events: tuple[str, dict[str, Any]]) -> Journal:
    journal = Journal(folder)
    for event, details in events:
        journal.append(event, **details)
    return journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    begun = {"id": "r1", "colour": "green", "steps": [5, 50, 100], "passed": 0}
    return journal_at(tmp_path, (BEGIN, begun), (PASSED, {"id": "r1", "step": 5}))


class Gateway:
    """Keeps what it is told; hands the wishes out, one an answer."""

    def __init__(self, *wishes: dict[str, Any]) -> None:
        self.told: list[Mapping[str, Any]] = []
        self.wishes, self.away = list(wishes), False
        self.heard = threading.Event()

    def __call__(self, endpoint: Endpoint, content: Mapping[str, Any]) -> Any:
        if self.away:
            raise GatewayError("The gateway did not answer.")
        Told.model_validate_json(json.dumps(content))  # what the gateway's own form would refuse
        self.told.append(content)
        self.heard.set()
        return {"wish": self.wishes.pop(0) if self.wishes else None}


def wish(kind: str = "rollback", at: str = "50 %") -> dict[str, Any]:
    return {"id": 7, "kind": kind, "release": "r1", "at": at, "actor": "ops"}


def attendant(journal: Journal, gateway: Gateway, said: list[str] | None = None) -> Attendant:
    return Attendant(NOWHERE, journal, ([] if said is None else said).append, lambda: Weights(50, 50), gateway)


def test_the_stand_changes_with_each_step_and_each_end(journal: Journal):
    stands = [stand(journal.release())]
    for event, details in (
        (PASSED, {"step": 50}),
        (HELD, {"reason": "too few"}),
        (BACK, {"reason": "bad"}),
        (ENDED, {"outcome": "rolled back"}),
    ):
        journal.append(event, id="r1", **details)
        stands.append(stand(journal.release()))
    assert stands == ["50 %", "100 %", "held at 100 %", "going back", "rolled back"]


@pytest.mark.parametrize(
    ("events", "busy", "expected"),
    [
        ((), "watching", ["promote", "rollback"]),
        ((), "working", []),
        ((), "idle", ["promote", "rollback"]),
        (((ENDED, {"outcome": "promoted"}),), "idle", ["rollback"]),
        (((BACK, {}), (ENDED, {"outcome": "rolled back"})), "idle", []),
    ],
)
def test_only_what_can_be_carried_out_is_offered(journal: Journal, events: Any, busy: str, expected: list[str]):
    for event, details in events:
        journal.append(event, id="r1", **details)
    assert offers(journal.release(), busy=busy) == expected
    assert offers(None, busy=busy) == []


def test_the_gateways_form_takes_what_is_told_from_the_first_word_to_the_last(journal: Journal):
    gateway = Gateway()
    with attendant(journal, gateway) as one:
        one.doing("Update: blue=50 green=50")
        gateway.heard.wait(10)
    assert gateway.told[0]["weights"] == {"blue": 50, "green": 50}
    assert (gateway.told[0]["at"], gateway.told[0]["passed"]) == ("50 %", 1)
    assert gateway.told[-1]["offers"] == [], "nothing can be wished once the command ends"


def test_a_wish_for_another_stand_is_answered_and_not_carried_out(journal: Journal):
    gateway = Gateway(wish(at="5 %"))
    with attendant(journal, gateway) as one:
        one.pause(10)
        assert one.take() is None
    assert gateway.told[-1]["done"] == [{"wish": 7, "outcome": "the release had moved on: 50 %"}]


def test_a_wish_that_the_command_left_behind_is_answered_at_its_end(journal: Journal):
    gateway = Gateway(wish())
    with attendant(journal, gateway) as one:
        one.pause(10)
    (done,) = gateway.told[-1]["done"]
    assert done["wish"] == 7
    assert "not carried out" in done["outcome"]


def test_a_gateway_that_is_away_delays_nothing_and_is_told_of_once(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attend, "AWAY_SECONDS", 0.01)
    gateway, said = Gateway(), list[str]()
    gateway.away = True
    with attendant(journal, gateway, said) as one:
        one.pause(0.2)
        assert one.take() is None
        gateway.away = False
        assert gateway.heard.wait(10)
    assert said == ["The console is not told of this: The gateway did not answer."]


class Scraped:
    """Both colours answer well; the samples never suffice."""

    def __init__(self) -> None:
        self.looks = 0

    def scrape(self) -> Any:
        self.looks += 1
        return {colour: {colour: reading(requests=self.looks)} for colour in ("blue", "green")}

    def healthy(self, colour: str) -> int:
        return 3


@pytest.mark.parametrize(("kind", "state"), [("promote", "good"), ("rollback", "bad")])
def test_a_wish_ends_the_watch_of_a_step_at_its_next_look(
    journal: Journal, kind: str, state: str, monkeypatch: pytest.MonkeyPatch
):
    one = attendant(journal, Gateway())
    source = Scraped()
    limits = Limits(0.01, 0.01, 10**6, 10**6, 0.01)

    def asked(_: float) -> None:
        one._wish = Wish(7, kind, "r1", "50 %", "ops")  # ty: ignore[invalid-argument-type] - one of the two kinds

    monkeypatch.setattr(one, "pause", asked)
    watcher = Watcher(source, limits, ["m"], 3600, 7200, Progress(quiet=True), attendant=one)
    watched = watcher.watch("green", 50)
    assert (watched.state, source.looks) == (state, 3)
    if kind == "promote":
        assert watched.record["wished_by"] == "ops"
        assert one.content()["done"] == [{"wish": 7, "outcome": "green passed 50 %"}]
    else:
        assert watched.reason == "asked for by ops at the console"
        assert watched.wish is not None
    assert one.content()["watching"]["soak_seconds"] == 3600
