"""Rules on a release's steps and gate."""

import pytest

from tests.unit.settings_cases import STACKS, problems, put


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
