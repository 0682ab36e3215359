"""What a command says when it cannot go on, and the exit codes that scripts rely on."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Documented in `penstock --help` and docs/cli.md: public API."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_RUNNING = 3
    REFUSED = 4
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILURE: "failed",
    ExitCode.USAGE: "wrong usage",
    ExitCode.NOT_RUNNING: "the platform is not running, or the stack is not deployed",
    ExitCode.REFUSED: "refused by a check, a preview or you; nothing was changed",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.PIPE_CLOSED: "whoever read the output has gone, as in `| head`; nothing is said",
}
"""For people. Commands with further meanings say so in their help."""


class PenstockError(Exception):
    """One sentence with the cause, and one with the next step."""

    exit_code = ExitCode.FAILURE

    def __init__(self, cause: str, next_step: str = "") -> None:
        super().__init__(" ".join(part for part in (cause, next_step) if part))
        self.cause = cause
        self.next_step = next_step


class UsageError(PenstockError):
    """An argument that cannot be right, whatever the stack's state."""

    exit_code = ExitCode.USAGE


class NotRunningError(PenstockError):
    """The platform, or the stack on it, is not there."""

    exit_code = ExitCode.NOT_RUNNING


class RefusedError(PenstockError):
    """A check, a preview or the person at the prompt said no. Nothing was changed."""

    exit_code = ExitCode.REFUSED


class Terminated(KeyboardInterrupt):
    """SIGTERM, which reaches this process alone. A Ctrl-C reaches its children as well."""
