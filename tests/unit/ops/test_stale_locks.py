"""A lock is taken off only when every holder was a process of this machine, and is gone."""

import os

import pytest

from infra.ops import deploy
from infra.ops.errors import PenstockError
from infra.ops.progress import Progress
from infra.ops.release.world import deployed_by
from infra.ops.stacks import Resource, State
from infra.ops.stale_locks import alive, all_dead
from infra.ops.traffic import Route
from infra.ops.weights import Weights

LOCKED = (
    "error: the stack is currently locked by {count} lock(s). Either wait for the other process(es) to end or delete "
    "the lock file with `pulumi cancel`.\n{holders}"
)


def locked(*holders: tuple[str, int], count: int | None = None) -> str:
    lines = [
        f"  file:///state/{place}.json: created by root@{host} (pid {process}) at 2026-11-21T16:38:48Z\n"
        for place, (host, process) in enumerate(holders)
    ]
    return LOCKED.format(count=len(holders) if count is None else count, holders="".join(lines))


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        (locked(("here", 7)), True),
        (locked(("here", 7), ("here", 8)), True),
        (locked(("here", 1)), False),
        (locked(("here", 7), ("here", 1)), False),
        (locked(("there", 7)), False),
        (locked(("here", 7), count=2), False),
        ("error: [409] Conflict: Another update is currently in progress.", False),
        ("", False),
    ],
)
def test_only_locks_of_this_machines_dead_processes_count_as_left(error: str, dead: bool):
    assert all_dead(error, host="here", running=lambda process: process == 1) is dead


def test_this_process_is_alive_and_an_impossible_one_is_not():
    assert alive(os.getpid())
    assert alive(1), "a process of somebody else is one, too"
    assert not alive(2**22 + 1)


class Stack:
    def __init__(self, error: str) -> None:
        self.error, self.cancelled, self.runs = error, 0, 0

    def cancel(self) -> None:
        self.cancelled += 1

    def up(self, **_: object) -> None:
        from pulumi.automation import ConcurrentUpdateError
        from pulumi.automation._cmd import CommandResult

        self.runs += 1
        if not self.cancelled:
            raise ConcurrentUpdateError(CommandResult("", self.error, 1))


def test_an_update_goes_on_over_the_lock_of_a_killed_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deploy, "all_dead", lambda error: "root@here" in error)
    stack = Stack(locked(("here", 7)))
    deploy.up(stack, Progress(quiet=True))
    assert (stack.cancelled, stack.runs) == (1, 2)


def test_an_update_does_not_touch_the_lock_of_one_that_runs():
    stack = Stack(locked(("elsewhere", 7)))
    with pytest.raises(PenstockError, match="another update is running"):
        deploy.up(stack, Progress(quiet=True))
    assert (stack.cancelled, stack.runs) == (0, 1)


@pytest.mark.parametrize(("rule", "expected"), [(100, Weights(100, 0)), (95, None), (None, Weights(100, 0))])
def test_an_update_that_died_between_rule_and_outputs_is_not_taken_as_done(rule: int | None, expected: Weights | None):
    way = Route("arn:rule", {"blue": "arn:blue", "green": "arn:green"})
    groups = [] if rule is None else [{"arn": "arn:blue", "weight": rule}, {"arn": "arn:green", "weight": 100 - rule}]
    outputs = {"actions": [{"type": "forward", "forward": {"targetGroups": groups}}]}
    state = State(
        {"weights": {"blue": 100, "green": 0}}, (Resource("u::traffic", "x:ListenerRule", "arn:rule", outputs),)
    )
    assert deployed_by(state, way) == expected
