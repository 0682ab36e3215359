"""One fixture runs the whole program for a stack file; each run is kept, for a run takes about a second."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml

from infra.rehearsal import Rehearsal, penstock_program, rehearse, rehearse_stack, stack_config

CHECKOUT = Path(__file__).resolve().parents[2]
STACKS = ("local", "dev", "prod")

Edit = Callable[[dict], None]


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def rehearsed() -> Callable[..., Rehearsal]:
    """`rehearsed(stack, preview=False)`: the program under a stack file."""

    @cache
    def run(stack: str, preview: bool = False) -> Rehearsal:
        return rehearse_stack(CHECKOUT / f"Pulumi.{stack}.yaml", preview=preview)

    return run


@pytest.fixture(scope="session")
def rehearsed_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Edit], Rehearsal]:
    """`rehearsed_with(stack, edit)`: the same, after `edit` has changed the file's config in place."""

    def run(stack: str, edit: Edit) -> Rehearsal:
        document = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text())
        edit(document["config"])
        changed = tmp_path_factory.mktemp("stack") / f"Pulumi.{stack}.yaml"
        changed.write_text(yaml.safe_dump(document))
        return rehearse(penstock_program(), stack_config(changed), stack=stack, preview=False)

    return run
