"""`registered(build)`: the resources of one component, made without the rest of the program."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.rehearsal import Rehearsal, penstock_program, rehearse


@pytest.fixture(scope="session", autouse=True)
def sdk() -> None:
    """Imports pulumi_aws without its own warnings, which would be errors here."""
    penstock_program()


@pytest.fixture(scope="session")
def registered() -> Callable[[Callable[[], object]], Rehearsal]:
    def run(build: Callable[[], object]) -> Rehearsal:
        def program() -> None:
            build()

        return rehearse(program, {}, stack="test", preview=False)

    return run
