"""One fixture runs the whole program for a stack file; each run is kept, for a run takes about a second."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml

from infra.rehearsal import Rehearsal, rehearse_stack
from infra.resource_table import LIVE_WEIGHTS

CHECKOUT = Path(__file__).resolve().parents[2]
STACKS = ("local", "dev", "prod")

Edit = Callable[[dict], None]


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def stack_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`stack_file(stack, edit)`: a copy of the stack file after `edit` has changed its config in place.

    All copies start with blue live and green idle: the files of the checkout move with every release.
    """

    def copy(stack: str, edit: Edit = lambda config: None) -> Path:
        document = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text())
        for colour, weight in LIVE_WEIGHTS.items():
            document["config"]["penstock:release"][colour]["weight"] = weight
        edit(document["config"])
        changed = tmp_path_factory.mktemp("stack") / f"Pulumi.{stack}.yaml"
        changed.write_text(yaml.safe_dump(document, sort_keys=False))
        return changed

    return copy


@pytest.fixture(scope="session")
def rehearsed(stack_file: Callable[..., Path]) -> Callable[..., Rehearsal]:
    """`rehearsed(stack, preview=False)`: the program under a stack file."""

    @cache
    def run(stack: str, preview: bool) -> Rehearsal:
        return rehearse_stack(stack_file(stack), preview=preview)

    # One key for each run, whether `preview` is given or not.
    return lambda stack, preview=False: run(stack, preview)


@pytest.fixture(scope="session")
def rehearsed_with(stack_file: Callable[..., Path]) -> Callable[[str, Edit], Rehearsal]:
    """`rehearsed_with(stack, edit)`: the same, after an edit of its config."""

    def run(stack: str, edit: Edit) -> Rehearsal:
        return rehearse_stack(stack_file(stack, edit))

    return run
