"""Rules on a release's steps and gate."""

import pytest

from app.gateway.config import Colour
from infra.gateway_config import gateway_config
from infra.settings import Settings
from tests.unit.settings_cases import STACKS, problems, put, settled


@pytest.mark.parametrize("stack", STACKS)
def test_the_steps_of_every_stack_are_allowed(stack: str):
    assert problems(lambda values: None, stack) == {}


@pytest.mark.parametrize(
    ("steps", "key", "words"),
    [
        ([5, 5, 100], "release.steps[1]", "5 does not rise; allowed: more than 5"),
        ([50, 25, 100], "release.steps[1]", "25 does not rise"),
        ([5, 50], "release.steps[1]", "the last step is 50; allowed: 100"),
        ([0, 100], "release.steps[0]", "0 is too small"),
        ([], "release.steps", ""),
    ],
)
def test_steps_rise_to_a_hundred(steps: list[int], key: str, words: str):
    assert words in problems(put("release.steps", steps))[key]


def test_a_step_is_watched_for_its_soak_before_it_can_be_held():
    found = problems(put("release.gate.waitSeconds", 9))
    assert "soakSeconds = 10 or more" in found["release.gate.waitSeconds"]


def test_copies_that_are_waited_for_must_be_made():
    found = problems(
        lambda values: (put("release.shadow.percent", 0)(values), put("release.shadow.minCopies", 5)(values))
    )
    assert "release.shadow.percent is 0" in found["release.shadow.minCopies"]


@pytest.mark.parametrize(
    ("key", "value", "words"), [("text", False, "text is false"), ("minCopies", 0, "minCopies is 0")]
)
def test_texts_that_are_waited_for_must_be_compared(key: str, value: object, words: str):
    found = problems(
        lambda values: (
            put("release.shadow.percent", 5)(values),
            put("release.shadow.text", True)(values),
            put("release.shadow.minCopies", 20)(values),
            put("release.shadow.minTexts", 5)(values),
            put(f"release.shadow.{key}", value)(values),
        )
    )
    assert f"release.shadow.{words}" in found["release.shadow.minTexts"]


def test_each_colour_copies_to_the_others_engines_and_a_shift_changes_neither():
    settings = Settings.parse(settled("local"))
    colours: tuple[tuple[Colour, Colour], ...] = (("blue", "green"), ("green", "blue"))
    for colour, other in colours:
        shadow = gateway_config(settings, colour).shadow
        assert shadow is not None
        assert [target.model for target in shadow.targets] == [model.name for model in settings.models]
        assert f"penstock.dev/colour={other}" in shadow.targets[0].selector
    moved = settled("local")
    moved["release"]["blue"]["weight"], moved["release"]["green"]["weight"] = 0, 100
    assert gateway_config(Settings.parse(moved), "blue") == gateway_config(settings, "blue")


def test_a_share_of_0_copies_nothing():
    assert gateway_config(Settings.parse(settled("prod")), "blue").shadow is None


def test_a_colours_own_sources_name_what_is_served_and_what_its_engine_can_load():
    version = "weights://tiny/sha256-" + "a" * 64
    assert problems(put("release.green.sources", {"tiny": version})) == {}
    found = problems(put("release.green.sources", {"tyni": version}))
    assert "no such model; allowed here: tiny" in found["release.green.sources.tyni"]
    found = problems(put("release.green.sources", {"tiny": "weights://"}))
    assert "names the whole bucket" in found["release.green.sources.tiny"]

    def on_tgi(values: dict) -> None:
        values["models"][0]["engine"] = "tgi"
        values["release"]["blue"]["sources"] = {"tiny": version}

    assert "tgi cannot load it" in problems(on_tgi)["release.blue.sources.tiny"]


def test_a_suite_of_a_model_that_is_not_there_is_refused():
    found = problems(put("release.validation.suites", {"tyni": "x.yaml"}))
    assert "no such model; allowed here: tiny" in found["release.validation.suites.tyni"]
