"""Preview and update of a stack through Pulumi's Automation API, with progress and errors in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from infra.ops.changes import Change, drift, from_events
from infra.ops.errors import PenstockError
from infra.ops.interrupts import to_its_end
from infra.ops.progress import Progress
from infra.ops.stale_locks import all_dead

LAST_LINES = 12


def preview(
    stack: Any,
    progress: Progress,
    *,
    policy_packs: Sequence[Path] = (),
    on_output: Callable[[str], None] | None = None,
) -> list[Change]:
    """What an update would change. Raises PenstockError with the engine's own diagnostics."""
    events = _run(
        stack.preview,
        "preview",
        progress,
        on_output,
        **({"policy_packs": [str(path) for path in policy_packs]} if policy_packs else {}),
    )
    return from_events(events)


def up(stack: Any, progress: Progress, *, on_output: Callable[[str], None] | None = None) -> list[Change]:
    """Updates the stack and returns what was changed. Raises PenstockError with the engine's own diagnostics."""
    return from_events(_run(stack.up, "update", progress, on_output))


def refresh(stack: Any, progress: Progress, *, on_output: Callable[[str], None] | None = None) -> list[Change]:
    """Reads every resource anew and returns those that are not as the state has them. Raises PenstockError."""
    return drift(_run(stack.refresh, "refresh", progress, on_output))


def destroy(
    stack: Any,
    progress: Progress,
    *,
    urns: Sequence[str] = (),
    on_output: Callable[[str], None] | None = None,
) -> list[Change]:
    """Deletes resources, without a preview, and returns them: all, or those of `urns` with what depends on them.

    Raises PenstockError.
    """
    only = {"target": list(urns), "target_dependents": True} if urns else {}
    return from_events(_run(stack.destroy, "destroy", progress, on_output, **only))


def _run(
    operation: Callable[..., Any],
    name: str,
    progress: Progress,
    on_output: Callable[[str], None] | None,
    **options: Any,
) -> list[Any]:
    from pulumi.automation import ConcurrentUpdateError
    from pulumi.automation.errors import CommandError

    events: list[Any] = []

    def take_event(event: Any) -> None:
        events.append(event)
        step = event.resource_pre_event and event.resource_pre_event.metadata
        if step and str(getattr(step.op, "value", step.op)) != "same":
            progress.detail(f"{getattr(step.op, 'value', step.op)} {step.urn.rsplit('::', 1)[-1]}")
        told = event.diagnostic_event
        if told and told.ephemeral:  # what a provider waits for
            progress.detail(told.message)

    given = {
        "on_output": on_output or (lambda _: None),
        "on_event": take_event,
        "color": "never",
        "suppress_outputs": True,
        **options,
    }

    def run() -> None:
        to_its_end(lambda: operation(**given), progress)

    try:
        try:
            run()
        except ConcurrentUpdateError as locked:
            if not all_dead(str(locked)):
                raise
            progress.say("The stack is locked by an update that was killed on this machine: its lock is taken off.")
            operation.__self__.cancel()  # ty: ignore[missing-attribute] - a method of the stack
            run()
    except ConcurrentUpdateError:
        raise PenstockError(
            f"The {name} found the stack locked: another update is running, or was killed.",
            "Wait for it, or run `pulumi cancel`.",
        ) from None
    except CommandError as error:
        raise PenstockError(f"The {name} failed: {diagnosis(events, str(error).splitlines())}") from None
    return events


def diagnosis(events: Sequence[Any], lines: Sequence[str]) -> str:
    """The engine's error messages, each once; without any, the end of its output, errors included."""
    said: list[str] = []
    for event in events:
        message = event.diagnostic_event
        if message and message.severity == "error" and message.message.strip() not in said:
            said.append(message.message.strip())
        policy = event.policy_event
        if policy and policy.enforcement_level == "mandatory":
            said.append(f"policy {policy.policy_name}: {policy.message.strip()}")
    return "\n".join(said) or "\n".join([line for line in lines if line.strip()][-LAST_LINES:])
