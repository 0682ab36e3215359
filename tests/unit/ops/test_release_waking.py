"""No update waits for what KEDA brings up: a stage wakes what sleeps, and is as patient as a start is long."""

import copy
import json
from collections.abc import Callable

import pytest

from infra.ops.errors import PenstockError, RefusedError
from infra.ops.release.waking import held_seconds, ready_seconds, sleepers, start_seconds, wake
from infra.settings import Settings
from tests.unit.ops.fake_gateway import FakeGateway
from tests.unit.settings_cases import VALUES, Values

SCALING = {"maxReplicas": 4, "targetPerReplica": 20, "toZero": False}


def settings(edit: Callable[[Values], object], stack: str = "local") -> Settings:
    values = copy.deepcopy(VALUES[stack])
    values["controllers"]["keda"]["enabled"] = True
    edit(values)
    return Settings.parse(values)


def scaling(**changes: object) -> Callable[[Values], object]:
    def edit(values: Values) -> None:
        values["release"]["green"]["engineReplicas"] = values["release"]["blue"]["engineReplicas"]
        model = values["models"][0]
        model["scaling"] = {**SCALING, **changes}
        model["queue"] = {**(model["queue"] or {}), "fromZero": True}

    return edit


def test_a_colour_is_waited_for_as_long_as_keda_and_a_start_may_take():
    fixed = settings(lambda values: None)
    assert ready_seconds(fixed, "blue") == 120, "the update has waited for the pods"
    scaled = settings(scaling())
    start = start_seconds(scaled, scaled.models[0])
    assert start > 600 + scaled.probes.engine_startup_seconds, "a node, the image, the process and the weights"
    assert ready_seconds(scaled, "green") == 120 + start
    assert sleepers(scaled, "green") == {}


def test_a_model_that_may_sleep_is_woken_and_not_waited_for():
    sleeping = settings(scaling(toZero=True))
    assert ready_seconds(sleeping, "green") == 120
    model = sleeping.models[0]
    assert sleepers(sleeping, "green") == {model.name: start_seconds(sleeping, model)}
    assert model.queue is not None
    assert held_seconds(sleeping) >= 60 + model.queue.max_wait_seconds, "the client outwaits the gateway"

    def down(values: Values) -> None:
        scaling(toZero=True)(values)
        values["release"]["green"]["engineReplicas"] = dict.fromkeys(values["release"]["blue"]["engineReplicas"], 0)

    assert sleepers(settings(down), "green") == {}, "a colour that is down is not woken"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def woken(gateway: FakeGateway, seconds: float = 60.0, embedders: tuple[str, ...] = ()) -> dict[str, float]:
    clock = Clock()
    return wake(
        gateway.endpoint, "s", "blue", {"tiny": seconds}, embedders, held=10.0, clock=clock, sleep=clock.sleep
    )  # fmt: skip


def test_a_model_is_asked_until_its_first_engine_answers(gateway: FakeGateway):
    gateway.first = [503, 504, 429]
    assert woken(gateway) == {"tiny": 6.0}
    assert [request["model"] for request in gateway.requests] == ["tiny"] * 4
    assert all(request["max_tokens"] == 16 for request in gateway.requests)


def test_a_model_of_embeddings_is_woken_by_one(gateway: FakeGateway):
    gateway.reply = lambda: json.dumps({"data": [{"embedding": [0.1, 0.2]}]}).encode()
    woken(gateway, embedders=("tiny",))
    assert "input" in gateway.requests[0]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_no_time_changes_is_refused_at_once(gateway: FakeGateway, status: int):
    gateway.status = status
    with pytest.raises(RefusedError, match=f"tiny of blue was to be woken: The gateway answered {status}"):
        woken(gateway)
    assert len(gateway.requests) == 1


def test_an_answer_of_the_other_colour_wakes_nothing(gateway: FakeGateway):
    gateway.colours = ("green",)
    with pytest.raises(RefusedError, match="answered by green"):
        woken(gateway)


def test_a_model_that_does_not_wake_ends_the_stage_in_its_time(gateway: FakeGateway):
    gateway.status = 503
    with pytest.raises(PenstockError, match=r"had no engine within 60 s of its first request.*answered 503") as raised:
        woken(gateway)
    assert not isinstance(raised.value, RefusedError), "the update is done: the file stays"
    assert len(gateway.requests) == 31


def test_nobody_is_asked_where_nothing_sleeps(gateway: FakeGateway):
    assert wake(gateway.endpoint, "s", "blue", {}, (), held=10.0) == {}
    assert gateway.requests == []
