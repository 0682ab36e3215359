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
