"""What is said where `pulumi` itself cannot tell a stack's state."""

import pytest

from infra.ops.errors import NotRunningError, PenstockError
from infra.ops.stacks import StackAccess


@pytest.fixture
def access(tmp_path):
    def made(script: str) -> StackAccess:
        program = tmp_path / "pulumi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return StackAccess("prod", tmp_path, tmp_path, {"PATH": "/usr/bin:/bin"}, program=str(program))

    return made


def test_a_failure_has_pulumis_cause_and_a_next_step(access):
    with pytest.raises(PenstockError) as failed:
        access("echo 'error: PULUMI_ACCESS_TOKEN must be set' >&2; exit 255").state()
    assert failed.value.cause == "`pulumi stack export` failed: PULUMI_ACCESS_TOKEN must be set."
    assert "`penstock doctor --stack prod`" in failed.value.next_step


def test_a_failure_without_words_has_its_status(access):
    with pytest.raises(PenstockError, match="failed: exit status 3"):
        access("exit 3").state()


def test_a_stack_that_is_not_there_is_not_running(access):
    with pytest.raises(NotRunningError, match="There is no stack prod"):
        access("echo \"error: no stack named 'prod' found\" >&2; exit 255").state()


def test_a_machine_without_pulumi_is_told_how_to_get_it(tmp_path):
    with pytest.raises(PenstockError, match=r"not on the PATH\. Run `penstock up`, or install Pulumi"):
        StackAccess("prod", tmp_path, tmp_path, {}, program="no-such-pulumi").state()
